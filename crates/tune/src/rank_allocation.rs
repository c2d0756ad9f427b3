//! Adaptive ranks: training starts with more rank-one directions than asked for and gives up the least important ones, so
//! that matrices end with different ranks at the same total.
//!
//! Importance is `AdaLoRA`'s (Zhang et al. 2023, equations 8 to 11): the sensitivity |weight · gradient|, smoothed over
//! steps and multiplied by its smoothed uncertainty. There it scores singular triplets; here it scores the directions of
//! a plain pair, row i of A with column i of B, so that the result needs no format of its own. A direction that was given
//! up is zero in both, has no gradient any more and stays zero.

use anser_generate::LoraAdapter;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::TuneError;
use crate::model::Parameter;
use crate::optimizer::AdamW;

/// How much larger ranks are at the start.
const HEADROOM: f64 = 1.5;
/// Decay of the smoothed sensitivity and of its uncertainty (β₁ and β₂ of the paper).
const SMOOTHING: f64 = 0.85;
/// Shares of all steps after which giving up begins and ends.
const FIRST: f64 = 0.1;
const LAST: f64 = 0.5;

const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";
const PREFIX: &str = "base_model.model.";

/// Rank that each matrix starts with so that `rank` remains on average.
pub(crate) fn starting_rank(rank: usize) -> usize {
    ((rank as f64 * HEADROOM).ceil() as usize).max(rank + 1)
}

/// Smoothed figures of every direction, by matrix; kept with a run's state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct RankScores {
    sensitivity: Vec<Vec<f64>>,
    uncertainty: Vec<Vec<f64>>,
    active: Vec<Vec<bool>>,
}

/// One low-rank update among the parameters.
#[derive(Debug)]
struct Pair {
    module: String,
    a: usize,
    b: usize,
    rank: usize,
}

/// Moves the ranks of a run.
#[derive(Debug)]
pub(crate) struct RankAllocation {
    pairs: Vec<Pair>,
    scores: RankScores,
    /// Directions a matrix has on average at the end.
    rank: usize,
    /// Directions in all at the end.
    budget: usize,
    total_steps: usize,
}

impl RankAllocation {
    /// For parameters that were made with [`starting_rank`] of `rank`. `scores` are those of a run that goes on.
    pub(crate) fn new(
        parameters: &[Parameter],
        rank: usize,
        total_steps: usize,
        scores: Option<RankScores>,
    ) -> Result<Self, TuneError> {
        let mut pairs = Vec::new();
        for (a, parameter) in parameters.iter().enumerate() {
            let Some(module) = parameter.name.strip_suffix(A) else { continue };
            let other = format!("{module}{B}");
            let b = parameters.iter().position(|parameter| parameter.name == other);
            let (Some(b), Some(&rank)) = (b, parameter.shape.first()) else {
                return Err(TuneError::Internal(format!("{} has no second matrix", parameter.name)));
            };
            pairs.push(Pair { module: module.strip_prefix(PREFIX).unwrap_or(module).to_owned(), a, b, rank });
        }
        let budget = rank * pairs.len();
        let each = |value: f64| pairs.iter().map(|pair| vec![value; pair.rank]).collect();
        let scores = scores.unwrap_or_else(|| RankScores {
            sensitivity: each(0.0),
            uncertainty: each(0.0),
            active: pairs.iter().map(|pair| vec![true; pair.rank]).collect(),
        });
        Ok(Self { pairs, scores, rank, budget, total_steps })
    }

    /// What to keep with the state.
    pub(crate) fn scores(&self) -> &RankScores {
        &self.scores
    }

    /// Takes a step's gradients into the scores. Called before the update, with the weights the gradients are of.
    pub(crate) fn observe(&mut self, parameters: &[Parameter], gradients: &[Vec<f32>]) {
        let now: Vec<Vec<f64>> = self.pairs.par_iter().map(|pair| sensitivities(pair, parameters, gradients)).collect();
        let scores = self.scores.sensitivity.iter_mut().zip(&mut self.scores.uncertainty);
        for ((smooth, uncertainty), now) in scores.zip(now) {
            for ((smooth, uncertainty), now) in smooth.iter_mut().zip(uncertainty).zip(now) {
                *smooth = SMOOTHING * *smooth + (1.0 - SMOOTHING) * now;
                *uncertainty = SMOOTHING * *uncertainty + (1.0 - SMOOTHING) * (now - *smooth).abs();
            }
        }
    }

