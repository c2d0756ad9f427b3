//! From labelled vectors to a classifier.

use anser_core::{CancelToken, EmbedPurpose, Embedder};
use anser_index::analysis::{LogisticModel, LogisticOptions, Vectors, stratified_held_out};

use super::report::TriedRegularization;
use super::{ClassifierMethod, ClassifierOptions, ZeroShotLabel};
use crate::EngineError;
use crate::predictors::Method;

/// Share of the documents on which regularisations are compared.
const TUNED_ON: f64 = 0.25;

/// How often they are compared, each time on others, while fitting is quick.
const ROUNDS: u64 = 3;

/// Documents times classes up to which fitting is quick.
const QUICK: usize = 200_000;

/// Gradient at which fitting ends, and that of fits that are only compared.
const TOLERANCE: f64 = 1e-5;
const COMPARED_TOLERANCE: f64 = 1e-4;

/// Labels are embedded as stored texts are: see [`zero_shot`].
const LABEL_PURPOSE: EmbedPurpose = EmbedPurpose::Passage;

/// A way to decide, and how its settings were chosen.
pub(super) struct Learnt {
    pub(super) method: Method,
    pub(super) inverse_regularization: Option<f64>,
    pub(super) tried: Vec<TriedRegularization>,
}

/// Learns from `vectors`, each of the class in `labels`. Not for zero-shot classifiers, which learn nothing.
pub(super) fn learn(
    options: &ClassifierOptions,
    vectors: Vectors,
    labels: &[usize],
    classes: usize,
    cancel: &CancelToken,
) -> Result<Learnt, EngineError> {
    if options.method == ClassifierMethod::Nearest {
        let classes = labels.iter().map(|class| *class as u32).collect();
        let method = Method::Nearest { k: options.k, examples: vectors, classes };
        return Ok(Learnt { method, inverse_regularization: None, tried: Vec::new() });
    }
    let tried = match options.inverse_regularization[..] {
        [_] => Vec::new(),
        _ => try_regularizations(options, &vectors, labels, classes, cancel)?,
    };
    let best = tried.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).map(|tried| tried.inverse_regularization);
    let Some(chosen) = best.or(options.inverse_regularization.first().copied()) else {
        return Err(EngineError::internal("a classifier was learnt without a regularisation"));
    };
    let model = LogisticModel::fit(&vectors, labels, classes, &fitting(options, chosen, TOLERANCE), cancel)?;
    Ok(Learnt { method: Method::Logistic(model), inverse_regularization: Some(chosen), tried })
}

fn fitting(options: &ClassifierOptions, inverse_regularization: f64, tolerance: f64) -> LogisticOptions {
    LogisticOptions {
        inverse_regularization,
        class_weights: options.weights(),
        tolerance,
        ..LogisticOptions::default()
    }
}

/// The loss of every regularisation on documents that were held out, from the strongest to the weakest.
fn try_regularizations(
    options: &ClassifierOptions,
    vectors: &Vectors,
    labels: &[usize],
    classes: usize,
    cancel: &CancelToken,
) -> Result<Vec<TriedRegularization>, EngineError> {
    let mut values = options.inverse_regularization.clone();
    values.sort_by(f64::total_cmp);
    let mut losses = vec![0.0; values.len()];
    let rounds = if labels.len() * classes <= QUICK { ROUNDS } else { 1 };
    for round in 0..rounds {
        let held_out = stratified_held_out(labels, TUNED_ON, options.seed.wrapping_add(round));
        let part = |wanted: bool| {
            let rows: Vec<usize> = (0..labels.len()).filter(|row| held_out[*row] == wanted).collect();
            (vectors.gather(&rows), rows.iter().map(|row| labels[*row]).collect::<Vec<usize>>())
        };
        let ((known, known_labels), (new, new_labels)) = (part(false), part(true));
        for (loss, value) in losses.iter_mut().zip(&values) {
            let fitting = fitting(options, *value, COMPARED_TOLERANCE);
            let model = LogisticModel::fit(&known, &known_labels, classes, &fitting, cancel)?;
            *loss += model.mean_loss(&new, &new_labels, &options.weights(), cancel)? / rounds as f64;
        }
    }
    let tried = |(inverse_regularization, loss)| TriedRegularization { inverse_regularization, loss };
    Ok(values.into_iter().zip(losses).map(tried).collect())
}

/// A classifier from labels alone: the vectors of their descriptions or names. They are embedded as stored texts are: a
/// prefix that marks a question makes labels more like each other.
pub(super) fn zero_shot(
    labels: &[ZeroShotLabel],
    temperature: f64,
    embedder: &dyn Embedder,
    cancel: &CancelToken,
) -> Result<Method, EngineError> {
    let texts: Vec<String> =
        labels.iter().map(|label| label.description.as_ref().unwrap_or(&label.name).clone()).collect();
    let embedded = embedder.embed(&texts, LABEL_PURPOSE, cancel)?;
    let vectors = Vectors::from_embeddings(embedded.iter().map(|embedded| &embedded.embedding))?;
    Ok(Method::ZeroShot { vectors, temperature })
}
