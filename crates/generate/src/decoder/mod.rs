//! The llama decoder: f32 weights on threads of its own, or weights in a device's memory, shared by all sequences and
//! adapters.

mod adapter;
mod attention;
mod cache;
mod device;
mod forward;
mod linear;
mod rotary;
mod weights;

use std::sync::{Arc, Weak};

use anser_core::Device;
use rayon::{ThreadPool, ThreadPoolBuilder};

pub(crate) use adapter::LoadedAdapter;
pub(crate) use cache::Sequence;
pub(crate) use forward::Piece;

use crate::base::BaseModel;
use crate::decoder::device::{DeviceModel, Place};
use crate::decoder::forward::Pass;
use crate::decoder::rotary::Rotary;
use crate::decoder::weights::Weights;
use crate::{GenerateError, LlamaConfig};

/// Prompt tokens read at once: large enough for a fast matrix product, small enough that a cancelled request stops soon
/// and others need not wait long for their next token.
const CHUNK: usize = 128;
/// Adapters whose prompts' common beginning is kept, the base among them.
const PREFIXES: usize = 4;
/// Tokens of prompt and reply together unless more is asked for: the cache of a sequence grows with them.
const USUAL_CONTEXT: usize = 4096;

/// A loaded decoder.
pub(crate) struct Decoder {
    config: LlamaConfig,
    compute: Compute,
    context_length: usize,
    /// Most recently used first.
    prefixes: Vec<Prefix>,
}

/// What multiplies.
enum Compute {
    /// Our own kernels, on threads of this decoder's own.
    Processor { weights: Box<Weights>, rotary: Rotary, threads: ThreadPool },
    /// candle, on a device.
    Device(Box<DeviceModel>),
}

/// What is kept of the prompts read through one adapter.
struct Prefix {
    adapter: Option<Weak<LoadedAdapter>>,
    last_prompt: Vec<u32>,
    /// The state after a beginning that more than one prompt had, and its tokens.
    state: Option<(Vec<u32>, Sequence)>,
}

/// A prompt that is being read.
pub(crate) struct Reading {
    tokens: Vec<u32>,
    adapter: Option<Arc<LoadedAdapter>>,
    sequence: Sequence,
    /// Where the state is to be kept; 0 for nowhere.
    border: usize,
}

impl Decoder {
    /// Reads the weights of `base` to be multiplied by `threads` in f32, or by a `device`. `context_length` may ask for less than the model's own
    /// context, or for more than the usual 4,096 of it.
    pub(crate) fn load(
        base: &mut BaseModel,
        threads: usize,
        device: Device,
        context_length: Option<usize>,
    ) -> Result<Self, GenerateError> {
        if context_length == Some(0) {
            return Err(GenerateError::Option { option: "context_length", reason: "must be at least 1".to_owned() });
        }
        let config = base.config().clone();
        let context_length = context_length.unwrap_or(USUAL_CONTEXT).min(config.context);
        let compute = if device.is_cpu() {
            Compute::on_processor(base, threads, context_length)?
        } else {
            Compute::Device(Box::new(DeviceModel::load(base, Place::open(device)?, context_length)?))
        };
        Ok(Self { config, compute, context_length, prefixes: Vec::new() })
    }

    /// Most tokens that a sequence can hold.
    pub(crate) fn context_length(&self) -> usize {
        self.context_length
    }

    /// Bytes of memory that the weights take.
    pub(crate) fn weight_bytes(&self) -> usize {
        match &self.compute {
            Compute::Processor { weights, .. } => weights.bytes(),
            Compute::Device(model) => model.bytes(),
        }
    }

    /// Prepares to read `tokens` (at least one, at most the context) through `adapter`; from the token `fresh` on,
    /// nothing is taken from an earlier reading.
    ///
    /// Where this prompt and the one before it begin alike, as prompts with the same instructions do, the state there is
    /// kept for the next. It lies on a chunk border, so that resuming from it repeats the very same arithmetic.
    pub(crate) fn begin(&mut self, tokens: Vec<u32>, fresh: usize, adapter: Option<Arc<LoadedAdapter>>) -> Reading {
        self.prefixes.retain(|prefix| prefix.adapter.as_ref().is_none_or(|adapter| adapter.strong_count() > 0));
        let key = adapter.as_ref().map(Arc::downgrade);
        let same = |prefix: &Prefix| match (&prefix.adapter, &key) {
            (None, None) => true,
            (Some(a), Some(b)) => a.ptr_eq(b),
            _ => false,
        };
        let mut prefix = match self.prefixes.iter().position(same) {
            Some(at) => self.prefixes.remove(at),
            None => Prefix { adapter: key, last_prompt: Vec::new(), state: None },
        };
        let alike = tokens.iter().zip(&prefix.last_prompt).take_while(|(a, b)| a == b).count();
        let mut border = alike.min(tokens.len().saturating_sub(1)) / CHUNK * CHUNK;
        prefix.last_prompt.clone_from(&tokens);
        let usable = |(kept, _): &&(Vec<u32>, Sequence)| kept.len() < fresh && tokens.starts_with(kept);
        let sequence = match prefix.state.as_ref().filter(usable) {
            Some((_, sequence)) => sequence.clone(),
            None => Sequence::new(self.config.blocks),
        };
        if border <= sequence.length() {
            border = 0;
        }
        self.prefixes.insert(0, prefix);
        self.prefixes.truncate(PREFIXES);
        Reading { tokens, adapter, sequence, border }
    }