    /// Gives up as many of the least important directions as the schedule wants by `step`. Called after the update.
    pub(crate) fn prune(&mut self, step: usize, parameters: &mut [Parameter], optimizer: &mut AdamW) {
        let excess = self.active().saturating_sub(self.target(step));
        if excess == 0 {
            return;
        }
        let mut candidates: Vec<(f64, usize, usize)> = Vec::new();
        for (pair, active) in self.scores.active.iter().enumerate() {
            let scored = self.scores.sensitivity.get(pair).into_iter().flatten();
            let scored = scored.zip(self.scores.uncertainty.get(pair).into_iter().flatten());
            for (direction, ((sensitivity, uncertainty), active)) in scored.zip(active).enumerate() {
                if *active {
                    candidates.push((sensitivity * uncertainty, pair, direction));
                }
            }
        }
        candidates.sort_by(|left, right| left.0.total_cmp(&right.0).then((left.1, left.2).cmp(&(right.1, right.2))));
        let mut left = excess;
        for (_, pair, direction) in candidates {
            if left == 0 {
                break;
            }
            let Some(active) = self.scores.active.get_mut(pair) else { continue };
            // A matrix keeps one direction: PEFT knows no rank of zero.
            if active.iter().filter(|active| **active).count() == 1 {
                continue;
            }
            if let (Some(active), Some(pair)) = (active.get_mut(direction), self.pairs.get(pair)) {
                *active = false;
                left -= 1;
                clear(pair, direction, parameters.iter_mut().map(|parameter| &mut parameter.values));
                clear(pair, direction, optimizer.first.iter_mut());
                clear(pair, direction, optimizer.second.iter_mut());
            }
        }
    }

    /// Whether all directions are gone that are to go.
    pub(crate) fn is_settled(&self) -> bool {
        self.active() <= self.budget
    }

    /// Directions that should be left after `step`: a cubic fall from all to the budget (equation 12 of the paper).
    fn target(&self, step: usize) -> usize {
        let all: usize = self.pairs.iter().map(|pair| pair.rank).sum();
        let way = (step as f64 / self.total_steps.max(1) as f64 - FIRST) / (LAST - FIRST);
        let rest = (1.0 - way.clamp(0.0, 1.0)).powi(3);
        self.budget + (all.saturating_sub(self.budget) as f64 * rest).floor() as usize
    }

    fn active(&self) -> usize {
        self.scores.active.iter().flatten().filter(|active| **active).count()
    }

    /// Takes the directions that were given up out of `adapter`, so that each pair's rank is what is left. Scales stay.
    pub(crate) fn compact(&self, adapter: &mut LoraAdapter) {
        adapter.config.alpha *= self.rank as f64 / adapter.config.rank.max(1) as f64;
        adapter.config.rank = self.rank;
        for (pair, active) in self.pairs.iter().zip(&self.scores.active) {
            let Some(update) = adapter.updates.get_mut(&pair.module) else { continue };
            let kept: Vec<usize> = (0..pair.rank).filter(|index| active.get(*index) == Some(&true)).collect();
            let rows = kept.iter().filter_map(|row| update.a.get(row * update.inputs..(row + 1) * update.inputs));
            let a = rows.flatten().copied().collect();
            let columns = update.b.chunks(pair.rank);
            let b = columns.flat_map(|row| kept.iter().filter_map(|column| row.get(*column)).copied()).collect();
            (update.a, update.b, update.rank) = (a, b, kept.len());
        }
    }
}

/// Mean |weight · gradient| over row i of A, plus that over column i of B, for each direction i.
fn sensitivities(pair: &Pair, parameters: &[Parameter], gradients: &[Vec<f32>]) -> Vec<f64> {
    let products = |index: usize| {
        let values = parameters.get(index).map(|parameter| parameter.values.as_slice()).unwrap_or_default();
        let gradient = gradients.get(index).map(Vec::as_slice).unwrap_or_default();
        values.iter().zip(gradient).map(|(value, gradient)| f64::from((value * gradient).abs())).collect::<Vec<f64>>()
    };
    let (a, b) = (products(pair.a), products(pair.b));
    let mut scores = vec![0.0; pair.rank];
    let columns = (a.len() / pair.rank).max(1);
    for (score, row) in scores.iter_mut().zip(a.chunks(columns)) {
        *score += row.iter().sum::<f64>() / columns as f64;
    }
    let rows = (b.len() / pair.rank).max(1) as f64;
    for row in b.chunks(pair.rank) {
        for (score, product) in scores.iter_mut().zip(row) {
            *score += product / rows;
        }
    }
    scores
}

