//! What is asked of a training run.

use anser_index::analysis::ClassWeights;
use serde::{Deserialize, Serialize};

use super::learn::QUICK;
use crate::EngineError;
use crate::predictors::check_predictor_name;

/// Most labels of a zero-shot classifier.
const MAX_ZERO_SHOT_LABELS: usize = 1000;

/// How a classifier decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassifierMethod {
    /// Logistic regression on the documents' vectors.
    #[default]
    Logistic,
    /// The nearest labelled documents vote, each with its cosine.
    Nearest,
    /// No examples: the label whose name or description is most like the document.
    ZeroShot,
}

/// How much the classes count while learning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassBalance {
    /// Every document counts the same: probabilities are those of documents like these.
    #[default]
    Uniform,
    /// Every class counts the same, however few documents it has: rare classes are found more often.
    Balanced,
}

/// Which documents a predictor is measured on, none of which it was learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EvaluationMethod {
    /// Cross-validation: every document is predicted once, learnt from the other folds; 2 to 50.
    Folds(usize),
    /// One split: this share of the documents is predicted, learnt from the rest; above 0 and below 1.
    HeldOut(f64),
}

impl Default for EvaluationMethod {
    fn default() -> Self {
        Self::Folds(5)
    }
}

impl EvaluationMethod {
    pub(crate) fn check(self) -> Result<(), EngineError> {
        match self {
            Self::Folds(folds) if !(2..=50).contains(&folds) => {
                Err(EngineError::invalid("evaluation", format!("folds must be 2 to 50, not {folds}")))
            }
            Self::HeldOut(share) if !(share > 0.0 && share < 1.0) => {
                Err(EngineError::invalid("evaluation", format!("held_out must be above 0 and below 1, not {share}")))
            }
            _ => Ok(()),
        }
    }

    /// In words.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Folds(folds) => format!("{folds}-fold cross-validation"),
            Self::HeldOut(share) => format!("{:.0} % held out", share * 100.0),
        }
    }
}

/// A label that needs no examples.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZeroShotLabel {
    /// What it is called, as the attribute's values are when there is one.
    pub name: String,
    /// What documents with it are like; embedded in place of the name. Of a name underscores are read as spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Learns to put documents into classes, and measures how well that works on documents that were not learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierOptions {
    /// How the classifier decides.
    pub method: ClassifierMethod,
    /// The attribute that holds the label. Documents without it are left out and counted. Needed but for `zero_shot`, which
    /// is measured against it when it is given.
    pub label: Option<String>,
    /// `zero_shot`: the labels, at least two.
    pub labels: Vec<ZeroShotLabel>,
    /// `zero_shot`: a prediction's probability is the softmax over cosines divided by this; above 0.
    pub temperature: f64,
    /// `logistic`: values of C to choose from by the loss on a quarter of the documents that is not learnt from, tried from
    /// the smallest on until the loss rises; one value is used as it is. Larger means weaker regularisation; each above 0.
    pub inverse_regularization: Vec<f64>,
    /// `logistic`: how much the classes count.
    pub class_weights: ClassBalance,
    /// `nearest`: documents that vote, 1 to 1,000.
    pub k: usize,
    /// How the classifier is measured.
    pub evaluation: EvaluationMethod,
    /// Classes with fewer documents than this, at least 2, are left out and counted. Without it a class with a single
    /// document is an error.
    pub min_examples: Option<usize>,
    /// The classifier abstains when no label is as probable as this, in [0, 1].
    pub abstain_below: Option<f64>,
    /// What splits are drawn from.
    pub seed: u64,
    /// Saves the classifier, learnt from all labelled documents, as the next version of this name.
    pub save_as: Option<String>,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        Self {
            method: ClassifierMethod::default(),
            label: None,
            labels: Vec::new(),
            temperature: 0.02,
            inverse_regularization: vec![0.1, 1.0, 10.0, 100.0, 1000.0],
            class_weights: ClassBalance::default(),
            k: 10,
            evaluation: EvaluationMethod::default(),
            min_examples: None,
            abstain_below: None,
            seed: 0,
            save_as: None,
        }
    }
}

impl ClassifierOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        self.evaluation.check()?;
        check_predictor_name("save_as", self.save_as.as_deref())?;
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        if self.inverse_regularization.is_empty() || !self.inverse_regularization.iter().all(positive) {
            let message = "inverse_regularization must be one or more numbers above 0";
            return Err(EngineError::invalid("inverse_regularization", message));
        }
        if !positive(&self.temperature) {
            return Err(EngineError::invalid("temperature", "temperature must be above 0"));
        }
        if !(1..=1000).contains(&self.k) {
            return Err(EngineError::invalid("k", format!("k must be 1 to 1,000, not {}", self.k)));
        }
        if self.min_examples.is_some_and(|least| least < 2) {
            return Err(EngineError::invalid("min_examples", "min_examples must be at least 2"));
        }
        if self.abstain_below.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
            return Err(EngineError::invalid("abstain_below", "abstain_below must lie between 0 and 1"));
        }
        match self.method {
            ClassifierMethod::ZeroShot => self.check_labels(),
            _ if !self.labels.is_empty() => {
                let message =
                    "labels are for the method zero_shot; other methods learn them from the attribute `label`";
                Err(EngineError::invalid("labels", message))
            }
            _ if self.label.as_ref().is_none_or(|label| label.trim().is_empty()) => {
                Err(EngineError::invalid("label", "name the attribute that holds the label"))
            }
            _ => Ok(()),
        }
    }

    fn check_labels(&self) -> Result<(), EngineError> {
        if !(2..=MAX_ZERO_SHOT_LABELS).contains(&self.labels.len()) {
            let message = format!("zero_shot needs 2 to {MAX_ZERO_SHOT_LABELS} labels, not {}", self.labels.len());
            return Err(EngineError::invalid("labels", message));
        }
        for (at, label) in self.labels.iter().enumerate() {
            let blank = |text: &str| text.trim().is_empty();
            if blank(&label.name) || label.description.as_deref().is_some_and(blank) {
                return Err(EngineError::invalid("labels", format!("label {at} has a blank name or description")));
            }
            if self.labels[..at].iter().any(|earlier| earlier.name == label.name) {
                let shown = anser_core::excerpt(&label.name, 60);
                return Err(EngineError::invalid("labels", format!("the label \"{shown}\" stands twice")));
            }
        }
        Ok(())
    }

    pub(super) fn weights(&self) -> ClassWeights {
        match self.class_weights {
            ClassBalance::Uniform => ClassWeights::Uniform,
            ClassBalance::Balanced => ClassWeights::Balanced,
        }
    }

    /// Memory that the run takes beside the mapped vectors, in bytes.
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        // A copy of the vectors, in two parts: to learn from and to measure on; while there are few, one for each round in
        // which regularisations are compared; and examples as bytes that are to be saved.
        let copies = match (self.method, &self.save_as) {
            (ClassifierMethod::ZeroShot, _) => 0,
            (ClassifierMethod::Nearest, Some(_)) => 2,
            (ClassifierMethod::Logistic, _) if rows <= QUICK as u64 => 4,
            _ => 1,
        };
        rows * (copies * 4 * dimension as u64 + 96) + (192 << 20)
    }
}
