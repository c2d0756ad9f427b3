//! Loss and accuracy of a step or of an evaluation, gathered part by part.

use crate::batches::{divide, pack};
use crate::model::{Batch, BatchObjective, BatchScores, ObjectiveResult};
use crate::objective::{CrossEntropy, DirectPreference};

use super::course::PART_TOKENS;
use super::examples::{Examples, Unit};

/// Examples with what the reference thinks of them.
#[derive(Clone, Copy)]
pub(crate) struct ExampleSet<'a> {
    pub(crate) examples: &'a Examples,
    /// Strength of the pull and log-probability of each sequence under the reference, for preferences.
    pub(crate) preference: Option<(f64, &'a [f64])>,
}

/// Examples that are computed together.
pub(crate) struct Part {
    pub(crate) batch: Batch,
    /// Which examples of the set, in the batch's order.
    pub(crate) members: Vec<usize>,
    /// The step's beta, its pairs, and the reference of each of this part's sequences.
    preference: Option<(f64, Vec<f64>)>,
    /// Targets, or pairs, of all parts together.
    whole: usize,
}

/// What the loss of a part is.
pub(crate) enum PartObjective<'a> {
    CrossEntropy(CrossEntropy),
    Preference(DirectPreference<'a>),
}

impl BatchObjective for PartObjective<'_> {
    fn gradient(&self, scores: &BatchScores) -> ObjectiveResult {
        match self {
            Self::CrossEntropy(objective) => objective.gradient(scores),
            Self::Preference(objective) => objective.gradient(scores),
        }
    }
}

impl ExampleSet<'_> {
    /// Divides these examples into parts whose losses add up to the loss of all of them.
    pub(crate) fn parts(&self, members: &[usize]) -> Vec<Part> {
        let units: Vec<(usize, &Unit)> =
            members.iter().filter_map(|&member| Some((member, self.examples.units.get(member)?))).collect();
        let whole = match self.preference {
            None => units.iter().map(|(_, unit)| unit.targets()).sum(),
            Some(_) => units.len(),
        };
        let lengths: Vec<usize> = units.iter().map(|(_, unit)| unit.tokens()).collect();
        let part = |chosen: Vec<usize>| {
            let chosen: Vec<(usize, &Unit)> = chosen.iter().filter_map(|&index| units.get(index).copied()).collect();
            let batch = pack(chosen.iter().flat_map(|(_, unit)| &unit.sequences));
            let preference = self.preference.map(|(beta, reference)| {
                let of_unit = |member: usize| reference.get(2 * member..2 * member + 2).unwrap_or_default();
                (beta, chosen.iter().flat_map(|(member, _)| of_unit(*member)).copied().collect())
            });
            let members = chosen.iter().map(|(member, _)| *member).collect();
            Part { batch, members, preference, whole }
        };
        divide(&lengths, PART_TOKENS).into_iter().map(part).collect()
    }
}

impl Part {
    /// The part's share of the loss.
    pub(crate) fn objective(&self) -> PartObjective<'_> {
        match &self.preference {
            None => PartObjective::CrossEntropy(CrossEntropy { targets: self.whole }),
            Some((beta, reference)) => {
                PartObjective::Preference(DirectPreference { beta: *beta, pairs: self.whole, reference })
            }
        }
    }
}

/// Sums over the parts of a step or an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Figures {
    /// Tokens read.
    pub(crate) tokens: u64,
    /// Tokens that the loss counted.
    pub(crate) targets: u64,
    /// The loss.
    pub(crate) loss: f64,
    /// Sum of the margins between preferred and other outputs, in nats.
    margins: f64,
    hits: usize,
    chances: usize,
    whole_hits: usize,
    whole_chances: usize,
}

