//! The forward pass of a block.

use candle_core::{D, DType, Result, Tensor};

use super::attention::{SavedAttention, Sequences, attend};
use super::weights::{DeviceGroup, DeviceUpdate};
use super::{DevicePass, Place};
use crate::model::network::{DOWN, GATE_UP, Group, OUT, QKV};

/// A norm's input divided by its root mean square, and what it was multiplied with for that.
pub(super) struct SavedNorm {
    /// [rows, hidden], in f32.
    pub(super) normalised: Tensor,
    /// [rows, 1], in f32.
    pub(super) scales: Tensor,
}

/// What a group's way back needs.
pub(super) struct SavedGroup {
    /// [rows, inputs].
    pub(super) x: Tensor,
    /// What dropout multiplied it with on the way into the low-rank updates.
    pub(super) mask: Option<Tensor>,
    /// A·x of each member's update, [rows, rank].
    pub(super) low_rank: Vec<Option<Tensor>>,
}

/// What a block's way back needs.
pub(super) struct Saved {
    pub(super) norm_in: SavedNorm,
    pub(super) qkv: SavedGroup,
    pub(super) attention: SavedAttention,
    pub(super) out: SavedGroup,
    pub(super) norm_mid: SavedNorm,
    pub(super) gate_up: SavedGroup,
    /// [rows, gate | up].
    pub(super) gated: Tensor,
    pub(super) down: SavedGroup,
}

/// RMS norm of the rows of `x` in f32, as the numbers that matrices have.
pub(super) fn normalise(place: &Place, x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<(SavedNorm, Tensor)> {
    let scales = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?.recip()?;
    let normalised = x.broadcast_mul(&scales)?;
    let out = normalised.broadcast_mul(weight)?.to_dtype(place.dtype)?;
    Ok((SavedNorm { normalised, scales }, out))
}

impl DevicePass<'_> {
    /// Whether low-rank updates count.
    pub(super) fn update<'u>(&self, update: Option<&'u DeviceUpdate>) -> Option<&'u DeviceUpdate> {
        update.filter(|_| self.context.pass.adapters)
    }

    pub(super) fn group(&self, block: usize, group: usize) -> Result<(&Group, &DeviceGroup)> {
        let own = self.context.pass.network.blocks.get(block).zip(self.weights.blocks.get(block));
        let found = own.and_then(|(of, on)| of.groups.get(group).zip(on.groups.get(group)));
        found.ok_or_else(|| candle_core::Error::msg(format!("there is no group {group} of block {block}")))
    }

    /// Dropout's mask for `rows` rows of a group's input; the same as on a processor.
    fn mask(&self, block: usize, group: usize, rows: usize) -> Result<Option<Tensor>> {
        let pass = &self.context.pass;
        let Some(dropout) = pass.dropout_of(block, group) else { return Ok(None) };
        let width = self.group(block, group)?.0.inputs;
        let ones = vec![1.0_f32; rows * width];
        let mut mask = vec![0.0_f32; rows * width];
        dropout.apply(pass.set, 0, width, &ones, &mut mask);
        self.place.matrix(&mask, &[rows, width]).map(Some)
    }

    /// A group's products with the rows of `x`, low-rank updates included.
    fn multiply(&self, block: usize, group: usize, x: Tensor) -> Result<(SavedGroup, Tensor)> {
        let (of, on) = self.group(block, group)?;
        let mut y = x.matmul(&on.matrix.t()?)?;
        let mask = self.mask(block, group, x.dim(0)?)?;
        let dropped = match &mask {
            Some(mask) => (&x * mask)?,
            None => x.clone(),
        };
        let mut low_rank = Vec::with_capacity(on.updates.len());
        let mut added = Vec::with_capacity(on.updates.len());
        for (update, member) in on.updates.iter().zip(&of.members) {
            let update = self.update(update.as_ref());
            let low = update.map(|update| dropped.matmul(&update.a.t()?)).transpose()?;
            added.push(match update.zip(low.as_ref()) {
                Some((update, low)) => low.matmul(&update.b.t()?)?,
                None => Tensor::zeros((x.dim(0)?, member.outputs), x.dtype(), x.device())?,
            });
            low_rank.push(low);
        }
        if low_rank.iter().any(Option::is_some) {
            y = (y + Tensor::cat(&added, 1)?)?;
        }
        Ok((SavedGroup { x, mask, low_rank }, y))
    }
}

/// Runs block `index` over the residual stream `x` [rows, hidden] in f32.
pub(super) fn block_forward(
    pass: &DevicePass<'_>,
    index: usize,
    sequences: &Sequences,
    x: Tensor,
) -> Result<(Saved, Tensor)> {
    let config = &pass.context.pass.network.config;
    let Some(weights) = pass.weights.blocks.get(index) else { candle_core::bail!("there is no block {index}") };
    let (norm_in, normal) = normalise(pass.place, &x, &weights.norm_in, config.norm_epsilon)?;
    let (qkv, projected) = pass.multiply(index, QKV, normal)?;
    let (attention, attended) = attend(config, &pass.weights.rotary, sequences, &projected)?;
    let (out, added) = pass.multiply(index, OUT, attended)?;
    let x = (x + added.to_dtype(DType::F32)?)?;

    let (norm_mid, normal) = normalise(pass.place, &x, &weights.norm_mid, config.norm_epsilon)?;
    let (gate_up, gated) = pass.multiply(index, GATE_UP, normal)?;
    let inner = config.feed_forward;
    let activation = (gated.narrow(1, 0, inner)?.silu()? * gated.narrow(1, inner, inner)?)?;
    let (down, added) = pass.multiply(index, DOWN, activation)?;
    let x = (x + added.to_dtype(DType::F32)?)?;
    Ok((Saved { norm_in, qkv, attention, out, norm_mid, gate_up, gated, down }, x))
}
