//! How good predictions are.

use std::collections::BTreeMap;

use anser_core::{CancelToken, excerpt};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::EvaluationMethod;
use super::report::{
    Calibration, CalibrationBin, ClassifierEvaluation, ConfusedDocument, Confusion, ConfusionMatrix, CoveragePoint,
    MajorityBaseline,
};
use crate::EngineError;
use crate::analysis::Subject;
use crate::evaluate::interval;
use crate::metrics::Classification;

/// Resamples of a bootstrap, and most documents drawn in all of them together.
const RESAMPLES: usize = 1000;
const MAX_DRAWS: usize = 200_000_000;

/// Bins of probabilities.
const BINS: usize = 10;

/// Probabilities for which it is said what abstaining below them gives.
const THRESHOLDS: [f64; 6] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/// Confusions that are listed, documents of each, and characters of their texts.
const CONFUSIONS: usize = 10;
const EXAMPLES: usize = 3;
const SNIPPET: usize = 200;

/// A document with its true and its predicted class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    /// Its place in the subject.
    pub(super) place: usize,
    /// The true class.
    pub(super) class: usize,
    /// The predicted one.
    pub(super) predicted: usize,
    /// Its probability.
    pub(super) probability: f64,
}

impl Scored {
    fn right(&self) -> bool {
        self.class == self.predicted
    }
}

/// What an evaluation needs beside the predictions.
pub(super) struct Scoring<'a> {
    pub(super) names: &'a [String],
    pub(super) method: Option<EvaluationMethod>,
    pub(super) abstain_below: Option<f64>,
    pub(super) seed: u64,
}

impl Scoring<'_> {
    /// Measures predictions, of which there is at least one.
    pub(super) fn evaluate(
        &self,
        scored: &[Scored],
        subject: &Subject,
        cancel: &CancelToken,
    ) -> Result<ClassifierEvaluation, EngineError> {
        let figures = Classification::of_classes(self.names, scored.iter().map(|s| (Some(s.predicted), s.class)));
        let resampled = resample(scored, self.names.len(), self.seed, cancel)?;
        let column = |at: usize| resampled.iter().map(|figures| figures[at]).collect();
        Ok(ClassifierEvaluation {
            method: self.method,
            documents: scored.len(),
            accuracy: interval(figures.accuracy, column(0)),
            macro_f1: interval(figures.macro_f1, column(1)),
            weighted_f1: interval(figures.weighted_f1, column(2)),
            majority: majority(self.names, scored),
            confusion: confusion(self.names, scored),
            calibration: calibration(scored),
            coverage: THRESHOLDS.iter().map(|threshold| coverage(scored, *threshold)).collect(),
            abstention: self.abstain_below.map(|threshold| coverage(scored, threshold)),
            confusions: self.confusions(scored, subject)?,
            classes: figures.classes,
        })
    }

    fn confusions(&self, scored: &[Scored], subject: &Subject) -> Result<Vec<Confusion>, EngineError> {
        let mut pairs: BTreeMap<(usize, usize), Vec<&Scored>> = BTreeMap::new();
        for wrong in scored.iter().filter(|scored| !scored.right()) {
            pairs.entry((wrong.class, wrong.predicted)).or_default().push(wrong);
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|(pair, documents)| (std::cmp::Reverse(documents.len()), *pair));
        pairs.truncate(CONFUSIONS);
        let listed = |((class, predicted), mut documents): ((usize, usize), Vec<&Scored>)| {
            let count = documents.len();
            documents.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.place.cmp(&b.place)));
            documents.truncate(EXAMPLES);
            let texts = subject.some(&documents.iter().map(|scored| scored.place).collect::<Vec<_>>())?;
            let example = |(scored, document): (&Scored, anser_core::Document)| ConfusedDocument {
                id: document.id.as_str().to_owned(),
                text: excerpt(document.text.trim(), SNIPPET),
                probability: scored.probability,
            };
            Ok(Confusion {
                label: self.names[class].clone(),
                predicted: self.names[predicted].clone(),
                documents: count,
                examples: documents.into_iter().zip(texts).map(example).collect(),
            })
        };
        pairs.into_iter().map(listed).collect()
    }
}

