//! Classifiers: three ways from a vector to one of several labels, each with a probability.

use anser_core::{CancelToken, NoProgress};
use anser_index::analysis::{LogisticModel, Vectors, nearest_among};

use super::{Prediction, PredictorKind};
use crate::EngineError;

/// Vectors whose neighbours are looked for at a time, so that a cancelled search ends soon.
const NEIGHBOUR_BLOCK: usize = 4096;

/// A learnt classifier.
#[derive(Debug)]
pub(crate) struct Classifier {
    /// The labels, whose places are the numbers of the classes.
    pub(crate) labels: Vec<String>,
    /// It abstains when no label is as probable as this.
    pub(crate) abstain_below: Option<f64>,
    /// How it decides.
    pub(crate) method: Method,
}

/// How a classifier decides.
#[derive(Debug)]
pub(crate) enum Method {
    /// Logistic regression.
    Logistic(LogisticModel),
    /// The labelled vectors nearest to the one in question vote with their cosines; negative ones count 0. Where all count
    /// 0 each has one vote.
    Nearest {
        /// How many vote.
        k: usize,
        /// The labelled vectors.
        examples: Vectors,
        /// The class of each of them.
        classes: Vec<u32>,
    },
    /// A softmax over the cosines with the labels' own vectors, divided by the temperature.
    ZeroShot {
        /// One vector for each label.
        vectors: Vectors,
        /// Above 0; the lower, the surer.
        temperature: f64,
    },
}

impl Method {
    pub(crate) fn kind(&self) -> PredictorKind {
        match self {
            Self::Logistic(_) => PredictorKind::Logistic,
            Self::Nearest { .. } => PredictorKind::Nearest,
            Self::ZeroShot { .. } => PredictorKind::ZeroShot,
        }
    }

    /// The most probable class of every vector, the first among equals, with its probability.
    pub(crate) fn classify(
        &self,
        vectors: &Vectors,
        classes: usize,
        cancel: &CancelToken,
    ) -> Result<Vec<(usize, f64)>, EngineError> {
        match self {
            Self::Logistic(model) => Ok(model.predict(vectors, cancel)?),
            Self::ZeroShot { vectors: labels, temperature } => {
                Ok(softmax_of_cosines(labels, *temperature)?.predict(vectors, cancel)?)
            }
            Self::Nearest { .. } => {
                let mut best = Vec::with_capacity(vectors.len());
                self.votes(vectors, classes, cancel, &mut |votes| best.push(most(votes)))?;
                Ok(best)
            }
        }
    }

    /// The probability of every class for every vector.
    fn probabilities(
        &self,
        vectors: &Vectors,
        classes: usize,
        cancel: &CancelToken,
    ) -> Result<Vec<Vec<f64>>, EngineError> {
        let of_model = |model: &LogisticModel| {
            let one = |vector: &[f32]| {
                cancel.check()?;
                Ok(model.probabilities(vector)?)
            };
            vectors.iter().map(one).collect()
        };
        match self {
            Self::Logistic(model) => of_model(model),
            Self::ZeroShot { vectors: labels, temperature } => of_model(&softmax_of_cosines(labels, *temperature)?),
            Self::Nearest { .. } => {
                let mut all = Vec::with_capacity(vectors.len());
                self.votes(vectors, classes, cancel, &mut |votes| all.push(votes.to_vec()))?;
                Ok(all)
            }
        }
    }

    /// Shows `each` the share of votes that every class has got, vector by vector.
    fn votes(
        &self,
        vectors: &Vectors,
        classes: usize,
        cancel: &CancelToken,
        each: &mut dyn FnMut(&[f64]),
    ) -> Result<(), EngineError> {
        let Self::Nearest { k, examples, classes: of } = self else {
            return Err(EngineError::internal("only neighbours vote"));
        };
        let mut shares = vec![0.0; classes];
        for first in (0..vectors.len()).step_by(NEIGHBOUR_BLOCK) {
            cancel.check()?;
            let end = vectors.len().min(first + NEIGHBOUR_BLOCK);
            let block = Vectors::new(vectors.rows(first..end).to_vec(), vectors.dimension())?;
            let found = nearest_among(&block, examples, *k, cancel, &NoProgress)?;
            for row in 0..found.len() {
                let (neighbours, cosines) = found.of(row);
                let even = cosines.iter().all(|cosine| *cosine <= 0.0);
                shares.fill(0.0);
                for (&neighbour, &cosine) in neighbours.iter().zip(cosines) {
                    let class = of.get(neighbour as usize).map_or(0, |class| *class as usize);
                    if let Some(share) = shares.get_mut(class) {
                        *share += if even { 1.0 } else { f64::from(cosine.max(0.0)) };
                    }
                }
                let total: f64 = shares.iter().sum();
                for share in &mut shares {
                    *share /= total.max(f64::MIN_POSITIVE);
                }
                each(&shares);
            }
        }
        Ok(())
    }
}

