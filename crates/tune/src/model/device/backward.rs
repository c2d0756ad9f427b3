//! The way back through a block.

use candle_core::{D, DType, Result, Tensor};

use super::attention::{Sequences, attend_backward};
use super::forward::{Saved, SavedGroup, SavedNorm};
use super::{DevicePass, Found};
use crate::model::network::{DOWN, GATE_UP, Norm, OUT, QKV};

/// From the gradient of a norm's output to that of its input, both [rows, hidden] in f32:
/// dx = s·(g - x̂·mean(g∘x̂)) with g = dy∘w.
pub(super) fn norm_backward(
    (saved, weight): (&SavedNorm, &Tensor),
    of: &Norm,
    gradient: &Tensor,
    found: &mut Vec<Found>,
) -> Result<Tensor> {
    let gradient = gradient.to_dtype(DType::F32)?;
    if let Some(index) = of.parameter {
        found.push((index, (&gradient * &saved.normalised)?.sum(0)?));
    }
    let gradient = gradient.broadcast_mul(weight)?;
    let mean = (&gradient * &saved.normalised)?.mean_keepdim(D::Minus1)?;
    (gradient - saved.normalised.broadcast_mul(&mean)?)?.broadcast_mul(&saved.scales)
}

impl DevicePass<'_> {
    /// From the gradient of a group's output [rows, outputs] to that of its input; the gradients of what learns go into
    /// `found`.
    fn group_backward(
        &self,
        (block, group): (usize, usize),
        saved: &SavedGroup,
        gradient: &Tensor,
        found: &mut Vec<Found>,
    ) -> Result<Tensor> {
        let (of, on) = self.group(block, group)?;
        let mut dx = gradient.matmul(&on.matrix)?;
        let members = of.members.iter().zip(&on.updates).zip(&saved.low_rank);
        let mut through_updates: Option<Tensor> = None;
        for ((member, update), low_rank) in members {
            let own = gradient.narrow(1, member.offset, member.outputs)?.contiguous()?;
            if let Some(index) = member.weight {
                found.push((index, own.t()?.matmul(&saved.x)?));
            }
            let Some(((update, places), low)) = self.update(update.as_ref()).zip(member.update).zip(low_rank.as_ref())
            else {
                continue;
            };
            // y = s·B·(A·x): the scale lies in B, so it is put back into B's own gradient.
            let d_low = own.matmul(&update.b)?;
            found.push((places.b, (own.t()?.matmul(low)?.to_dtype(DType::F32)? * f64::from(places.scale))?));
            let dropped = match &saved.mask {
                Some(mask) => (&saved.x * mask)?,
                None => saved.x.clone(),
            };
            found.push((places.a, d_low.t()?.matmul(&dropped)?));
            let more = d_low.matmul(&update.a)?;
            through_updates = Some(match through_updates {
                Some(sum) => (sum + more)?,
                None => more,
            });
        }
        if let Some(more) = through_updates {
            let more = match &saved.mask {
                Some(mask) => (more * mask)?,
                None => more,
            };
            dx = (dx + more)?;
        }
        Ok(dx)
    }
}

/// From the gradient `dx` of the residual stream behind block `index` to that before it, both [rows, hidden] in f32.
pub(super) fn block_backward(
    pass: &DevicePass<'_>,
    index: usize,
    sequences: &Sequences,
    (saved, dx): (Saved, Tensor),
    found: &mut Vec<Found>,
) -> Result<Tensor> {
    let network = pass.context.pass.network;
    let config = &network.config;
    let Some((of, on)) = network.blocks.get(index).zip(pass.weights.blocks.get(index)) else {
        candle_core::bail!("there is no block {index}")
    };
    let narrow = |x: &Tensor| x.to_dtype(pass.place.dtype);
    let inner = config.feed_forward;

    let activation = pass.group_backward((index, DOWN), &saved.down, &narrow(&dx)?, found)?.to_dtype(DType::F32)?;
    let gate = saved.gated.narrow(1, 0, inner)?.to_dtype(DType::F32)?;
    let up = saved.gated.narrow(1, inner, inner)?.to_dtype(DType::F32)?;
    // silu(x) = x·σ(x), and its derivative is σ(x)·(1 + x·(1 - σ(x))).
    let sigmoid = candle_nn::ops::sigmoid(&gate)?;
    let silu = (&gate * &sigmoid)?;
    let slope = (&sigmoid + (&silu * (1.0 - &sigmoid)?)?)?;
    let d_gate = ((&activation * up)? * slope)?;
    let d_gated = Tensor::cat(&[d_gate, (activation * silu)?], 1)?;
    let normal = pass.group_backward((index, GATE_UP), &saved.gate_up, &narrow(&d_gated)?, found)?;
    let dx = (dx + norm_backward((&saved.norm_mid, &on.norm_mid), &of.norm_mid, &normal, found)?)?;

    let attended = pass.group_backward((index, OUT), &saved.out, &narrow(&dx)?, found)?;
    let projected = attend_backward(config, &pass.weights.rotary, sequences, (&saved.attention, &attended))?;
    let normal = pass.group_backward((index, QKV), &saved.qkv, &projected, found)?;
    dx + norm_backward((&saved.norm_in, &on.norm_in), &of.norm_in, &normal, found)?
}