/// Accuracy, macro F1 and weighted F1 of resamples of the documents.
fn resample(scored: &[Scored], classes: usize, seed: u64, cancel: &CancelToken) -> Result<Vec<[f64; 3]>, EngineError> {
    let pairs: Vec<(u32, u32)> = scored.iter().map(|s| (s.class as u32, s.predicted as u32)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let resamples = (MAX_DRAWS / pairs.len().max(1)).clamp(100, RESAMPLES);
    let mut found = Vec::with_capacity(resamples);
    let (mut right, mut assigned, mut support) = (vec![0_u32; classes], vec![0_u32; classes], vec![0_u32; classes]);
    for _ in 0..resamples {
        cancel.check()?;
        for counts in [&mut right, &mut assigned, &mut support] {
            counts.fill(0);
        }
        for _ in 0..pairs.len() {
            let (class, predicted) = pairs[rng.random_range(0..pairs.len())];
            support[class as usize] += 1;
            assigned[predicted as usize] += 1;
            right[class as usize] += u32::from(class == predicted);
        }
        let total = pairs.len() as f64;
        // A class that a resample has nothing of says nothing there; counting it as 0 would pull the interval down.
        let (mut hits, mut plain, mut weighted, mut occurring) = (0_u32, 0.0, 0.0, 0_usize);
        for class in 0..classes {
            hits += right[class];
            let both = assigned[class] + support[class];
            if both == 0 {
                continue;
            }
            let f1 = f64::from(2 * right[class]) / f64::from(both);
            occurring += 1;
            plain += f1;
            weighted += f1 * f64::from(support[class]);
        }
        found.push([f64::from(hits) / total, plain / occurring.max(1) as f64, weighted / total]);
    }
    Ok(found)
}

fn majority(names: &[String], scored: &[Scored]) -> MajorityBaseline {
    let mut counts = vec![0_usize; names.len()];
    for scored in scored {
        counts[scored.class] += 1;
    }
    let most = (0..counts.len()).rev().max_by_key(|class| counts[*class]).unwrap_or_default();
    let figures = Classification::of_classes(names, scored.iter().map(|scored| (Some(most), scored.class)));
    MajorityBaseline {
        label: names.get(most).cloned().unwrap_or_default(),
        accuracy: figures.accuracy,
        macro_f1: figures.macro_f1,
        weighted_f1: figures.weighted_f1,
    }
}

fn confusion(names: &[String], scored: &[Scored]) -> ConfusionMatrix {
    let mut counts = vec![vec![0; names.len()]; names.len()];
    for scored in scored {
        counts[scored.class][scored.predicted] += 1;
    }
    ConfusionMatrix { labels: names.to_vec(), counts }
}

fn calibration(scored: &[Scored]) -> Calibration {
    let mut sums = [(0_usize, 0.0, 0_usize); BINS];
    for scored in scored {
        let bin = ((scored.probability * BINS as f64) as usize).min(BINS - 1);
        sums[bin].0 += 1;
        sums[bin].1 += scored.probability;
        sums[bin].2 += usize::from(scored.right());
    }
    let bins: Vec<CalibrationBin> = sums
        .iter()
        .enumerate()
        .filter(|(_, (documents, ..))| *documents > 0)
        .map(|(bin, (documents, sum, right))| CalibrationBin {
            low: bin as f64 / BINS as f64,
            high: (bin + 1) as f64 / BINS as f64,
            documents: *documents,
            probability: sum / *documents as f64,
            accuracy: *right as f64 / *documents as f64,
        })
        .collect();
    let far = |bin: &CalibrationBin| (bin.probability - bin.accuracy).abs() * bin.documents as f64;
    let expected_error = bins.iter().map(far).sum::<f64>() / scored.len().max(1) as f64;
    Calibration { expected_error, bins }
}

fn coverage(scored: &[Scored], abstain_below: f64) -> CoveragePoint {
    let answered = scored.iter().filter(|scored| scored.probability >= abstain_below);
    let (count, right) = answered.fold((0, 0), |(count, right), s| (count + 1, right + usize::from(s.right())));
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    CoveragePoint { abstain_below, coverage: share(count, scored.len()), accuracy: share(right, count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(rows: &[(usize, usize, f64)]) -> Vec<Scored> {
        let one = |(place, (class, predicted, probability)): (usize, &(usize, usize, f64))| Scored {
            place,
            class: *class,
            predicted: *predicted,
            probability: *probability,
        };
        rows.iter().enumerate().map(one).collect()
    }

    #[test]
    fn calibration_is_the_mean_gap_weighted_by_documents() {
        let rows = scored(&[(0, 0, 0.95), (0, 0, 0.95), (1, 0, 0.95), (1, 1, 0.62), (0, 1, 1.0)]);
        let found = calibration(&rows);
        assert_eq!(found.bins.len(), 2);
        assert_eq!((found.bins[1].documents, found.bins[1].low, found.bins[1].high), (4, 0.9, 1.0));
        let expected = ((3.85 / 4.0 - 0.5) * 4.0 + (1.0 - 0.62)) / 5.0;
        assert!((found.expected_error - expected).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn abstaining_counts_what_is_answered() {
        let rows = scored(&[(0, 0, 0.9), (0, 1, 0.8), (1, 1, 0.7), (1, 0, 0.3)]);
        let found = coverage(&rows, 0.7);
        assert!((found.coverage - 0.75).abs() < 1e-12 && (found.accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((coverage(&rows, 1.0).coverage, coverage(&rows, 1.0).accuracy), (0.0, 0.0));
    }

    #[test]
    fn the_interval_of_a_bootstrap_holds_the_figure_and_shrinks_with_documents() {
        let rows =
            |count: usize| scored(&(0..count).map(|at| (at % 2, usize::from(at % 4 == 1), 0.5)).collect::<Vec<_>>());
        let width = |count: usize| {
            let rows = rows(count);
            let resampled = resample(&rows, 2, 7, &CancelToken::new()).unwrap();
            assert_eq!(resampled, resample(&rows, 2, 7, &CancelToken::new()).unwrap());
            let figures = Classification::of_classes(
                &["a".to_owned(), "b".to_owned()],
                rows.iter().map(|s| (Some(s.predicted), s.class)),
            );
            let f1 = interval(figures.macro_f1, resampled.iter().map(|f| f[1]).collect());
            assert!(f1.low < f1.mean && f1.mean < f1.high, "{f1:?}");
            f1.high - f1.low
        };
        assert!(width(4000) < width(100) / 3.0);
    }

    #[test]
    fn the_majority_is_the_most_frequent_label() {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let found = majority(&names, &scored(&[(1, 0, 1.0), (1, 0, 1.0), (0, 0, 1.0), (2, 0, 1.0)]));
        assert_eq!((found.label.as_str(), found.accuracy), ("b", 0.5));
        assert!((found.macro_f1 - 2.0 * 0.5 / 1.5 / 3.0).abs() < 1e-12);
    }
}
