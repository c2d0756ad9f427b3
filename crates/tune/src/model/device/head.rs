//! From the residual stream to how likely each target is, and back.

use candle_core::{D, DType, Result, Tensor};

use super::backward::norm_backward;
use super::forward::{SavedNorm, normalise};
use super::{DevicePass, Found, Place};
use crate::model::batch::{Batch, BatchScores};

/// Targets whose logits are in memory at once.
const STRETCH: usize = 1024;

/// The rows of a batch that predict a target, and what the way back needs of them.
pub(super) struct HeadState {
    /// The rows that predict, and the tokens that they should; one for each target.
    rows: Tensor,
    targets: Vec<u32>,
    norm: Option<SavedNorm>,
    /// [targets, hidden].
    hidden: Option<Tensor>,
    /// The gradient of each target's log probability by its hidden state, in f32, a stretch after another.
    directions: Vec<Tensor>,
}

impl HeadState {
    /// Of a batch.
    pub(super) fn new(place: &Place, batch: &Batch) -> Result<Self> {
        let learned = batch.learn.iter().enumerate().filter(|(_, learn)| **learn).map(|(row, _)| row);
        let (rows, targets): (Vec<u32>, Vec<u32>) =
            learned.filter_map(|row| Some((row.checked_sub(1)? as u32, *batch.tokens.get(row)?))).unzip();
        let count = rows.len();
        let rows = Tensor::from_vec(rows, count, &place.device)?;
        Ok(Self { rows, targets, norm: None, hidden: None, directions: Vec::new() })
    }

    /// Scores all targets; `gradients` keeps what the way back needs.
    pub(super) fn score(
        &mut self,
        pass: &DevicePass<'_>,
        batch: &Batch,
        x: &Tensor,
        gradients: bool,
    ) -> Result<BatchScores> {
        let mut scores = BatchScores { targets_of_sequence: batch.targets_of_sequences(), ..BatchScores::default() };
        if self.targets.is_empty() {
            return Ok(scores);
        }
        let epsilon = pass.context.pass.network.config.norm_epsilon;
        let predicting = x.index_select(&self.rows, 0)?;
        let (norm, hidden) = normalise(pass.place, &predicting, &pass.weights.final_norm, epsilon)?;
        let head = &pass.weights.head;
        for (stretch, targets) in self.targets.chunks(STRETCH).enumerate() {
            let hidden = hidden.narrow(0, stretch * STRETCH, targets.len())?;
            let tokens = Tensor::new(targets, &pass.place.device)?;
            let logits = hidden.matmul(&head.t()?)?.to_dtype(DType::F32)?;
            let own = logits.gather(&tokens.unsqueeze(1)?, 1)?;
            let best = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
            let highest = logits.max_keepdim(D::Minus1)?;
            let shares = logits.broadcast_sub(&highest)?.exp()?;
            let sums = shares.sum_keepdim(D::Minus1)?;
            let found = ((own - highest)? - sums.log()?)?.squeeze(1)?.to_vec1::<f32>()?;
            scores.log_probabilities.extend(found);
            scores.likeliest.extend(best.iter().zip(targets).map(|(best, target)| best == target));
            if gradients {
                // A log probability's gradient by the hidden state: the target's row less the expected row.
                let expected = shares.broadcast_div(&sums)?.to_dtype(pass.place.dtype)?.matmul(head)?;
                let rows = head.index_select(&tokens, 0)?.to_dtype(DType::F32)?;
                self.directions.push((rows - expected.to_dtype(DType::F32)?)?);
            }
        }
        if gradients {
            (self.norm, self.hidden) = (Some(norm), Some(hidden));
        }
        Ok(scores)
    }

    /// From the loss's derivative by each target's log probability to that of the residual stream `x`; the gradients of
    /// the final norm and of the output matrix go into `found`.
    pub(super) fn backward(
        &mut self,
        pass: &DevicePass<'_>,
        weights: &[f32],
        x: &Tensor,
        found: &mut Vec<Found>,
    ) -> Result<Tensor> {
        let network = pass.context.pass.network;
        let nothing = x.zeros_like()?;
        let (Some(norm), Some(hidden)) = (&self.norm, &self.hidden) else { return Ok(nothing) };
        let factors = pass.place.exact(weights, &[weights.len(), 1])?;
        let gradient = Tensor::cat(&self.directions, 0)?.broadcast_mul(&factors)?;
        let by_row = norm_backward((norm, &pass.weights.final_norm), &network.final_norm, &gradient, found)?;
        if let Some(index) = network.head.parameter {
            found.push((index, self.output_gradient(pass, hidden, &factors)?));
        }
        nothing.index_add(&self.rows, &by_row, 0)
    }

    /// Σ w·(1 - P)·h over all targets, [vocabulary, hidden].
    fn output_gradient(&self, pass: &DevicePass<'_>, hidden: &Tensor, factors: &Tensor) -> Result<Tensor> {
        let head = &pass.weights.head;
        let mut sum = Tensor::zeros(head.dims(), DType::F32, &pass.place.device)?;
        for (stretch, targets) in self.targets.chunks(STRETCH).enumerate() {
            let hidden = hidden.narrow(0, stretch * STRETCH, targets.len())?;
            let factors = factors.narrow(0, stretch * STRETCH, targets.len())?;
            let tokens = Tensor::new(targets, &pass.place.device)?;
            let shares = candle_nn::ops::softmax_last_dim(&hidden.matmul(&head.t()?)?.to_dtype(DType::F32)?)?;
            let hidden = hidden.to_dtype(DType::F32)?.broadcast_mul(&factors)?;
            sum = (sum.index_add(&tokens, &hidden, 0)? - shares.t()?.matmul(&hidden)?)?;
        }
        Ok(sum)
    }
}
