//! The decoder's arithmetic in candle's tensors, for GPUs: the same steps as on a processor, in the device's memory.

mod adapter;
mod attention;
mod cache;

pub(crate) use adapter::DeviceAdapter;
pub(crate) use cache::DeviceCache;

use anser_core::{Device, DeviceError};
use candle_core::{D, DType, Result, Tensor};

use crate::base::BaseModel;
use crate::decoder::adapter::{LoadedAdapter, Projection};
use crate::decoder::device::attention::{Mask, Rotary, attend};
use crate::decoder::forward::Piece;
use crate::device::{device_failure, weight_type};
use crate::{GenerateError, LlamaConfig};

/// A decoder's weights on a device.
pub(crate) struct DeviceModel {
    config: LlamaConfig,
    place: Place,
    /// [vocabulary, hidden].
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: Tensor,
    /// [hidden, vocabulary].
    head: Tensor,
    rotary: Rotary,
}

/// Where tensors lie, and as what.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) name: Device,
    pub(crate) device: candle_core::Device,
    pub(crate) dtype: DType,
}

/// One block. Matrices are [inputs, outputs], views of the file's [outputs, inputs].
struct Block {
    attention_norm: Tensor,
    /// Queries, keys and values side by side.
    attention_in: Tensor,
    attention_out: Tensor,
    feed_forward_norm: Tensor,
    /// Gate and up side by side.
    feed_forward_in: Tensor,
    feed_forward_out: Tensor,
}

impl Place {
    /// `device`, opened, with the numbers that suit it.
    pub(crate) fn open(name: Device) -> std::result::Result<Self, DeviceError> {
        let device = crate::device::open_device(name)?;
        Ok(Self { name, dtype: weight_type(&device), device })
    }

    /// Brings row-major `values` of this shape there.
    pub(crate) fn tensor(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        Tensor::from_vec(values, shape, &candle_core::Device::Cpu)?.to_dtype(self.dtype)?.to_device(&self.device)
    }

    fn failed(&self, error: &candle_core::Error) -> GenerateError {
        device_failure(self.name, error).into()
    }
}

