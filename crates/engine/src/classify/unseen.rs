//! Predictions for documents that were not learnt from: what every figure of an evaluation is made of.

use anser_core::{CancelToken, Progress, ProgressUnit};
use anser_index::analysis::{Vectors, first_copies, stratified_folds, stratified_held_out};

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

/// The fold, from 0, in which each document is predicted; `None` for those that are only learnt from. Copies are predicted
/// together: `firsts` names the first copy of each document.
pub(super) fn split(classes: &[usize], firsts: &[usize], evaluation: EvaluationMethod, seed: u64) -> Vec<Option<u32>> {
    // A class that consists of copies could be learnt from nothing else; its documents are dealt one by one.
    let mut distinct = vec![0_usize; classes.iter().max().map_or(0, |highest| highest + 1)];
    for (row, _) in firsts.iter().enumerate().filter(|(row, first)| row == *first) {
        distinct[classes[row]] += 1;
    }
    let leader = |row: usize| if distinct[classes[row]] < 2 { row } else { firsts[row] };
    let leaders: Vec<usize> = (0..classes.len()).filter(|row| leader(*row) == *row).collect();
    let leading: Vec<usize> = leaders.iter().map(|row| classes[*row]).collect();
    let folds: Vec<Option<u32>> = match evaluation {
        EvaluationMethod::Folds(folds) => {
            stratified_folds(&leading, folds, seed).into_iter().map(|fold| Some(fold as u32)).collect()
        }
        EvaluationMethod::HeldOut(share) => {
            stratified_held_out(&leading, share, seed).into_iter().map(|out| out.then_some(0)).collect()
        }
    };
    let mut found = vec![None; classes.len()];
    for (row, fold) in leaders.into_iter().zip(folds) {
        found[row] = fold;
    }
    // The first copy stands before the others, and leads itself unless its own class is one of copies.
    for row in 0..classes.len() {
        found[row] = found[leader(row)];
    }
    found
}

/// Predicts labelled documents fold by fold, each time from the documents outside. `None` for those that are only learnt
/// from.
pub(super) fn predict_unseen(
    options: &ClassifierOptions,
    vectors: &Vectors,
    labelled: &Labelled,
    (cancel, progress): (&CancelToken, &dyn Progress),
) -> Result<Vec<Option<Unseen>>, EngineError> {
    let firsts = first_copies(vectors, &labelled.places);
    let folds = split(&labelled.classes, &firsts, options.evaluation, options.seed);
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
