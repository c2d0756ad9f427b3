//! Predictions for documents that were not learnt from: what every figure of an evaluation is made of.

use anser_core::{CancelToken, Progress, ProgressUnit};
use anser_index::analysis::{Vectors, stratified_folds, stratified_held_out};

use super::labels::Labelled;
use super::learn::{Examples, learn};
use super::{ClassifierOptions, EvaluationMethod};
use crate::EngineError;

/// A prediction for a labelled document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Unseen {
    /// The most probable class.
    pub(super) class: usize,
    /// Its probability.
    pub(super) probability: f64,
    /// The fold it was predicted in; `None` of a classifier that learnt from no document.
    pub(super) fold: Option<u32>,
}

/// The fold, from 0, in which each document is predicted; `None` for those that are only learnt from.
pub(super) fn split(classes: &[usize], evaluation: EvaluationMethod, seed: u64) -> Vec<Option<u32>> {
    match evaluation {
        EvaluationMethod::Folds(folds) => {
            stratified_folds(classes, folds, seed).into_iter().map(|fold| Some(fold as u32)).collect()
        }
        EvaluationMethod::HeldOut(share) => {
            stratified_held_out(classes, share, seed).into_iter().map(|out| out.then_some(0)).collect()
        }
    }
}

/// Predicts labelled documents fold by fold, each time from the documents outside. `None` for those that are only learnt
/// from.
pub(super) fn predict_unseen(
    options: &ClassifierOptions,
    vectors: &Vectors,
    labelled: &Labelled,
    (cancel, progress): (&CancelToken, &dyn Progress),
) -> Result<Vec<Option<Unseen>>, EngineError> {
    let folds = split(&labelled.classes, options.evaluation, options.seed);
    let mut found: Vec<Option<Unseen>> = vec![None; folds.len()];
    let highest = folds.iter().flatten().max().copied().unwrap_or_default();
    progress.start("measuring", Some(folds.iter().flatten().count() as u64), ProgressUnit::Items);
    let mut done = 0;
    for fold in 0..=highest {
        cancel.check()?;
        let rows = |inside: bool| -> Vec<usize> {
            (0..folds.len()).filter(|row| (folds[*row] == Some(fold)) == inside).collect()
        };
        let (known, new) = (rows(false), rows(true));
        if new.is_empty() {
            continue;
        }
        let places = |rows: &[usize]| rows.iter().map(|row| labelled.places[*row]).collect::<Vec<_>>();
        let known_labels: Vec<usize> = known.iter().map(|row| labelled.classes[*row]).collect();
        let (known, classes) = (places(&known), labelled.names.len());
        let examples = Examples { vectors, places: &known, labels: &known_labels, classes };
        let learnt = learn(options, &examples, cancel)?;
        let predicted = learnt.method.classify(&vectors.gather(&places(&new)), classes, cancel)?;
        for (row, (class, probability)) in new.iter().zip(predicted) {
            found[*row] = Some(Unseen { class, probability, fold: Some(fold) });
        }
        done += new.len() as u64;
        progress.set(done);
    }
    progress.finish();
    Ok(found)
}