impl Figures {
    /// Adds what the model answered to a part.
    pub(crate) fn add(&mut self, part: &Part, scores: &BatchScores) {
        let objective = part.objective();
        self.tokens += part.batch.tokens.len() as u64;
        self.targets += scores.log_probabilities.len() as u64;
        self.loss += objective.gradient(scores).loss;
        match objective {
            PartObjective::CrossEntropy(_) => {
                let hits = |range| scores.likeliest.get(range).unwrap_or_default();
                for targets in &scores.targets_of_sequence {
                    let hits = hits(targets.clone());
                    self.hits += hits.iter().filter(|hit| **hit).count();
                    self.chances += hits.len();
                    self.whole_hits += usize::from(hits.iter().all(|hit| *hit));
                    self.whole_chances += 1;
                }
            }
            PartObjective::Preference(objective) => {
                for margin in objective.margins(scores) {
                    self.margins += margin;
                    self.hits += usize::from(margin > 0.0);
                    self.chances += 1;
                }
                (self.whole_hits, self.whole_chances) = (self.hits, self.chances);
            }
        }
    }

    /// Share of counted tokens that were the likeliest; for preferences, share of pairs whose preferred output gained
    /// more on the reference than the other one.
    pub(crate) fn accuracy(&self) -> f64 {
        self.hits as f64 / self.chances.max(1) as f64
    }

    /// The same of whole sequences.
    pub(crate) fn sequence_accuracy(&self) -> f64 {
        self.whole_hits as f64 / self.whole_chances.max(1) as f64
    }

    /// Mean margin of a pair, in nats.
    pub(crate) fn margin(&self) -> f64 {
        self.margins / self.chances.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use anser_generate::EncodedExample;

    use super::*;

    fn sequence(tokens: usize) -> EncodedExample {
        EncodedExample { tokens: vec![1; tokens], learn: (0..tokens).map(|index| index > 0).collect() }
    }

    fn scores(part: &Part, log_probability: f32) -> BatchScores {
        let mut scores = BatchScores::default();
        for bounds in part.batch.sequence_starts.windows(2) {
            let start = scores.log_probabilities.len();
            let targets = bounds[1] - bounds[0] - 1;
            scores.log_probabilities.extend(vec![log_probability; targets]);
            scores.likeliest.extend((0..targets).map(|index| index > 0 || targets == 1));
            scores.targets_of_sequence.push(start..start + targets);
        }
        scores
    }

    #[test]
    fn the_parts_of_a_long_step_add_up_to_its_mean() {
        let units: Vec<Unit> = [700, 600, 2, 300].map(|tokens| Unit { sequences: vec![sequence(tokens)] }).into();
        let examples = Examples { units, ..Examples::default() };
        let set = ExampleSet { examples: &examples, preference: None };
        let parts = set.parts(&[0, 1, 2, 3]);
        assert_eq!(parts.len(), 2);
        let mut figures = Figures::default();
        for part in &parts {
            figures.add(part, &scores(part, -2.0));
        }
        assert_eq!((figures.tokens, figures.targets), (1602, 1598));
        assert!((figures.loss - 2.0).abs() < 1e-9);
        assert!((figures.accuracy() - 1595.0 / 1598.0).abs() < 1e-12);
        assert!((figures.sequence_accuracy() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn pairs_stay_together_and_meet_their_own_reference() {
        let pair = |preferred, other| Unit { sequences: vec![sequence(preferred), sequence(other)] };
        let examples = Examples { units: vec![pair(900, 3), pair(600, 500), pair(4, 2)], ..Examples::default() };
        // Under the model every target costs one nat; the reference gives each sequence half of that, but the last
        // preferred output more than the model does.
        let reference = [-449.5, -1.0, -299.5, -249.5, 0.0, -0.5];
        let set = ExampleSet { examples: &examples, preference: Some((0.1, &reference)) };
        let parts = set.parts(&[2, 0]);
        assert_eq!(parts.len(), 1);
        let mut figures = Figures::default();
        figures.add(&parts[0], &scores(&parts[0], -1.0));
        // (-3 - 0) - (-1 + 0.5) and (-899 + 449.5) - (-2 + 1)
        assert!((figures.margin() - (-2.5 - 448.5) / 2.0).abs() < 1e-9);
        assert!(figures.accuracy() < f64::EPSILON);
        assert_eq!(set.parts(&[1, 0]).len(), 2);
    }
}
