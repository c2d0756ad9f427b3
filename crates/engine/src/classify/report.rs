//! What a training run tells.

use serde::{Deserialize, Serialize};

use super::{ClassBalance, ClassifierMethod, EvaluationMethod};
use crate::Estimate;
use crate::metrics::ClassScores;
use crate::predictors::{LabelCount, SavedAs};

/// A classifier and how good it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassifierReport {
    /// The collection or file.
    pub source: String,
    /// Who made the vectors.
    pub embedder: String,
    /// How the classifier decides.
    pub method: ClassifierMethod,
    /// The attribute that held the labels.
    pub attribute: Option<String>,
    /// All documents of the source.
    pub documents: usize,
    /// Those with a label that counted.
    pub labelled: usize,
    /// Those without one.
    pub unlabelled: usize,
    /// Labels with too few documents, or none of the labels given, which were left out.
    pub left_out: Vec<LeftOutClass>,
    /// The labels, with the documents that have them; of a zero-shot classifier without an attribute, with those that it
    /// put there.
    pub labels: Vec<LabelCount>,
    /// What was chosen for learning from all labelled documents.
    pub settings: ClassifierSettings,
    /// How good it is; `None` for a zero-shot classifier without an attribute to compare with.
    pub evaluation: Option<ClassifierEvaluation>,
    /// Where it was saved.
    pub saved: Option<SavedAs>,
}

/// A label that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutClass {
    /// The label.
    pub label: String,
    /// Documents that have it.
    pub documents: usize,
}

/// How a classifier was learnt. What its method does not have is `None` or empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClassifierSettings {
    /// `logistic`: the C that was used.
    pub inverse_regularization: Option<f64>,
    /// `logistic`: what was tried, when there was a choice.
    pub tried: Vec<TriedRegularization>,
    /// `logistic`: how much the classes counted.
    pub class_weights: Option<ClassBalance>,
    /// `nearest`: documents that vote.
    pub k: Option<usize>,
    /// `zero_shot`: the divisor of cosines.
    pub temperature: Option<f64>,
    /// Below this probability it abstains.
    pub abstain_below: Option<f64>,
}

/// One choice of regularisation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TriedRegularization {
    /// The C.
    pub inverse_regularization: f64,
    /// Mean −ln p(label) on documents that were not learnt from, weighted as the classes were.
    pub loss: f64,
}

/// How well labels were predicted for documents that the classifier had not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassifierEvaluation {
    /// How it was measured; `None` for a zero-shot classifier, which saw no document.
    pub method: Option<EvaluationMethod>,
    /// Documents that were predicted.
    pub documents: usize,
    /// Share of right labels, abstentions left aside, with the 95 % interval of a bootstrap over documents.
    pub accuracy: Estimate,
    /// Mean F1 of the labels.
    pub macro_f1: Estimate,
    /// Mean F1 of the labels, weighted by their documents.
    pub weighted_f1: Estimate,
    /// What always saying the most frequent label would have reached.
    pub majority: MajorityBaseline,
    /// Each label.
    pub classes: Vec<ClassScores>,
    /// Which labels were taken for which.
    pub confusion: ConfusionMatrix,
    /// Whether probabilities are what they say.
    pub calibration: Calibration,
    /// What abstaining at each of some probabilities gives.
    pub coverage: Vec<CoveragePoint>,
    /// The same at the threshold that was asked for.
    pub abstention: Option<CoveragePoint>,
    /// The most frequent confusions, with the documents where the classifier was surest of the wrong label.
    pub confusions: Vec<Confusion>,
}

/// Always the most frequent label.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MajorityBaseline {
    /// The label.
    pub label: String,
    /// Its share.
    pub accuracy: f64,
    /// Mean F1 of the labels.
    pub macro_f1: f64,
    /// Mean F1, weighted.
    pub weighted_f1: f64,
}

/// Counts of documents by true and predicted label.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// The labels.
    pub labels: Vec<String>,
    /// A row for each true label, in it a count for each predicted one.
    pub counts: Vec<Vec<u64>>,
}

/// How far probabilities are from shares of right labels (Guo et al. 2017).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Calibration {
    /// Mean distance between probability and share of right labels over the bins, weighted by their documents.
    pub expected_error: f64,
    /// Bins of equal width that hold any document.
    pub bins: Vec<CalibrationBin>,
}

/// Documents whose prediction is about as probable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Lowest probability.
    pub low: f64,
    /// Highest probability.
    pub high: f64,
    /// Documents.
    pub documents: usize,
    /// Their mean probability.
    pub probability: f64,
    /// The share of right labels among them.
    pub accuracy: f64,
}

/// What is left when the classifier abstains below some probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CoveragePoint {
    /// The probability.
    pub abstain_below: f64,
    /// Share of documents that get a label.
    pub coverage: f64,
    /// Share of right labels among those; 0 without any.
    pub accuracy: f64,
}

/// A label that was taken for another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// The true label.
    pub label: String,
    /// The predicted one.
    pub predicted: String,
    /// How often.
    pub documents: usize,
    /// Where the classifier was surest.
    pub examples: Vec<ConfusedDocument>,
}

/// A document with a wrong label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusedDocument {
    /// Its id.
    pub id: String,
    /// The beginning of its text.
    pub text: String,
    /// The probability of the wrong label.
    pub probability: f64,
}
