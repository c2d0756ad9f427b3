//! A training run from the documents to its files.

use std::ops::Range;
use std::sync::Arc;

use anser_core::ProgressUnit;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field};
use serde_json::json;

use super::labels::Labelled;
use super::learn::{Examples, learn, zero_shot};
use super::report::{ClassifierEvaluation, ClassifierReport, ClassifierSettings};
use super::score::{Scored, Scoring};
use super::unseen::{Unseen, predict_unseen};
use super::{ClassifierMethod, ClassifierOptions};
use crate::analysis::Work;
use crate::chart::{calibration_chart, confusion_chart};
use crate::map::text::grouped;
use crate::predictors::{Classifier, LabelCount, Method, NewPredictor, Predictor, SavedAs};
use crate::table::write_ordered;
use crate::{EngineError, classify};

impl ClassifierOptions {
    /// Does the work.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        match self.method {
            ClassifierMethod::ZeroShot => self.run_zero_shot(work),
            ClassifierMethod::Logistic | ClassifierMethod::Nearest => self.run_learning(work),
        }
    }

    fn run_learning(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let attribute = self.label.as_deref().unwrap_or_default();
        let subject = work.subject;
        let labelled = Labelled::of(subject, attribute, self.min_examples, work.cancel)?;
        let found = predict_unseen(self, &subject.vectors, &labelled, (work.cancel, work.progress))?;
        let evaluation = self.evaluate(work, &labelled, &found, true)?;
        work.progress.start("learning from all labelled documents", None, ProgressUnit::Items);
        let examples = Examples {
            vectors: &subject.vectors,
            places: &labelled.places,
            labels: &labelled.classes,
            classes: labelled.names.len(),
        };
        let learnt = learn(self, &examples, work.cancel)?;
        work.progress.finish();
        let nearest = matches!(learnt.method, Method::Nearest { .. });
        let settings = ClassifierSettings {
            inverse_regularization: learnt.inverse_regularization,
            tried: learnt.tried,
            class_weights: (!nearest).then_some(self.class_weights),
            k: nearest.then_some(self.k),
            temperature: None,
            abstain_below: self.abstain_below,
        };
        self.finish(work, &labelled, &found, learnt.method, (settings, Some(evaluation)))
    }

    fn run_zero_shot(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let subject = work.subject;
        let embedder = work.parts.models.embedder()?;
        if embedder.info().fingerprint != subject.embedder.fingerprint {
            return Err(EngineError::EmbedderMismatch {
                collection: subject.name.clone(),
                stored: subject.embedder.model.clone(),
                loaded: embedder.info().model.clone(),
            });
        }
        let method = zero_shot(&self.labels, self.temperature, embedder.as_ref(), work.cancel)?;
        let names: Vec<String> = self.labels.iter().map(|label| label.name.clone()).collect();
        let all = method.classify(&subject.vectors, names.len(), work.cancel)?;
        let unseen = |(class, probability)| Some(Unseen { class, probability, fold: None });
        let (labelled, found): (Labelled, Vec<Option<Unseen>>) = if let Some(attribute) = &self.label {
            let labelled = Labelled::among(subject, attribute, &names, work.cancel)?;
            let found = labelled.places.iter().map(|place| unseen(all[*place])).collect();
            (labelled, found)
        } else {
            let labelled = Labelled {
                names,
                places: (0..subject.len()).collect(),
                classes: all.iter().map(|(class, _)| *class).collect(),
                unlabelled: subject.len(),
                left_out: Vec::new(),
            };
            (labelled, all.into_iter().map(unseen).collect())
        };
        let evaluation = match self.label {
            Some(_) => Some(self.evaluate(work, &labelled, &found, false)?),
            None => None,
        };
        let settings = ClassifierSettings {
            temperature: Some(self.temperature),
            abstain_below: self.abstain_below,
            ..ClassifierSettings::default()
        };
        self.finish(work, &labelled, &found, method, (settings, evaluation))
    }

    fn evaluate(
        &self,
        work: &Work<'_>,
        labelled: &Labelled,
        found: &[Option<Unseen>],
        learnt: bool,
    ) -> Result<ClassifierEvaluation, EngineError> {
        let scored: Vec<Scored> = (0..found.len())
            .filter_map(|row| {
                let unseen = found[row]?;
                Some(Scored {
                    place: labelled.places[row],
                    class: labelled.classes[row],
                    predicted: unseen.class,
                    probability: unseen.probability,
                })
            })
            .collect();
        let scoring = Scoring {
            names: &labelled.names,
            method: learnt.then_some(self.evaluation),
            abstain_below: self.abstain_below,
            seed: self.seed,
        };
        scoring.evaluate(&scored, work.subject, work.cancel)
    }

    /// Writes the files and saves the classifier.
    fn finish(
        &self,
        work: &Work<'_>,
        labelled: &Labelled,
        found: &[Option<Unseen>],
        method: Method,
        (settings, evaluation): (ClassifierSettings, Option<ClassifierEvaluation>),
    ) -> Result<(), EngineError> {
        let classifier = Classifier { labels: labelled.names.clone(), abstain_below: self.abstain_below, method };
        Rows { labelled, found, classifier: &classifier, told: evaluation.is_some() }.write(work)?;
        if let Some(evaluation) = &evaluation {
            draw(work, evaluation)?;
        }
        let counts = labelled.counts().into_iter().zip(&labelled.names);
        let mut report = ClassifierReport {
            source: work.subject.name.clone(),
            embedder: work.subject.embedder.model.clone(),
            method: self.method,
            attribute: self.label.clone(),
            documents: work.subject.len(),
            labelled: if evaluation.is_some() { labelled.places.len() } else { 0 },
            unlabelled: labelled.unlabelled,
            left_out: labelled.left_out.clone(),
            labels: counts.map(|(documents, label)| LabelCount { label: label.clone(), documents }).collect(),
            settings,
            evaluation,
            saved: None,
        };
        report.saved = self.save(work, &report, &Predictor::Classifier(classifier))?;
        work.results.report(&report)
    }

    fn save(
        &self,
        work: &Work<'_>,
        report: &ClassifierReport,
        predictor: &Predictor,
    ) -> Result<Option<SavedAs>, EngineError> {
        let Some(name) = &self.save_as else { return Ok(None) };
        let evaluation = report.evaluation.as_ref();
        let summary = json!({
            "attribute": report.attribute,
            "labels": report.labels.len(),
            "documents": report.labelled,
            "accuracy": evaluation.map(|e| e.accuracy.mean),
            "macro_f1": evaluation.map(|e| e.macro_f1.mean),
            "weighted_f1": evaluation.map(|e| e.weighted_f1.mean),
            "majority_accuracy": evaluation.map(|e| e.majority.accuracy),
            "expected_calibration_error": evaluation.map(|e| e.calibration.expected_error),
        });
        let saved = work.parts.predictors.save(&NewPredictor {
            name,
            source: &work.subject.name,
            embedder: &work.subject.embedder,
            job: work.job,
            summary,
            predictor,
        })?;
        Ok(Some(saved))
    }
}