/// Sets row `direction` of A and column `direction` of B to zero, in tensors parallel to the parameters.
fn clear<'a>(pair: &Pair, direction: usize, tensors: impl Iterator<Item = &'a mut Vec<f32>>) {
    for (index, values) in tensors.enumerate() {
        if index == pair.a {
            let columns = values.len() / pair.rank;
            if let Some(row) = values.get_mut(direction * columns..(direction + 1) * columns) {
                row.fill(0.0);
            }
        } else if index == pair.b {
            for row in values.chunks_mut(pair.rank) {
                if let Some(value) = row.get_mut(direction) {
                    *value = 0.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::AdamWOptions;

    const RANK: usize = 3;

    /// Two pairs of rank 3: the first [3, 2] and [4, 3], the second [3, 5] and [2, 3].
    fn parameters() -> Vec<Parameter> {
        let pair = |module: &str, inputs: usize, outputs: usize| {
            let tensor = |suffix: &str, shape: [usize; 2]| Parameter {
                name: format!("{PREFIX}{module}{suffix}"),
                shape: shape.to_vec(),
                values: vec![1.0; shape[0] * shape[1]],
                decay: true,
            };
            [tensor(A, [RANK, inputs]), tensor(B, [outputs, RANK])]
        };
        [pair("model.layers.0.self_attn.q_proj", 2, 4), pair("model.layers.0.mlp.up_proj", 5, 2)].concat()
    }

    /// Gradients under which direction i of pair p has sensitivity 2 · `by[p][i]`.
    fn gradients(parameters: &[Parameter], by: [[f32; RANK]; 2]) -> Vec<Vec<f32>> {
        let of = |index: usize, parameter: &Parameter| -> Vec<f32> {
            let columns = parameter.shape[1];
            (0..parameter.values.len())
                .map(|at| by[index / 2][if index.is_multiple_of(2) { at / columns } else { at % columns }])
                .collect()
        };
        parameters.iter().enumerate().map(|(index, parameter)| of(index, parameter)).collect()
    }

    #[test]
    fn sensitivity_is_the_mean_product_of_both_matrices() {
        let parameters = parameters();
        let gradients = gradients(&parameters, [[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]]);
        let allocation = RankAllocation::new(&parameters, 2, 100, None).unwrap();
        assert_eq!(sensitivities(&allocation.pairs[0], &parameters, &gradients), [2.0, 4.0, 6.0]);
        assert_eq!(sensitivities(&allocation.pairs[1], &parameters, &gradients), [8.0, 10.0, 12.0]);
    }

    #[test]
    fn the_least_important_directions_go_and_the_total_stays() {
        let mut parameters = parameters();
        let options = AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let mut optimizer = AdamW::new(options, &parameters);
        let mut allocation = RankAllocation::new(&parameters, 2, 100, None).unwrap();
        let gradients = gradients(&parameters, [[1.0, 2.0, 3.0], [9.0, 8.0, 7.0]]);
        optimizer.update(&mut parameters.clone(), &gradients, 0.1);
        for step in 1..=60 {
            allocation.observe(&parameters, &gradients);
            allocation.prune(step, &mut parameters, &mut optimizer);
            if step == 10 {
                assert_eq!(allocation.active(), 6);
            }
        }
        assert_eq!(allocation.scores.active, [vec![false, false, true], vec![true, true, true]]);
        assert_eq!(parameters[0].values, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(parameters[1].values, [0.0, 0.0, 1.0].repeat(4));
        assert!(parameters[2].values.iter().all(|value| value.to_bits() == 1.0_f32.to_bits()));
        assert_eq!(optimizer.first[0][..4], [0.0; 4]);
        assert!(optimizer.second[0][4] > 0.0);
    }

    #[test]
    fn the_number_of_directions_falls_as_a_cube() {
        let parameters = parameters();
        let mut allocation = RankAllocation::new(&parameters, 2, 100, None).unwrap();
        for pair in &mut allocation.pairs {
            pair.rank = 502;
        }
        assert_eq!([5, 10, 30, 50, 100].map(|step| allocation.target(step)), [1004, 1004, 4 + 125, 4, 4]);
    }

    #[test]
    fn a_matrix_keeps_its_last_direction() {
        let mut parameters = parameters();
        let options = AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let mut optimizer = AdamW::new(options, &parameters);
        let mut allocation = RankAllocation::new(&parameters, 1, 10, None).unwrap();
        let gradients = gradients(&parameters, [[1.0, 2.0, 3.0], [9.0, 8.0, 7.0]]);
        allocation.observe(&parameters, &gradients);
        allocation.prune(10, &mut parameters, &mut optimizer);
        assert_eq!(allocation.scores.active, [vec![false, false, true], vec![true, false, false]]);
    }

    #[test]
    fn starting_ranks_leave_something_to_give_up() {
        assert_eq!([1, 2, 4, 8].map(starting_rank), [2, 3, 6, 12]);
    }
}