impl Classifier {
    /// What every vector means.
    pub(super) fn predict(&self, vectors: &Vectors, cancel: &CancelToken) -> Result<Vec<Prediction>, EngineError> {
        let probabilities = self.method.probabilities(vectors, self.labels.len(), cancel)?;
        let one = |scores: Vec<f64>| {
            let (class, probability) = most(&scores);
            let label = if self.abstains(probability) { None } else { self.labels.get(class).cloned() };
            Prediction { label, value: None, probability: Some(probability), scores }
        };
        Ok(probabilities.into_iter().map(one).collect())
    }

    /// Whether no label is given at this probability of the best one.
    pub(crate) fn abstains(&self, probability: f64) -> bool {
        self.abstain_below.is_some_and(|threshold| probability < threshold)
    }
}

/// The softmax over cosines with `labels` is a logistic regression whose weights are their vectors, divided by the
/// temperature; between two labels only the difference counts.
fn softmax_of_cosines(labels: &Vectors, temperature: f64) -> Result<LogisticModel, EngineError> {
    let scaled = |value: f64| (value / temperature) as f32;
    let weights: Vec<f32> = if labels.len() == 2 {
        labels.row(1).iter().zip(labels.row(0)).map(|(b, a)| scaled(f64::from(*b) - f64::from(*a))).collect()
    } else {
        labels.as_slice().iter().map(|value| scaled(f64::from(*value))).collect()
    };
    let rows = weights.len() / labels.dimension().max(1);
    Ok(LogisticModel::from_parts(weights, vec![0.0; rows])?)
}

/// The place of the largest value, the first among equals, with it.
fn most(values: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::NEG_INFINITY);
    for (place, &value) in values.iter().enumerate() {
        if value > best.1 {
            best = (place, value);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(angle: f32) -> [f32; 2] {
        [angle.cos(), angle.sin()]
    }

    fn at(angles: &[f32]) -> Vectors {
        Vectors::new(angles.iter().flat_map(|angle| unit(*angle)).collect(), 2).unwrap()
    }

    #[test]
    fn neighbours_vote_with_their_cosines() {
        let method = Method::Nearest { k: 3, examples: at(&[0.0, 0.1, 1.5]), classes: vec![0, 0, 1] };
        let classifier = Classifier { labels: vec!["a".into(), "b".into()], abstain_below: Some(0.7), method };
        let found = classifier.predict(&at(&[0.05, 1.4]), &CancelToken::new()).unwrap();
        let cosines = [1.4_f64.cos(), 1.3_f64.cos(), 0.1_f64.cos()];
        let share = cosines[2] / cosines.iter().sum::<f64>();
        assert!((found[1].scores[1] - share).abs() < 1e-6, "{found:?} {share}");
        assert_eq!((found[0].label.as_deref(), found[1].label.as_deref()), (Some("a"), None), "{found:?}");
        let best = classifier.method.classify(&at(&[0.05, 1.4]), 2, &CancelToken::new()).unwrap();
        assert_eq!((best[0].0, best[1].0), (0, 1));
        // Neighbours on the other side of the sphere have one vote each.
        let far = classifier.predict(&at(&[3.9]), &CancelToken::new()).unwrap();
        assert!((far[0].scores[0] - 2.0 / 3.0).abs() < 1e-6, "{far:?}");
    }

    #[test]
    fn zero_shot_is_a_softmax_over_cosines_for_any_number_of_labels() {
        for angles in [&[0.0_f32, 1.0][..], &[0.0, 1.0, 2.0]] {
            let method = Method::ZeroShot { vectors: at(angles), temperature: 0.25 };
            let found = method.probabilities(&at(&[0.3]), angles.len(), &CancelToken::new()).unwrap();
            let raw: Vec<f64> = angles.iter().map(|angle| (f64::from((angle - 0.3).cos()) / 0.25).exp()).collect();
            for (found, raw_one) in found[0].iter().zip(&raw) {
                assert!((found - raw_one / raw.iter().sum::<f64>()).abs() < 1e-6);
            }
            assert_eq!(method.classify(&at(&[0.3]), angles.len(), &CancelToken::new()).unwrap()[0].0, 0);
        }
    }
}
