//! Accuracy, precision, recall and F1 where the references are labels: few different short texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::normalize_answer;

/// Most different references that are still taken for labels.
const MAX_LABELS: usize = 50;

/// Most words of a label.
const MAX_LABEL_WORDS: usize = 5;

/// References for each label, on average, below which they are answers that happen to repeat.
const MIN_PER_LABEL: usize = 3;

/// The labels that a set of references consists of, normalised as answers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// Recognises labels: at least 2 and at most 50 different references of at most 5 words, each 3 times on average.
    pub fn recognize<'a>(references: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut total = 0;
        for reference in references {
            let label = normalize_answer(reference);
            if label.is_empty() || label.split(' ').count() > MAX_LABEL_WORDS {
                return None;
            }
            *counts.entry(label).or_default() += 1;
            total += 1;
            if counts.len() > MAX_LABELS {
                return None;
            }
        }
        let labels = counts.len() >= 2 && total >= MIN_PER_LABEL * counts.len();
        labels.then(|| Self(counts.into_keys().collect()))
    }

    /// The labels, in alphabetical order.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The label that `text` is, once normalised; `None` when it is none of them.
    pub fn find(&self, text: &str) -> Option<usize> {
        self.0.binary_search(&normalize_answer(text)).ok()
    }
}

/// How well one label was assigned.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClassScores {
    /// The label.
    pub label: String,
    /// How many references bear it.
    pub support: usize,
    /// Share of the outputs with this label that are right; 0 without any.
    pub precision: f64,
    /// Share of the references with this label that were found.
    pub recall: f64,
    /// Their harmonic mean; 0 when both are 0.
    pub f1: f64,
}

/// How well labels were assigned. An output that is no label is wrong, and counts against no label's precision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Classification {
    /// Share of outputs that are the reference's label.
    pub accuracy: f64,
    /// Outputs that are none of the labels.
    pub unlabelled: usize,
    /// Each label, in alphabetical order.
    pub classes: Vec<ClassScores>,
    /// Mean over labels.
    pub macro_precision: f64,
    /// Mean over labels.
    pub macro_recall: f64,
    /// Mean over labels.
    pub macro_f1: f64,
    /// Mean over labels, weighted by support.
    pub weighted_precision: f64,
    /// Mean over labels, weighted by support; equals the accuracy.
    pub weighted_recall: f64,
    /// Mean over labels, weighted by support.
    pub weighted_f1: f64,
}

impl Classification {
    /// Measures pairs of output and reference. References that are none of `labels` are left out.
    pub fn of<'a>(labels: &Labels, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let numbered = pairs.into_iter().filter_map(|(output, reference)| {
            let expected = labels.find(reference)?;
            Some((labels.find(output), expected))
        });
        Self::of_classes(labels.names(), numbered)
    }

    /// Measures pairs of output and reference that are numbers of labels already; an output may be none of them. References
    /// that are no number of a label are left out.
    pub fn of_classes(labels: &[String], pairs: impl IntoIterator<Item = (Option<usize>, usize)>) -> Self {
        let count = labels.len();
        let (mut right, mut assigned, mut support) = (vec![0; count], vec![0; count], vec![0; count]);
        let (mut total, mut unlabelled) = (0_usize, 0);
        for (output, expected) in pairs.into_iter().filter(|(_, expected)| *expected < count) {
            total += 1;
            support[expected] += 1;
            match output.filter(|found| *found < count) {
                Some(found) => {
                    assigned[found] += 1;
                    right[expected] += usize::from(found == expected);
                }
                None => unlabelled += 1,
            }
        }
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let classes: Vec<ClassScores> = (0..count)
            .map(|at| ClassScores {
                label: labels[at].clone(),
                support: support[at],
                precision: share(right[at], assigned[at]),
                recall: share(right[at], support[at]),
                f1: share(2 * right[at], assigned[at] + support[at]),
            })
            .collect();
        let plain = |of: fn(&ClassScores) -> f64| classes.iter().map(of).sum::<f64>() / count.max(1) as f64;
        let weighted = |of: fn(&ClassScores) -> f64| {
            classes.iter().map(|class| of(class) * class.support as f64).sum::<f64>() / total.max(1) as f64
        };
        Self {
            accuracy: share(right.iter().sum(), total),
            unlabelled,
            macro_precision: plain(|c| c.precision),
            macro_recall: plain(|c| c.recall),
            macro_f1: plain(|c| c.f1),
            weighted_precision: weighted(|c| c.precision),
            weighted_recall: weighted(|c| c.recall),
            weighted_f1: weighted(|c| c.f1),
            classes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_not_labels_and_labels_are() {
        let labels = Labels::recognize(["Refund", "refund.", "shipping", "Shipping", "refund", "shipping"]).unwrap();
        assert_eq!(labels.names(), ["refund", "shipping"]);
        assert_eq!(labels.find("SHIPPING!"), Some(1));
        assert_eq!(Labels::recognize(["yes", "yes", "yes"]), None, "one label tells nothing");
        assert_eq!(Labels::recognize(["a b", "c d", "e f", "g h"]), None, "each stands once");
        assert_eq!(Labels::recognize(["you can return it within thirty days"; 6]), None, "too long");
    }

    #[test]
    fn outputs_beside_the_labels_are_wrong_but_nobodys() {
        let labels = Labels::recognize(["x", "x", "x", "y", "y", "y"]).unwrap();
        let pairs = [("x", "x"), ("x", "x"), ("y", "x"), ("y", "y"), ("what?", "y"), ("x", "y")];
        let scores = Classification::of(&labels, pairs);
        assert!((scores.accuracy - 0.5).abs() < 1e-12);
        assert_eq!(scores.unlabelled, 1);
        let x = &scores.classes[0];
        assert!((x.precision - 2.0 / 3.0).abs() < 1e-12 && (x.recall - 2.0 / 3.0).abs() < 1e-12);
        let y = &scores.classes[1];
        assert!(
            (y.precision - 0.5).abs() < 1e-12 && (y.recall - 1.0 / 3.0).abs() < 1e-12 && (y.f1 - 0.4).abs() < 1e-12
        );
        assert!((2.0 * scores.macro_f1 - (2.0 / 3.0 + 0.4)).abs() < 1e-12);
        assert!((scores.weighted_recall - scores.accuracy).abs() < 1e-12);
    }
}
