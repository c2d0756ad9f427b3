//! The llama decoder: candle's, with f32 weights, on threads of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::GenerateError;
use crate::dequantize::present_as_f32;
use crate::gguf::{GgufFile, first_line};

/// Prompt tokens read at once: large enough for a fast matrix product, small enough that a cancelled request stops soon.
const CHUNK: usize = 128;

/// A loaded decoder. Requests take turns; each runs on a shallow copy of the weights with a key-value cache of its own.
pub(crate) struct Decoder {
    weights: ModelWeights,
    /// The library multiplies on the rayon pool it is called from; one of our own keeps it off the program's.
    threads: ThreadPool,
    context_length: usize,
    last_prompt: Vec<u32>,
    prefix: Option<Prefix>,
}

/// The state after a prompt prefix that more than one request began with.
struct Prefix {
    tokens: Vec<u32>,
    sequence: Sequence,
}

/// A sequence of tokens that the decoder has read.
#[derive(Clone)]
pub(crate) struct Sequence {
    // The library caches one attention mask for each shape it meets and never drops any; here they go with the copy.
    weights: ModelWeights,
    length: usize,
}

impl Decoder {
    /// Reads the weights of `gguf` as f32; `threads` compute. `context_length` shortens the model's own.
    pub(crate) fn load(
        gguf: &mut GgufFile,
        threads: usize,
        context_length: Option<usize>,
    ) -> Result<Self, GenerateError> {
        if context_length == Some(0) {
            return Err(GenerateError::Option { option: "context_length", reason: "must be at least 1".to_owned() });
        }
        let shape = gguf.llama_config()?;
        let context_length = context_length.unwrap_or(usize::MAX).min(shape.context).min(MAX_SEQ_LEN);
        if context_length == 0 {
            return Err(gguf.unsupported("its context has no room for a token"));
        }
        let (header, mut reader) = present_as_f32(&gguf.content, &mut gguf.reader, metadata(&shape));
        // Block formats that exist only inside a computation cannot be unpacked, and the library panics on them.
        let weights = catch_unwind(AssertUnwindSafe(|| ModelWeights::from_gguf(header, &mut reader, &Device::Cpu)));
        let weights = weights
            .map_err(|_| gguf.damaged("a tensor is in a format that cannot be unpacked"))?
            .map_err(|error| gguf.damaged(first_line(&error)))?;
        let threads = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("anser-decoder-{index}"))
            .build()
            .map_err(|error| GenerateError::Threads(error.to_string()))?;
        Ok(Self { weights, threads, context_length, last_prompt: Vec::new(), prefix: None })
    }

    /// Most tokens that a sequence can hold.
    pub(crate) fn context_length(&self) -> usize {
        self.context_length
    }

    /// Reads `prompt` (at least one token, at most the context) and returns the sequence with the logits that follow
    /// it, or `None` once `cancelled` says so.
    ///
    /// Where this prompt and the one before begin alike, as prompts with the same instructions do, the state there is
    /// kept for the next. It lies on a chunk border, so that resuming from it repeats the very same arithmetic.
    pub(crate) fn read_prompt(
        &mut self,
        prompt: &[u32],
        cancelled: impl Fn() -> bool,
    ) -> Result<Option<(Sequence, Vec<f32>)>, GenerateError> {
        let alike = prompt.iter().zip(&self.last_prompt).take_while(|(a, b)| a == b).count();
        let border = alike.min(prompt.len().saturating_sub(1)) / CHUNK * CHUNK;
        self.last_prompt = prompt.to_vec();

        let usable = |prefix: &&Prefix| prefix.tokens.len() < prompt.len() && prompt.starts_with(&prefix.tokens);
        let mut sequence = match self.prefix.as_ref().filter(usable) {
            Some(prefix) => prefix.sequence.clone(),
            None => Sequence { weights: self.weights.clone(), length: 0 },
        };
        let resumed = sequence.length;
        let mut logits = Vec::new();
        for chunk in prompt[resumed..].chunks(CHUNK) {
            if cancelled() {
                return Ok(None);
            }
            logits = self.read(&mut sequence, chunk)?;
            if sequence.length == border && border > resumed {
                self.prefix = Some(Prefix { tokens: prompt[..border].to_vec(), sequence: sequence.clone() });
            }
        }
        Ok(Some((sequence, logits)))
    }

    /// Appends `tokens` and returns the logits after the last of them, one for each token of the vocabulary.
    pub(crate) fn read(&self, sequence: &mut Sequence, tokens: &[u32]) -> Result<Vec<f32>, GenerateError> {
        let Sequence { weights, length } = sequence;
        let start = *length;
        let logits = self.threads.install(|| {
            let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
            weights.forward(&input, start)?.squeeze(0)?.to_vec1::<f32>()
        });
        *length += tokens.len();
        logits.map_err(|error| GenerateError::Model(first_line(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny_model::TinyModel;

    fn decoder() -> Decoder {
        let folder = tempfile::tempdir().unwrap();
        let mut gguf = GgufFile::open(&TinyModel::default().write(folder.path())).unwrap();
        Decoder::load(&mut gguf, 2, None).unwrap()
    }

    fn logits(decoder: &mut Decoder, prompt: &[u32]) -> Vec<f32> {
        let (mut sequence, mut logits) = decoder.read_prompt(prompt, || false).unwrap().unwrap();
        logits.extend(decoder.read(&mut sequence, &[7]).unwrap());
        logits
    }

    #[test]
    fn a_kept_prefix_changes_no_bit_of_the_logits() {
        let instructions: Vec<u32> = (0..300).map(|i| i * 31 % 250).collect();
        let prompt = |tail: u32| -> Vec<u32> {
            instructions.iter().copied().chain((0..100).map(|i| (i * tail) % 250)).collect()
        };
        let mut kept = decoder();
        for tail in [3, 5, 7, 11] {
            assert_eq!(logits(&mut kept, &prompt(tail)), logits(&mut decoder(), &prompt(tail)), "{tail}");
        }
        let prefix = kept.prefix.as_ref().unwrap();
        assert_eq!((prefix.tokens.as_slice(), prefix.sequence.length), (&instructions[..256], 256));
        // The same prompt again, a prompt inside the prefix, and an unlike one.
        for other in [prompt(11), instructions[..256].to_vec(), instructions[..200].to_vec(), vec![9; 300]] {
            assert_eq!(logits(&mut kept, &other), logits(&mut decoder(), &other));
        }
    }

    #[test]
    fn chunks_do_not_change_what_is_read() {
        let prompt: Vec<u32> = (0..200).map(|i| i * 17 % 250).collect();
        let mut decoder = decoder();
        let chunked = decoder.read_prompt(&prompt, || false).unwrap().unwrap().1;
        let mut sequence = Sequence { weights: decoder.weights.clone(), length: 0 };
        let single = prompt.iter().map(|token| decoder.read(&mut sequence, &[*token]).unwrap()).last().unwrap();
        for (a, b) in chunked.iter().zip(&single) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn a_cancelled_prompt_stops_at_the_next_chunk() {
        let looks = std::cell::Cell::new(0);
        let cancelled = || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        assert!(decoder().read_prompt(&[1; 1000], cancelled).unwrap().is_none());
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn a_token_outside_the_vocabulary_is_an_error() {
        assert!(decoder().read_prompt(&[1, 999], || false).is_err());
    }
}

fn metadata(shape: &crate::LlamaConfig) -> std::collections::HashMap<String, candle_core::quantized::gguf_file::Value> {
    use candle_core::quantized::gguf_file::Value;
    let counts = [
        ("llama.attention.head_count", shape.heads),
        ("llama.attention.head_count_kv", shape.kv_heads),
        ("llama.block_count", shape.blocks),
        ("llama.embedding_length", shape.hidden),
        ("llama.rope.dimension_count", shape.head_dim),
    ];
    let floats =
        [("llama.attention.layer_norm_rms_epsilon", shape.norm_epsilon), ("llama.rope.freq_base", shape.rope_base)];
    let counts = counts.into_iter().map(|(key, value)| (key.to_owned(), Value::U32(value as u32)));
    let floats = floats.into_iter().map(|(key, value)| (key.to_owned(), Value::F32(value)));
    let architecture = ("general.architecture".to_owned(), Value::String("llama".to_owned()));
    counts.chain(floats).chain([architecture]).collect()
}