    /// Reads the next chunk; returns the logits after the last token once all are read.
    pub(crate) fn read(&mut self, reading: &mut Reading) -> Result<Option<Vec<f32>>, GenerateError> {
        let states = self.read_chunk(reading)?;
        if reading.sequence.length() < reading.tokens.len() {
            return Ok(None);
        }
        let last = states.len().saturating_sub(self.config.hidden);
        self.logits(&states[last..]).map(Some)
    }

    /// Reads the next chunk; returns, for each of its tokens from `first` on that has one behind it in `tokens`, the
    /// logarithm of that one's probability and whether it is the likeliest.
    pub(crate) fn score(&mut self, reading: &mut Reading, first: usize) -> Result<Vec<(f32, bool)>, GenerateError> {
        let start = reading.sequence.length();
        let states = self.read_chunk(reading)?;
        let skipped = first.saturating_sub(start).min(states.len() / self.config.hidden);
        let targets = reading.tokens.get(start + skipped + 1..).unwrap_or_default();
        let wanted = (states.len() / self.config.hidden - skipped).min(targets.len());
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let states = &states[skipped * self.config.hidden..(skipped + wanted) * self.config.hidden];
        let logits = self.logits(states)?;
        let rows = logits.chunks_exact(self.config.vocabulary);
        Ok(rows.zip(targets).map(|(logits, target)| log_probability(logits, *target)).collect())
    }

    fn read_chunk(&mut self, reading: &mut Reading) -> Result<Vec<f32>, GenerateError> {
        let Reading { tokens, adapter, sequence, border } = reading;
        let start = sequence.length();
        let chunk = tokens.get(start..tokens.len().min(start + CHUNK)).unwrap_or_default();
        let piece = Piece { sequence, tokens: chunk, adapter: adapter.as_deref() };
        let states = self.run(&mut [piece])?;
        if sequence.length() == *border && *border > 0 {
            let key = adapter.as_ref().map_or(std::ptr::null(), Arc::as_ptr);
            let same = |prefix: &&mut Prefix| prefix.adapter.as_ref().map_or(std::ptr::null(), Weak::as_ptr) == key;
            if let Some(prefix) = self.prefixes.iter_mut().find(same) {
                prefix.state = Some((tokens[..*border].to_vec(), sequence.clone()));
            }
        }
        Ok(states)
    }

    /// Appends the tokens of each piece and returns the logits after the last of each: `[pieces, vocabulary]`.
    pub(crate) fn step(&self, pieces: &mut [Piece<'_>]) -> Result<Vec<f32>, GenerateError> {
        let states = self.run(pieces)?;
        let width = self.config.hidden;
        let ends = pieces.iter().scan(0, |rows, piece| {
            *rows += piece.tokens.len();
            Some(*rows)
        });
        let last: Vec<f32> = ends.flat_map(|end| &states[(end - 1) * width..end * width]).copied().collect();
        self.logits(&last)
    }

    fn run(&self, pieces: &mut [Piece<'_>]) -> Result<Vec<f32>, GenerateError> {
        if pieces.iter().any(|piece| piece.sequence.length() + piece.tokens.len() > self.context_length) {
            return Err(GenerateError::Model("a sequence grew past the context".to_owned()));
        }
        match &self.compute {
            Compute::Processor { weights, rotary, threads } => {
                let pass = Pass { config: &self.config, weights, rotary };
                let states = threads.install(|| pass.run(pieces));
                states.ok_or_else(|| GenerateError::Model("a token is outside the vocabulary".to_owned()))
            }
            Compute::Device(model) => model.run(pieces),
        }
    }

    /// Logits of hidden states, `[_, vocabulary]`.
    fn logits(&self, states: &[f32]) -> Result<Vec<f32>, GenerateError> {
        match &self.compute {
            Compute::Processor { weights, rotary, threads } => {
                let pass = Pass { config: &self.config, weights, rotary };
                Ok(threads.install(|| pass.logits(states)))
            }
            Compute::Device(model) => model.logits(states),
        }
    }
}

impl Compute {
    fn on_processor(base: &mut BaseModel, threads: usize, context_length: usize) -> Result<Self, GenerateError> {
        let threads = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("anser-decoder-{index}"))
            .build()
            .map_err(|error| GenerateError::Threads(error.to_string()))?;
        let weights = Box::new(threads.install(|| Weights::load(base))?);
        let rotary = Rotary::new(base.config().head_dim, base.config().rope_base, context_length);
        Ok(Self::Processor { weights, rotary, threads })
    }
}

impl Reading {
    /// The sequence, once everything has been read.
    pub(crate) fn into_sequence(self) -> Sequence {
        self.sequence
    }

    /// The tokens, read and unread.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Whether everything has been read.
    pub(crate) fn is_done(&self) -> bool {
        self.sequence.length() >= self.tokens.len()
    }
}

/// Natural logarithm of the probability of `token`, and whether no other is likelier.
fn log_probability(logits: &[f32], token: u32) -> (f32, bool) {
    let Some(own) = logits.get(token as usize) else { return (f32::NEG_INFINITY, false) };
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    let first = logits.iter().position(|logit| logit.total_cmp(&highest).is_eq());
    ((f64::from(own - highest) - sum.ln()) as f32, first == Some(token as usize))
}

#[cfg(test)]
mod tests;