impl DeviceModel {
    /// Brings the weights of `base` to `place`, for sequences of at most `context` tokens.
    pub(crate) fn load(base: &mut BaseModel, place: Place, context: usize) -> std::result::Result<Self, GenerateError> {
        let config = base.config().clone();
        let mut matrix = |names: &[String], inputs: usize| {
            let mut parts = Vec::with_capacity(names.len());
            for name in names {
                let values = base.tensor(name)?;
                let shape = [values.len() / inputs, inputs];
                parts.push(place.tensor(values, &shape).map_err(|error| place.failed(&error))?);
            }
            Tensor::cat(&parts, 0).map_err(|error| place.failed(&error))
        };
        let transposed = |matrix: Tensor| matrix.t().map_err(|error| place.failed(&error));
        let flat = |matrix: Tensor| matrix.flatten_all().map_err(|error| place.failed(&error));
        let embedding = matrix(&["model.embed_tokens.weight".to_owned()], config.hidden)?;
        let mut blocks = Vec::with_capacity(config.blocks);
        for block in 0..config.blocks {
            let mut part = |names: &[&str], inputs: usize| {
                let names: Vec<String> =
                    names.iter().map(|name| format!("model.layers.{block}.{name}.weight")).collect();
                matrix(&names, inputs)
            };
            let attention_in = part(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], config.hidden)?;
            blocks.push(Block {
                attention_norm: flat(part(&["input_layernorm"], config.hidden)?)?,
                attention_in: transposed(attention_in)?,
                attention_out: transposed(part(&["self_attn.o_proj"], config.query_width())?)?,
                feed_forward_norm: flat(part(&["post_attention_layernorm"], config.hidden)?)?,
                feed_forward_in: transposed(part(&["mlp.gate_proj", "mlp.up_proj"], config.hidden)?)?,
                feed_forward_out: transposed(part(&["mlp.down_proj"], config.feed_forward)?)?,
            });
        }
        let norm = flat(matrix(&["model.norm.weight".to_owned()], config.hidden)?)?;
        let head = if config.tied_embeddings {
            transposed(embedding.clone())?
        } else {
            transposed(matrix(&["lm_head.weight".to_owned()], config.hidden)?)?
        };
        let rotary = Rotary::new(&config, context, &place).map_err(|error| place.failed(&error))?;
        Ok(Self { config, place, embedding, blocks, norm, head, rotary })
    }

    /// Bytes of device memory that the weights take.
    pub(crate) fn bytes(&self) -> usize {
        let matrices = |block: &Block| {
            [&block.attention_in, &block.attention_out, &block.feed_forward_in, &block.feed_forward_out]
                .map(Tensor::elem_count)
                .iter()
                .sum::<usize>()
        };
        let head = if self.config.tied_embeddings { 0 } else { self.head.elem_count() };
        let blocks: usize = self.blocks.iter().map(matrices).sum();
        (self.embedding.elem_count() + blocks + head) * self.place.dtype.size_in_bytes()
    }

    /// Appends every piece's tokens to its sequence and returns the hidden states after the last block, `[tokens of all
    /// pieces, hidden]`, in order. Nothing was appended when it fails.
    pub(crate) fn run(&self, pieces: &mut [Piece<'_>]) -> std::result::Result<Vec<f32>, GenerateError> {
        let tokens: Vec<u32> = pieces.iter().flat_map(|piece| piece.tokens).copied().collect();
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        if tokens.iter().any(|token| *token as usize >= self.config.vocabulary) {
            return Err(GenerateError::Model("a token is outside the vocabulary".to_owned()));
        }
        let states =
            self.states(&tokens, pieces).and_then(|states| states.flatten_all()?.to_dtype(DType::F32)?.to_vec1());
        let states = states.map_err(|error| self.place.failed(&error))?;
        for piece in pieces {
            piece.sequence.advance(piece.tokens.len());
        }
        Ok(states)
    }

    /// Logits of hidden states, `[_, vocabulary]`.
    pub(crate) fn logits(&self, states: &[f32]) -> std::result::Result<Vec<f32>, GenerateError> {
        let hidden = self.config.hidden;
        let logits = self.place.tensor(states.to_vec(), &[states.len() / hidden, hidden]).and_then(|states| {
            self.normalise(&states, &self.norm)?.matmul(&self.head)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
        });
        logits.map_err(|error| self.place.failed(&error))
    }

    fn states(&self, tokens: &[u32], pieces: &mut [Piece<'_>]) -> Result<Tensor> {
        let tokens = Tensor::new(tokens, &self.place.device)?;
        let mut states = self.embedding.index_select(&tokens, 0)?;
        let mut masks = Vec::with_capacity(pieces.len());
        let mut adapters = Vec::with_capacity(pieces.len());
        for piece in &*pieces {
            masks.push(Mask::new(piece.sequence.length(), piece.tokens.len(), &self.place)?);
            adapters.push(piece.adapter.map(|adapter| adapter.on_device(&self.place)).transpose()?);
        }
        for (index, block) in self.blocks.iter().enumerate() {
            states = (&states + self.attention(index, block, pieces, (&masks, &adapters), &states)?)?;
            states = (&states + self.feed_forward(index, block, pieces, &adapters, &states)?)?;
        }
        Ok(states)
    }

    fn attention(
        &self,
        index: usize,
        block: &Block,
        pieces: &mut [Piece<'_>],
        (masks, adapters): (&[Mask], &[Option<&DeviceAdapter>]),
        states: &Tensor,
    ) -> Result<Tensor> {
        let normal = self.normalise(states, &block.attention_norm)?;
        let projected = normal.matmul(&block.attention_in)?;
        let widths = [self.config.query_width(), self.config.kv_width(), self.config.kv_width()];
        let update = [Projection::Query, Projection::Key, Projection::Value];
        let projected = adapt(pieces, adapters, index, (&update, &widths), (&normal, projected))?;
        let mut mixed = Vec::with_capacity(pieces.len());
        let mut first = 0;
        for (piece, mask) in pieces.iter_mut().zip(masks) {
            let own = projected.narrow(0, first, piece.tokens.len())?;
            first += piece.tokens.len();
            let start = piece.sequence.length();
            let cache = piece.sequence.on_device(self.config.blocks);
            mixed.push(attend(&self.config, &own, (&self.rotary, start), (cache, index), mask)?);
        }
        let mixed = Tensor::cat(&mixed, 0)?;
        let output = mixed.matmul(&block.attention_out)?;
        adapt(pieces, adapters, index, (&[Projection::Output], &[self.config.hidden]), (&mixed, output))
    }

    fn feed_forward(
        &self,
        index: usize,
        block: &Block,
        pieces: &[Piece<'_>],
        adapters: &[Option<&DeviceAdapter>],
        states: &Tensor,
    ) -> Result<Tensor> {
        let inner = self.config.feed_forward;
        let normal = self.normalise(states, &block.feed_forward_norm)?;
        let projected = normal.matmul(&block.feed_forward_in)?;
        let update = ([Projection::Gate, Projection::Up], [inner, inner]);
        let projected = adapt(pieces, adapters, index, (&update.0, &update.1), (&normal, projected))?;
        let gate = projected.narrow(D::Minus1, 0, inner)?.silu()?;
        let gated = (gate * projected.narrow(D::Minus1, inner, inner)?)?;
        let output = gated.matmul(&block.feed_forward_out)?;
        adapt(pieces, adapters, index, (&[Projection::Down], &[self.config.hidden]), (&gated, output))
    }

    fn normalise(&self, states: &Tensor, gains: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(&states.contiguous()?, gains, self.config.norm_epsilon)
    }
}

/// `y` with the adapters' updates of these projections, which lie side by side with these widths, added to the rows of the
/// pieces that have one.
fn adapt(
    pieces: &[Piece<'_>],
    adapters: &[Option<&DeviceAdapter>],
    block: usize,
    (projections, widths): (&[Projection], &[usize]),
    (x, y): (&Tensor, Tensor),
) -> Result<Tensor> {
    let touched = |adapter: &&DeviceAdapter| projections.iter().any(|projection| adapter.has(block, *projection));
    if adapters.iter().flatten().all(|adapter| !touched(adapter)) {
        return Ok(y);
    }
    let mut rows = Vec::with_capacity(pieces.len());
    let mut first = 0;
    for (piece, adapter) in pieces.iter().zip(adapters) {
        let count = piece.tokens.len();
        let (own_x, own_y) = (x.narrow(0, first, count)?, y.narrow(0, first, count)?);
        first += count;
        let Some(adapter) = adapter.filter(touched) else {
            rows.push(own_y);
            continue;
        };
        let mut column = 0;
        let mut parts = Vec::with_capacity(projections.len());
        for (projection, width) in projections.iter().zip(widths) {
            let part = own_y.narrow(1, column, *width)?;
            column += width;
            parts.push(match adapter.update(block, *projection, &own_x)? {
                Some(update) => (part + update)?,
                None => part,
            });
        }
        rows.push(Tensor::cat(&parts, 1)?);
    }
    Tensor::cat(&rows, 0)
}

impl LoadedAdapter {
    /// Its matrices at `place`, brought there when they are first asked for.
    fn on_device(&self, place: &Place) -> Result<&DeviceAdapter> {
        if let Some(adapter) = self.device.get() {
            return Ok(adapter);
        }
        let adapter = DeviceAdapter::new(self, place)?;
        Ok(self.device.get_or_init(|| adapter))
    }
}
