//! How good a classifier gets from a few examples of each class: the experiment by which embedding models are compared.
//!
//! MTEB's protocol for classification (Muennighoff et al. 2023): some examples of every class are drawn from the training
//! documents, a logistic regression with C = 1 is fitted to them, and measured on all test documents; the mean of ten draws
//! counts.

use anser_core::{CancelToken, Progress, ProgressUnit};
use anser_index::analysis::{LogisticModel, LogisticOptions, stratified_draw};
use serde::{Deserialize, Serialize};

use super::labels::Labelled;
use crate::analysis::AnalysisSource;
use crate::metrics::Classification;
use crate::{Engine, EngineError};

/// Most draws of one experiment.
const MAX_DRAWS: usize = 1000;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewShotRequest {
    /// Documents that examples are drawn from.
    pub train: AnalysisSource,
    /// Documents that are predicted. Those whose label no training document has are left out.
    pub test: AnalysisSource,
    /// The attribute that holds the label, in both.
    pub label: String,
    /// Examples of each class; all where there are fewer.
    pub shots: usize,
    /// How often examples are drawn.
    pub draws: usize,
    /// What they are drawn from.
    pub seed: u64,
    /// The C of the regression.
    pub inverse_regularization: f64,
    /// Most steps of its solver.
    pub max_iterations: u64,
}

impl FewShotRequest {
    /// MTEB's settings: 8 examples of each class, 10 draws, C = 1, 100 steps.
    pub fn new(train: AnalysisSource, test: AnalysisSource, label: impl Into<String>) -> Self {
        let (shots, draws, seed, inverse_regularization, max_iterations) = (8, 10, 42, 1.0, 100);
        Self { train, test, label: label.into(), shots, draws, seed, inverse_regularization, max_iterations }
    }
}

/// What came of the draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FewShot {
    /// Who made the vectors.
    pub embedder: String,
    /// Training documents with a label.
    pub train: usize,
    /// Test documents that were predicted.
    pub test: usize,
    /// Classes.
    pub classes: usize,
    /// Examples of each class.
    pub shots: usize,
    /// Mean accuracy of the draws.
    pub accuracy: f64,
    /// Its standard deviation, of the draws.
    pub deviation: f64,
    /// Mean macro F1 of the draws.
    pub macro_f1: f64,
    /// The accuracy of each draw.
    pub accuracies: Vec<f64>,
}

impl Engine {
    /// Draws examples, learns from them and measures, again and again; see [`FewShot`].
    ///
    /// `InvalidInput` when there is nothing to learn from or to measure on, or a setting is out of range.
    pub fn evaluate_few_shot(
        &self,
        request: &FewShotRequest,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<FewShot, EngineError> {
        let FewShotRequest { shots, draws, label, .. } = request;
        if *shots == 0 || *draws == 0 || *draws > MAX_DRAWS {
            let message = format!("shots must be at least 1 and draws 1 to {MAX_DRAWS}");
            return Err(EngineError::invalid("shots", message));
        }
        let folders = [tempfile::tempdir(), tempfile::tempdir()];
        let [train_folder, test_folder] =
            folders.map(|folder| folder.map_err(|e| EngineError::io("create", std::env::temp_dir(), e)));
        let (train_folder, test_folder) = (train_folder?, test_folder?);
        let train = self.analyses.read(&request.train, train_folder.path(), progress, cancel)?;
        let test = self.analyses.read(&request.test, test_folder.path(), progress, cancel)?;
        if train.embedder.fingerprint != test.embedder.fingerprint {
            let message = "training and test documents must have vectors of the same embedder";
            return Err(EngineError::invalid("test", message));
        }
        let known = Labelled::of(&train, label, Some(2), cancel)?;
        let asked = Labelled::among(&test, label, &known.names, cancel)?;
        let classes = known.names.len();
        let vectors = test.vectors.gather(&asked.places);
        let options = LogisticOptions {
            inverse_regularization: request.inverse_regularization,
            max_iterations: request.max_iterations,
            tolerance: 1e-6,
            ..LogisticOptions::default()
        };
        progress.start("learning from a few examples", Some(*draws as u64), ProgressUnit::Items);
        let (mut accuracies, mut macro_f1) = (Vec::with_capacity(*draws), 0.0);
        for draw in 0..*draws {
            let rows = stratified_draw(&known.classes, *shots, request.seed.wrapping_add(draw as u64));
            let places: Vec<usize> = rows.iter().map(|row| known.places[*row]).collect();
            let labels: Vec<usize> = rows.iter().map(|row| known.classes[*row]).collect();
            let model = LogisticModel::fit(&train.vectors.gather(&places), &labels, classes, &options, cancel)?;
            let predicted = model.predict(&vectors, cancel)?;
            let pairs = predicted.iter().zip(&asked.classes).map(|((found, _), class)| (Some(*found), *class));
            let figures = Classification::of_classes(&known.names, pairs);
            accuracies.push(figures.accuracy);
            macro_f1 += figures.macro_f1 / *draws as f64;
            progress.set(draw as u64 + 1);
        }
        progress.finish();
        let accuracy = accuracies.iter().sum::<f64>() / *draws as f64;
        let variance = accuracies.iter().map(|a| (a - accuracy).powi(2)).sum::<f64>() / *draws as f64;
        Ok(FewShot {
            embedder: train.embedder.model.clone(),
            train: known.places.len(),
            test: asked.places.len(),
            classes,
            shots: *shots,
            accuracy,
            deviation: variance.sqrt(),
            macro_f1,
            accuracies,
        })
    }
}
