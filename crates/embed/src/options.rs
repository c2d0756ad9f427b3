//! What a caller may choose about a worker.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use anser_core::Device;

use crate::EmbedError;

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
    /// One for each thread where they share the weights. Copies are four at most, and threads beyond are shared out evenly.
    pub(crate) fn of(threads: usize, share_weights: bool) -> Self {
        let most = if share_weights { usize::MAX } else { MAX_COPIES };
        let count = threads.clamp(1, most);
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
    fn threads_become_copies_first_and_are_never_exceeded() {
        assert_eq!(Sessions::of(1, false), Sessions { count: 1, threads_each: 1 });
        assert_eq!(Sessions::of(2, false), Sessions { count: 2, threads_each: 1 });
        assert_eq!(Sessions::of(16, false), Sessions { count: 4, threads_each: 4 });
        assert_eq!(Sessions::of(16, true), Sessions { count: 16, threads_each: 1 });
        for threads in 1..200 {
            for share_weights in [false, true] {
                let sessions = Sessions::of(threads, share_weights);
                assert!(sessions.count * sessions.threads_each <= threads);
            }
        }
    }
}
