//! Writes GGUF files of tiny llama models: two layers and one token for each byte, either with random weights or with
//! weights that speak a given script.

use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const HEADS: usize = 4;
const KV_HEADS: usize = 2;

/// The `ChatML` format without a default system message.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + \
                        '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Control tokens, after the tokens 0 to 255 of the bytes.
pub(crate) const IM_START: u32 = 256;
pub(crate) const IM_END: u32 = 257;

/// What to write.
pub(crate) struct TinyModel {
    pub(crate) layers: usize,
    pub(crate) context: u32,
    pub(crate) dtype: GgmlDType,
    /// Pairs of a token and the one that greedily follows it; empty for random weights.
    pub(crate) script: Vec<(u32, u32)>,
    pub(crate) metadata: Vec<(&'static str, Value)>,
}

impl Default for TinyModel {
    fn default() -> Self {
        Self { layers: 2, context: 8192, dtype: GgmlDType::F32, script: Vec::new(), metadata: Vec::new() }
    }
}

impl TinyModel {
    /// Writes the model to `model.gguf` in `folder`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("model.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // Scripts need room for the embeddings to be nearly orthogonal.
        let width = if self.script.is_empty() { 32 } else { 128 };
        let mut metadata = self.hyperparameters(width);
        metadata.extend(tokenizer());
        for (key, value) in &self.metadata {
            metadata.retain(|(existing, _)| existing != key);
            metadata.push((*key, value.clone()));
        }
        let tensors = self.tensors(width);
        let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut file = std::io::Cursor::new(Vec::new());
        gguf_file::write(&mut file, &metadata, &tensors).unwrap();
        file.into_inner()
    }

    fn hyperparameters(&self, width: usize) -> Vec<(&'static str, Value)> {
        vec![
            ("general.architecture", Value::String("llama".to_owned())),
            ("llama.block_count", Value::U32(self.layers as u32)),
            ("llama.context_length", Value::U32(self.context)),
            ("llama.embedding_length", Value::U32(width as u32)),
            ("llama.feed_forward_length", Value::U32(2 * width as u32)),
            ("llama.attention.head_count", Value::U32(HEADS as u32)),
            ("llama.attention.head_count_kv", Value::U32(KV_HEADS as u32)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", Value::U32((width / HEADS) as u32)),
        ]
    }

    fn tensors(&self, width: usize) -> Vec<(String, QTensor)> {
        let mut random = ChaCha8Rng::seed_from_u64(20);
        let mut draw = |rows: usize, columns: usize, scale: f32| -> Vec<f32> {
            (0..rows * columns).map(|_| random.random_range(-scale..scale)).collect()
        };
        let quantized = |values: Vec<f32>, rows: usize, dtype| {
            let columns = values.len() / rows;
            QTensor::quantize(&Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap(), dtype).unwrap()
        };
        let vocabulary = letters().len() + CONTROL.len();
        let embedding = draw(vocabulary, width, 1.0);
        let mut output = draw(vocabulary, width, 1.0);
        let row = |token: u32| token as usize * width..(token as usize + 1) * width;
        for (_, next) in &self.script {
            output[row(*next)].fill(0.0);
        }
        for (token, next) in &self.script {
            for (value, embedded) in output[row(*next)].iter_mut().zip(&embedding[row(*token)]) {
                *value += embedded * 100.0;
            }
        }
        // A script is a table from the last token to the next, so attention and feed-forward add nothing to it.
        let scale = if self.script.is_empty() { 0.5 } else { 0.0 };
        let ones =
            || QTensor::quantize(&Tensor::ones(width, candle_core::DType::F32, &Device::Cpu).unwrap(), GgmlDType::F32);
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), quantized(embedding, vocabulary, GgmlDType::F32)),
            ("output.weight".to_owned(), quantized(output, vocabulary, GgmlDType::F32)),
            ("output_norm.weight".to_owned(), ones().unwrap()),
        ];
        let kv_width = width / HEADS * KV_HEADS;
        for layer in 0..self.layers {
            let matrices = [
                ("attn_q", width, width, 0.5),
                ("attn_k", kv_width, width, 0.5),
                ("attn_v", kv_width, width, 0.5),
                ("attn_output", width, width, scale),
                ("ffn_gate", 2 * width, width, 0.5),
                ("ffn_up", 2 * width, width, 0.5),
                ("ffn_down", width, 2 * width, scale),
            ];
            for (name, rows, columns, scale) in matrices {
                let values = if scale == 0.0 { vec![0.0; rows * columns] } else { draw(rows, columns, scale) };
                tensors.push((format!("blk.{layer}.{name}.weight"), quantized(values, rows, self.dtype)));
            }
            for name in ["attn_norm", "ffn_norm"] {
                tensors.push((format!("blk.{layer}.{name}.weight"), ones().unwrap()));
            }
        }
        tensors
    }
}

const CONTROL: [&str; 3] = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"];

/// The letter of each byte in byte-level BPE, so that token ids are byte values.
fn letters() -> Vec<char> {
    let printable = |byte: &u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    (0..256_u32)
        .map(|byte| {
            let code = if printable(&byte) { byte } else { next };
            next += u32::from(!printable(&byte));
            char::from_u32(code).unwrap()
        })
        .collect()
}

fn tokenizer() -> Vec<(&'static str, Value)> {
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    let bytes = letters().into_iter().map(String::from);
    let tokens: Vec<String> = bytes.chain(CONTROL.map(str::to_owned)).collect();
    let types = (0..tokens.len()).map(|id| Value::I32(if id < 256 { 1 } else { 3 })).collect();
    vec![
        ("tokenizer.ggml.model", Value::String("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Value::String("smollm".to_owned())),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(types)),
        ("tokenizer.ggml.merges", texts(Vec::new())),
        ("tokenizer.ggml.bos_token_id", Value::U32(IM_START)),
        ("tokenizer.ggml.eos_token_id", Value::U32(IM_END)),
        ("tokenizer.chat_template", Value::String(TEMPLATE.to_owned())),
    ]
}