/// The pictures of an evaluation.
fn draw(work: &Work<'_>, evaluation: &ClassifierEvaluation) -> Result<(), EngineError> {
    let how = evaluation.method.map_or_else(|| "without examples".to_owned(), classify::EvaluationMethod::describe);
    let documents = grouped(evaluation.documents);
    let note = format!(
        "{documents} documents, {how}: accuracy {:.3}, macro F1 {:.3} (always \"{}\": {:.3}, {:.3})",
        evaluation.accuracy.mean,
        evaluation.macro_f1.mean,
        evaluation.majority.label,
        evaluation.majority.accuracy,
        evaluation.majority.macro_f1
    );
    let title = format!("{}: which labels are taken for which", work.subject.name);
    work.results.file("confusion.svg", confusion_chart(&evaluation.confusion, &title, &note).as_bytes())?;
    let error = evaluation.calibration.expected_error;
    let note = format!("{documents} documents, {how}: expected calibration error {error:.3}");
    let title = format!("{}: are probabilities what they say?", work.subject.name);
    work.results.file("calibration.svg", calibration_chart(&evaluation.calibration, &title, &note).as_bytes())
}

/// The rows of the table `documents`.
struct Rows<'a> {
    labelled: &'a Labelled,
    found: &'a [Option<Unseen>],
    classifier: &'a Classifier,
    /// Whether the labels are true ones, not the predicted ones again.
    told: bool,
}

impl Rows<'_> {
    fn write(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let own = vec![
            Field::new("label", DataType::Utf8, true),
            Field::new("predicted", DataType::Utf8, true),
            Field::new("probability", DataType::Float64, true),
            Field::new("abstained", DataType::Boolean, true),
            Field::new("fold", DataType::UInt32, true),
        ];
        write_ordered(work, "documents", own, &self.labelled.places, &mut |rows| self.arrays(rows))
    }

    fn arrays(&self, rows: Range<usize>) -> Vec<ArrayRef> {
        let found = &self.found[rows.clone()];
        let name = |class: usize| self.labelled.names[class].as_str();
        let truth = self.labelled.classes[rows].iter().map(|class| self.told.then(|| name(*class)));
        vec![
            Arc::new(truth.collect::<StringArray>()),
            Arc::new(found.iter().map(|found| found.map(|f| name(f.class))).collect::<StringArray>()),
            Arc::new(found.iter().map(|found| found.map(|f| f.probability)).collect::<Float64Array>()),
            Arc::new(
                found
                    .iter()
                    .map(|found| found.map(|f| self.classifier.abstains(f.probability)))
                    .collect::<BooleanArray>(),
            ),
            Arc::new(found.iter().map(|found| found.and_then(|f| f.fold)).collect::<UInt32Array>()),
        ]
    }
}
