//! A training run from the documents to its files.

use std::ops::Range;
use std::sync::Arc;

use anser_core::{AttributeValue, ProgressUnit, excerpt};
use anser_index::analysis::{AlphaScore, RidgeFolds, first_copies, shuffled_folds};
use arrow::array::{ArrayRef, Float64Array, UInt32Array};
use arrow::datatypes::{DataType, Field};
use serde_json::json;

use super::RegressorOptions;
use super::report::{MeanBaseline, RegressorEvaluation, RegressorReport, ValueFigures};
use crate::analysis::Work;
use crate::chart::{PredictedChart, predicted_chart};
use crate::classify::EvaluationMethod;
use crate::evaluate::interval;
use crate::map::text::grouped;
use crate::predictors::{NewPredictor, Predictor, Regressor, SavedAs};
use crate::table::{number, write_ordered};
use crate::{EngineError, Estimate};

/// Pieces between which α is chosen where the evaluation has too few of its own.
const INNER_FOLDS: usize = 5;

/// Fewest documents with a number.
const LEAST: usize = 4;

/// Resamples of a bootstrap, and most documents drawn in all of them together.
const RESAMPLES: usize = 1000;
const MAX_DRAWS: usize = 200_000_000;

/// Documents with a number.
struct Numbers {
    /// Their places in the subject, rising.
    places: Vec<usize>,
    values: Vec<f64>,
    missing: usize,
    not_numeric: usize,
}

/// A prediction for a document that was not learnt from.
#[derive(Clone, Copy)]
struct Unseen {
    predicted: f64,
    /// The mean of what was learnt from.
    mean: f64,
    fold: u32,
}

impl Numbers {
    fn read(work: &Work<'_>, attribute: &str) -> Result<Self, EngineError> {
        let (mut places, mut values, mut missing, mut not_numeric) = (Vec::new(), Vec::new(), 0, 0);
        for (place, document) in work.subject.documents()?.enumerate() {
            work.cancel.check()?;
            match document?.attributes.get(attribute) {
                None => missing += 1,
                Some(value) => match number(value).or_else(|| parsed(value)).filter(|value| value.is_finite()) {
                    Some(value) => {
                        places.push(place);
                        values.push(value);
                    }
                    None => not_numeric += 1,
                },
            }
        }
        let (shown, name) = (excerpt(attribute, 60), &work.subject.name);
        if not_numeric > values.len() {
            let message = format!(
                "{not_numeric} of {} values of \"{shown}\" in \"{name}\" are no numbers; a regression needs a numeric attribute, a classifier takes any",
                not_numeric + values.len()
            );
            return Err(EngineError::invalid("target", message));
        }
        if values.len() < LEAST {
            let message = format!(
                "{} of {} documents of \"{name}\" have a number in \"{shown}\"; a regression needs at least {LEAST}",
                values.len(),
                work.subject.len()
            );
            return Err(EngineError::invalid("target", message));
        }
        if values.iter().all(|value| value.to_bits() == values[0].to_bits()) {
            let message = format!(
                "the attribute \"{shown}\" is {} in all documents of \"{name}\"; there is nothing to predict",
                values[0]
            );
            return Err(EngineError::invalid("target", message));
        }
        Ok(Self { places, values, missing, not_numeric })
    }

