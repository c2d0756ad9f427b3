//! What a caller may choose about a worker.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;

use anser_core::Device;

use crate::EmbedError;
use crate::backend::Backend;

/// Which engine multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// ONNX Runtime through fastembed.
    Onnx,
    /// Our own kernels, for the BERT family on processors.
    Native,
    /// candle, for every family and for GPUs.
    Candle,
}

impl Engine {
    /// Every engine, in the order in which they are named to people.
    pub const ALL: [Self; 3] = [Self::Native, Self::Onnx, Self::Candle];

    /// The word for it in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Native => "native",
            Self::Candle => "candle",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = String;

    /// Reads its name.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| format!("{text:?} is no engine; use native, onnx or candle"))
    }
}

/// Number format of the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats; on GPUs without them, 16-bit floats.
    Bf16,
    /// 8-bit integers with scales.
    Int8,
}

impl NumberFormat {
    /// Every format, the most exact first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// The word for it in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for NumberFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for NumberFormat {
    type Err = String;

    /// Reads its name.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| format!("{text:?} is no number format; use f32, bf16 or int8"))
    }
}

/// How a worker runs its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedOptions {
    /// Threads that run the model, at least 1.
    pub threads: usize,
    /// Requests that may be waiting or running at once, at least 1; one more is refused as `Overloaded`.
    pub queue: usize,
    /// Most tokens that one run of the model may hold, padding included where the engine pads; a longer text runs alone.
    /// 0 runs every text alone; `None` is what suits the engine. On ONNX Runtime that is 0, for models with dynamic int8
    /// quantisation choose their scale over all texts of a run: larger runs move their vectors a little (cosine about
    /// 0.997).
    pub batch_tokens: Option<usize>,
    /// The engine; `None` takes the fastest that is correct, as measured on this machine.
    pub engine: Option<Engine>,
    /// The number format; `None` takes the fastest that is correct, as measured on this machine.
    pub format: Option<NumberFormat>,
    /// What computes.
    pub device: Device,
    /// File in which measurements of engines are kept, so that they are made once.
    pub measurements: Option<PathBuf>,
}

impl Default for EmbedOptions {
    /// One thread for each core, 64 requests, runs as the engine likes them, the fastest engine that is correct.
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().map_or(1, NonZeroUsize::get),
            queue: 64,
            batch_tokens: None,
            engine: None,
            format: None,
            device: Device::Cpu,
            measurements: None,
        }
    }
}

/// Threads of a model that one tokenising thread keeps busy, with room to spare.
const THREADS_PER_READER: usize = 8;

impl EmbedOptions {
    /// The engine, format and device asked for, in words.
    pub(crate) fn wanted(&self) -> String {
        let engine = self.engine.map_or_else(|| "by any engine".to_owned(), |engine| format!("by the engine {engine}"));
        let format = self.format.map_or_else(String::new, |format| format!(" in {format}"));
        format!("{engine}{format} on {}", self.device)
    }

    /// Threads that tokenise a large request.
    pub(crate) fn readers(&self) -> usize {
        self.threads.div_ceil(THREADS_PER_READER)
    }

    /// Refuses zeros that would mean "never".
    pub(crate) fn check(&self) -> Result<(), EmbedError> {
        for (option, value) in [("threads", self.threads), ("queue", self.queue)] {
            if value == 0 {
                return Err(EmbedError::ZeroOption { option });
            }
        }
        Ok(())
    }
}

/// Most copies of a model that one worker holds where each costs its weights again (tens of megabytes).
const MAX_COPIES: usize = 4;

/// How `threads` are spent: on sessions first. A single-threaded session does the same number of texts in a second of
/// processor time however busy the machine is; two threads that share each text wait for one another, and when the
/// cores have other work too they lose up to half of their time that way (measured on two cores).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sessions {
    /// Sessions, each on its own worker thread.
    pub(crate) count: usize,
    /// Threads that each multiplies with.
    pub(crate) threads_each: usize,
}

impl Sessions {
    /// As many as `backend` can use: one for each thread where they share the weights.
    pub(crate) fn of(threads: usize, backend: &dyn Backend) -> Self {
        let copies = if backend.shares_weights() { usize::MAX } else { MAX_COPIES };
        Self::shared_out(threads.min(backend.most_sessions()), copies)
    }

    /// Where each session is a copy of the model.
    pub(crate) fn copies(threads: usize) -> Self {
        Self::shared_out(threads, MAX_COPIES)
    }

    /// Threads beyond `most` sessions are shared out evenly.
    fn shared_out(threads: usize, most: usize) -> Self {
        let count = threads.clamp(1, most.max(1));
        Self { count, threads_each: (threads / count).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;

    use super::*;

    #[test]
    fn zero_threads_or_an_empty_queue_are_refused_by_name() {
        assert!(EmbedOptions::default().check().is_ok());
        let error = EmbedOptions { threads: 0, ..EmbedOptions::default() }.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("threads"), "{error}");
        assert!(EmbedOptions { queue: 0, ..EmbedOptions::default() }.check().is_err());
    }

    #[test]
    fn engines_and_formats_are_read_by_their_names_only() {
        assert!(Engine::ALL.into_iter().all(|engine| engine.to_string().parse() == Ok(engine)));
        assert!(NumberFormat::ALL.into_iter().all(|format| format.to_string().parse() == Ok(format)));
        assert!("ONNX".parse::<Engine>().unwrap_err().contains("native, onnx or candle"));
        assert!("fp16".parse::<NumberFormat>().unwrap_err().contains("f32, bf16 or int8"));
    }

    #[test]
    fn threads_become_copies_first_and_are_never_exceeded() {
        assert_eq!(Sessions::copies(1), Sessions { count: 1, threads_each: 1 });
        assert_eq!(Sessions::copies(2), Sessions { count: 2, threads_each: 1 });
        assert_eq!(Sessions::copies(16), Sessions { count: 4, threads_each: 4 });
        assert_eq!(Sessions::shared_out(16, usize::MAX), Sessions { count: 16, threads_each: 1 });
        for threads in 1..200 {
            for most in [1, MAX_COPIES, usize::MAX] {
                let sessions = Sessions::shared_out(threads, most);
                assert!(sessions.count * sessions.threads_each <= threads);
            }
        }
    }
}