    fn figures(&self) -> ValueFigures {
        let count = self.values.len() as f64;
        let mean = self.values.iter().sum::<f64>() / count;
        let variance = self.values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        ValueFigures {
            mean,
            deviation: variance.sqrt(),
            low: self.values.iter().copied().fold(f64::INFINITY, f64::min),
            high: self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// A number written as text, as in a column that holds something else, too.
fn parsed(value: &AttributeValue) -> Option<f64> {
    match value {
        AttributeValue::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The documents in pieces: what is predicted together, and what α is chosen between.
struct Split {
    /// The piece of each document.
    of: Vec<usize>,
    /// Pieces that are predicted together, each time from all others.
    folds: Vec<Vec<usize>>,
}

impl Split {
    /// Copies go together: `firsts` names the first copy of each document.
    fn of(options: &RegressorOptions, firsts: &[usize]) -> Self {
        let distinct: Vec<usize> = (0..firsts.len()).filter(|row| firsts[*row] == *row).collect();
        if distinct.len() < LEAST {
            return Self::of_distinct(options, firsts.len());
        }
        let split = Self::of_distinct(options, distinct.len());
        let mut of = vec![0; firsts.len()];
        for (row, piece) in distinct.into_iter().zip(split.of) {
            of[row] = piece;
        }
        for row in 0..firsts.len() {
            of[row] = of[firsts[row]];
        }
        Self { of, folds: split.folds }
    }

    fn of_distinct(options: &RegressorOptions, count: usize) -> Self {
        match options.evaluation {
            EvaluationMethod::Folds(folds) => {
                let folds = folds.min(count);
                // With two folds, what is learnt from is one of them, and must be cut for the choice of α.
                let pieces = if folds == 2 { (2 * INNER_FOLDS).min(count) } else { folds };
                let of = shuffled_folds(count, pieces, options.seed);
                Self { of, folds: (0..folds).map(|fold| (fold..pieces).step_by(folds).collect()).collect() }
            }
            EvaluationMethod::HeldOut(share) => {
                let out = ((count as f64 * share).round() as usize).clamp(1, count - 2);
                let mut order: Vec<usize> = shuffled_order(count, options.seed);
                let kept = order.split_off(out);
                let mut of = vec![0; count];
                kept.iter().enumerate().for_each(|(at, row)| of[*row] = 1 + at % INNER_FOLDS);
                Self { of, folds: vec![vec![0]] }
            }
        }
    }
}

/// All rows below `count` in random order.
fn shuffled_order(count: usize, seed: u64) -> Vec<usize> {
    // Every row is a fold of its own.
    let mut order = vec![0; count];
    shuffled_folds(count, count, seed).into_iter().enumerate().for_each(|(row, turn)| order[turn] = row);
    order
}

impl RegressorOptions {
    /// Does the work.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let numbers = Numbers::read(work, &self.target)?;
        let figures = numbers.figures();
        let range = self.clip.then_some((figures.low, figures.high));
        let split = Split::of(self, &first_copies(&work.subject.vectors, &numbers.places));
        work.progress.start("reading vectors", None, ProgressUnit::Items);
        let folds = moments(work, &numbers, &split.of)?;
        work.progress.finish();
        let found = self.predict_unseen(work, &numbers, (&split, &folds))?;
        let evaluation = self.evaluate(work, &numbers, &found)?;
        let (alpha, tried) = self.choose(&folds, &[], work)?;
        let model = folds.fit_without(&[], alpha)?;
        let mut report = RegressorReport {
            source: work.subject.name.clone(),
            embedder: work.subject.embedder.model.clone(),
            attribute: self.target.clone(),
            documents: work.subject.len(),
            labelled: numbers.values.len(),
            missing: numbers.missing,
            not_numeric: numbers.not_numeric,
            values: figures,
            alpha,
            tried,
            clip: self.clip,
            evaluation,
            saved: None,
        };
        write(work, &numbers, &found)?;
        draw(work, &report, &numbers, &found)?;
        report.saved = self.save(work, &report, &Predictor::Regressor(Regressor { model, range }))?;
        work.results.report(&report)
    }

    /// The α with the lowest error among the folds that are not left out, and all errors.
    fn choose(
        &self,
        folds: &RidgeFolds,
        left_out: &[usize],
        work: &Work<'_>,
    ) -> Result<(f64, Vec<AlphaScore>), EngineError> {
        if let [alpha] = self.alpha[..] {
            return Ok((alpha, Vec::new()));
        }
        let mut alphas = self.alpha.clone();
        alphas.sort_by(f64::total_cmp);
        let tried = folds.cross_validate(left_out, &alphas, work.cancel)?;
        // Among equals the strongest penalty.
        let best = tried.iter().rev().min_by(|a, b| a.mean_squared_error.total_cmp(&b.mean_squared_error));
        let alpha = best.map(|score| score.alpha).ok_or_else(|| EngineError::internal("no alpha was tried"))?;
        Ok((alpha, tried))
    }

    fn predict_unseen(
        &self,
        work: &Work<'_>,
        numbers: &Numbers,
        (split, folds): (&Split, &RidgeFolds),
    ) -> Result<Vec<Option<Unseen>>, EngineError> {
        let count = numbers.values.len();
        work.progress.start("measuring", Some(split.folds.len() as u64), ProgressUnit::Items);
        let mut found: Vec<Option<Unseen>> = vec![None; count];
        for (fold, pieces) in split.folds.iter().enumerate() {
            work.cancel.check()?;
            let (alpha, _) = self.choose(folds, pieces, work)?;
            let model = folds.fit_without(pieces, alpha)?;
            let (inside, outside): (Vec<usize>, Vec<usize>) =
                (0..count).partition(|row| pieces.contains(&split.of[*row]));
            let learnt = || outside.iter().map(|row| numbers.values[*row]);
            let mean = learnt().sum::<f64>() / outside.len().max(1) as f64;
            let range =
                self.clip.then(|| (learnt().fold(f64::INFINITY, f64::min), learnt().fold(f64::NEG_INFINITY, f64::max)));
            let places: Vec<usize> = inside.iter().map(|row| numbers.places[*row]).collect();
            let values = Regressor { model, range }.values(&work.subject.vectors.gather(&places), work.cancel)?;
            for (row, predicted) in inside.into_iter().zip(values) {
                found[row] = Some(Unseen { predicted, mean, fold: fold as u32 });
            }
            work.progress.set(fold as u64 + 1);
        }
        work.progress.finish();
        Ok(found)
    }

    fn evaluate(
        &self,
        work: &Work<'_>,
        numbers: &Numbers,
        found: &[Option<Unseen>],
    ) -> Result<RegressorEvaluation, EngineError> {
        let measured: Vec<(f64, Unseen)> =
            numbers.values.iter().zip(found).filter_map(|(value, found)| Some((*value, (*found)?))).collect();
        let errors: Vec<f64> = measured.iter().map(|(value, found)| value - found.predicted).collect();
        let [squared, absolute] = intervals(&errors, self.seed, work)?;
        let count = measured.len().max(1) as f64;
        let of_mean =
            |error: fn(f64) -> f64| measured.iter().map(|(v, found)| error(v - found.mean)).sum::<f64>() / count;
        let baseline =
            MeanBaseline { mean_squared_error: of_mean(|error| error * error), mean_absolute_error: of_mean(f64::abs) };
        let mean = measured.iter().map(|(value, _)| value).sum::<f64>() / count;
        let variance = measured.iter().map(|(value, _)| (value - mean).powi(2)).sum::<f64>() / count;
        let below = |error: f64, whole: f64| if whole > 0.0 { 1.0 - error / whole } else { 0.0 };
        Ok(RegressorEvaluation {
            method: self.evaluation,
            documents: measured.len(),
            r_squared: below(squared.mean, variance),
            improvement_percent: 100.0 * below(squared.mean, baseline.mean_squared_error),
            mean_squared_error: squared,
            mean_absolute_error: absolute,
            baseline,
        })
    }

    fn save(
        &self,
        work: &Work<'_>,
        report: &RegressorReport,
        predictor: &Predictor,
    ) -> Result<Option<SavedAs>, EngineError> {
        let Some(name) = &self.save_as else { return Ok(None) };
        let evaluation = &report.evaluation;
        let summary = json!({
            "attribute": report.attribute,
            "documents": report.labelled,
            "mean_squared_error": evaluation.mean_squared_error.mean,
            "mean_absolute_error": evaluation.mean_absolute_error.mean,
            "r_squared": evaluation.r_squared,
            "baseline_mean_squared_error": evaluation.baseline.mean_squared_error,
            "improvement_percent": evaluation.improvement_percent,
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

/// The moments of each fold of the documents with a number.
fn moments(work: &Work<'_>, numbers: &Numbers, fold_of: &[usize]) -> Result<RidgeFolds, EngineError> {
    if numbers.places.len() == work.subject.len() {
        return Ok(RidgeFolds::new(&work.subject.vectors, &numbers.values, fold_of, work.cancel)?);
    }
    let vectors = work.subject.vectors.gather(&numbers.places);
    Ok(RidgeFolds::new(&vectors, &numbers.values, fold_of, work.cancel)?)
}

/// The mean squared and the mean absolute error with their intervals.
fn intervals(errors: &[f64], seed: u64, work: &Work<'_>) -> Result<[Estimate; 2], EngineError> {
    use rand::{Rng, SeedableRng};
    let count = errors.len().max(1);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let resamples = (MAX_DRAWS / count).clamp(100, RESAMPLES);
    let (mut squared, mut absolute) = (Vec::with_capacity(resamples), Vec::with_capacity(resamples));
    for _ in 0..resamples {
        work.cancel.check()?;
        let (mut squares, mut sizes) = (0.0, 0.0);
        for _ in 0..errors.len() {
            let error = errors[rng.random_range(0..errors.len())];
            squares += error * error;
            sizes += error.abs();
        }
        squared.push(squares / count as f64);
        absolute.push(sizes / count as f64);
    }
    let mean = |of: fn(f64) -> f64| errors.iter().map(|error| of(*error)).sum::<f64>() / count as f64;
    Ok([interval(mean(|e| e * e), squared), interval(mean(f64::abs), absolute)])
}

/// Writes the table `documents`.
fn write(work: &Work<'_>, numbers: &Numbers, found: &[Option<Unseen>]) -> Result<(), EngineError> {
    let own = vec![
        Field::new("value", DataType::Float64, false),
        Field::new("predicted", DataType::Float64, true),
        Field::new("residual", DataType::Float64, true),
        Field::new("fold", DataType::UInt32, true),
    ];
    let mut arrays = |rows: Range<usize>| -> Vec<ArrayRef> {
        let (values, found) = (&numbers.values[rows.clone()], &found[rows]);
        let residual = |(value, found): (&f64, &Option<Unseen>)| found.map(|found| value - found.predicted);
        vec![
            Arc::new(Float64Array::from_iter_values(values.iter().copied())),
            Arc::new(found.iter().map(|found| found.map(|f| f.predicted)).collect::<Float64Array>()),
            Arc::new(values.iter().zip(found).map(residual).collect::<Float64Array>()),
            Arc::new(found.iter().map(|found| found.map(|f| f.fold)).collect::<UInt32Array>()),
        ]
    };
    write_ordered(work, "documents", own, &numbers.places, &mut arrays)
}

fn draw(
    work: &Work<'_>,
    report: &RegressorReport,
    numbers: &Numbers,
    found: &[Option<Unseen>],
) -> Result<(), EngineError> {
    let pairs: Vec<(f64, f64)> =
        numbers.values.iter().zip(found).filter_map(|(value, found)| Some((*value, (*found)?.predicted))).collect();
    let evaluation = &report.evaluation;
    let title = format!("{}: {} predicted from the text", report.source, report.attribute);
    let note = format!(
        "{} documents, {}: mean squared error {:.3} (always the mean: {:.3}), R² {:.3}",
        grouped(evaluation.documents),
        evaluation.method.describe(),
        evaluation.mean_squared_error.mean,
        evaluation.baseline.mean_squared_error,
        evaluation.r_squared
    );
    let chart = PredictedChart { title: &title, note: &note, name: &report.attribute, pairs: &pairs };
    work.results.file("predicted.svg", predicted_chart(&chart).as_bytes())
}
