//! What `anser classify` and `anser regress` share: saved predictors, listed, applied and deleted.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anser_core::CancelToken;
use anser_engine::Analysis;
use anser_engine::classify::EvaluationMethod;
use anser_engine::predictors::{PredictOptions, PredictReport, Prediction, SavedPredictor, TextPredictions};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::analysis::{SourceArgs, check_outputs, run};
use super::tune::show::{date, minute};
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, snippet};

/// Characters of a text beside its prediction.
const SNIPPET: usize = 80;
/// Probabilities shown for one text.
const SHOWN_LABELS: usize = 3;

/// A predictor's name, with a version or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PredictorName {
    name: String,
    version: Option<u32>,
}

impl std::str::FromStr for PredictorName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, version)) = text.rsplit_once('@') else {
            return Ok(Self { name: text.to_owned(), version: None });
        };
        let version = version.parse().ok().filter(|version| *version > 0);
        let version = version.ok_or_else(|| "write a name, or NAME@VERSION with a version from 1 on".to_owned())?;
        Ok(Self { name: name.to_owned(), version: Some(version) })
    }
}

/// Which documents a training run is measured on.
#[derive(Debug, Args)]
pub(crate) struct EvaluationArgs {
    /// Folds of the cross-validation
    #[arg(long, default_value_t = 5, value_name = "N")]
    folds: usize,
    /// Measure on this share of the documents instead of cross-validating
    #[arg(long, value_name = "SHARE", conflicts_with = "folds")]
    held_out: Option<f64>,
}

impl EvaluationArgs {
    /// The engine's words for it.
    pub(crate) fn method(&self) -> EvaluationMethod {
        self.held_out.map_or(EvaluationMethod::Folds(self.folds), EvaluationMethod::HeldOut)
    }
}

/// What both commands can do with what was saved.
#[derive(Debug, Subcommand)]
pub(crate) enum SavedCommand {
    /// Apply a saved predictor to all documents of a collection or file
    Predict(PredictArgs),
    /// Apply a saved predictor to single texts
    Text {
        /// Its name, or NAME@VERSION for an earlier version
        predictor: PredictorName,
        /// The texts [default: the lines of standard input]
        texts: Vec<String>,
    },
    /// What is saved
    List,
    /// One of them, with how good it was
    Show {
        /// Its name, or NAME@VERSION
        predictor: PredictorName,
    },
    /// Delete one version, or all of a name
    Delete {
        /// Its name (all versions), or NAME@VERSION
        predictor: PredictorName,
    },
}

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// Its name, or NAME@VERSION for an earlier version
    predictor: PredictorName,
    #[command(flatten)]
    source: SourceArgs,
    /// Write what is predicted back into the collection as this attribute
    #[arg(long, value_name = "ATTRIBUTE")]
    write_to: Option<String>,
    /// Write every document with what was predicted: .parquet, .arrow, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl SavedCommand {
    /// Runs it for classifiers or for regressions.
    pub(crate) fn run(&self, classifiers: bool, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Self::Predict(args) => args.run(settings, terminal),
            Self::Text { predictor, texts } => text(predictor, texts, classifiers, settings, terminal),
            Self::List => list(classifiers, settings, terminal),
            Self::Show { predictor } => {
                let engine = compose::engine(settings, terminal.progress())?;
                let saved = engine.predictor(&predictor.name, predictor.version)?;
                if terminal.is_json() { terminal.json(&saved) } else { show(terminal, &saved) }
            }
            Self::Delete { predictor: PredictorName { name, version } } => {
                let engine = compose::engine(settings, terminal.progress())?;
                if !engine.delete_predictor(name, *version)? {
                    let version = version.map_or_else(String::new, |version| format!(", version {version},"));
                    return Err(Failure::failed(format!(
                        "there is no predictor \"{name}\"{version} to delete; `anser {} list` shows what is saved",
                        command(classifiers)
                    )));
                }
                terminal.line(match version {
                    Some(version) => format!("deleted version {version} of \"{name}\""),
                    None => format!("deleted \"{name}\""),
                })
            }
        }
    }
}

/// The command that predictors of this kind belong to.
fn command(classifiers: bool) -> &'static str {
    if classifiers { "classify" } else { "regress" }
}

/// The line that follows a training run.
pub(crate) fn next_step(terminal: &Terminal, command: &str, saved: Option<(&str, u32)>) -> Result<(), Failure> {
    match saved {
        Some((name, version)) => terminal.line(format!(
            "saved as {}, version {version}. Next: anser {command} text {name} \"some text\", or anser {command} predict {name} COLLECTION --write-to ATTRIBUTE",
            terminal.bold(name)
        )),
        None => terminal.line("not saved; add --save NAME to use it on other texts"),
    }
}

impl PredictArgs {
    fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        check_outputs(&self.source, &self.out, None)?;
        let options = PredictOptions {
            predictor: self.predictor.name.clone(),
            version: self.predictor.version,
            write_to: self.write_to.clone(),
        };
        let finished = run(settings, terminal, &self.source, Analysis::Predict(options))?;
        let report: PredictReport = finished.report()?;
        if let Some(path) = &self.out {
            finished.write_table("documents", path)?;
        }
        if terminal.is_json() {
            return terminal.json(&report);
        }
        print_prediction(terminal, &report)?;
        match &self.out {
            Some(path) => terminal.line(format!("wrote {}", path.display())),
            None => Ok(()),
        }
    }
}

fn print_prediction(terminal: &Terminal, report: &PredictReport) -> Result<(), Failure> {
    if !report.labels.is_empty() {
        let share = |documents: usize| format!("{:.1} %", 100.0 * documents as f64 / report.documents.max(1) as f64);
        let mut rows: Vec<[String; 3]> = report
            .labels
            .iter()
            .map(|label| [label.label.clone(), label.documents.to_string(), share(label.documents)])
            .collect();
        if report.abstained > 0 {
            rows.push(["(abstained)".to_owned(), report.abstained.to_string(), share(report.abstained)]);
        }
        terminal.table(["label", "documents", "share"], rows)?;
    }
    if let Some(values) = &report.values {
        terminal.line(format!("mean {:.3}, from {:.3} to {:.3}", values.mean, values.low, values.high))?;
    }
    let SavedPredictor { name, version, .. } = &report.predictor;
    terminal.line(format!("{} documents of {} by {name}, version {version}", report.documents, report.source))?;
    match &report.written {
        Some(written) => {
            terminal.line(format!("wrote the attribute \"{}\" of {} documents", written.attribute, written.documents))
        }
        None => Ok(()),
    }
}

fn text(
    predictor: &PredictorName,
    texts: &[String],
    classifiers: bool,
    settings: &Settings,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let mut texts = texts.to_vec();
    if texts.is_empty() {
        if io::stdin().is_terminal() {
            return Err(Failure::usage("name a text, or pipe texts in, one a line"));
        }
        let lines = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>();
        let lines = lines.map_err(|e| Failure::failed(format!("standard input cannot be read: {e}")))?;
        texts.extend(lines.into_iter().filter(|line| !line.trim().is_empty()));
    }
    let engine = compose::engine(settings, terminal.progress())?;
    let PredictorName { name, version } = predictor;
    let cancel = CancelToken::new();
    let found = if classifiers {
        engine.classify_texts(name, *version, &texts, &cancel)?
    } else {
        engine.regress_texts(name, *version, &texts, &cancel)?
    };
    if terminal.is_json() {
        return terminal.json(&found);
    }
    let rows = texts
        .iter()
        .zip(&found.predictions)
        .map(|(text, prediction)| [snippet(text, SNIPPET), said(prediction), beside(&found, prediction)]);
    let (said, beside) = if classifiers { ("label", "probabilities") } else { ("value", "") };
    terminal.table(["text", said, beside], rows.collect())
}

fn said(prediction: &Prediction) -> String {
    match (&prediction.label, prediction.value) {
        (Some(label), _) => label.clone(),
        (None, Some(value)) => format!("{value:.3}"),
        (None, None) => "(abstained)".to_owned(),
    }
}

/// The most probable labels.
fn beside(found: &TextPredictions, prediction: &Prediction) -> String {
    let mut scored: Vec<(&String, f64)> = found.labels.iter().zip(prediction.scores.iter().copied()).collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown = scored.iter().take(SHOWN_LABELS).map(|(label, score)| format!("{label} {score:.2}"));
    shown.collect::<Vec<_>>().join(", ")
}

fn list(classifiers: bool, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
    let engine = compose::engine(settings, terminal.progress())?;
    let mut saved = engine.predictors()?;
    saved.retain(|predictor| predictor.kind.classifies() == classifiers);
    if terminal.is_json() {
        return terminal.json(&saved);
    }
    let command = command(classifiers);
    if saved.is_empty() {
        return terminal
            .line(format!("nothing is saved yet; anser {command} train SOURCE --save NAME saves something"));
    }
    let rows = saved.iter().map(|predictor| {
        [
            predictor.name.clone(),
            predictor.version.to_string(),
            predictor.kind.name().to_owned(),
            predictor.collection.clone().unwrap_or_default(),
            figures(&predictor.summary),
            minute(predictor.created_at),
        ]
    });
    terminal.table(["name", "version", "method", "learnt from", "measured", "created"], rows.collect())
}

fn show(terminal: &Terminal, saved: &SavedPredictor) -> Result<(), Failure> {
    terminal.line(format!("{}, version {}", terminal.bold(&saved.name), saved.version))?;
    let facts = [
        ("method", Some(saved.kind.name().to_owned())),
        ("learnt from", saved.collection.clone()),
        ("embedder", Some(saved.embedder.model.clone())),
        ("job", saved.job.clone()),
        ("created", Some(date(saved.created_at))),
        ("measured", Some(figures(&saved.summary)).filter(|text| !text.is_empty())),
    ];
    for (name, value) in facts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        terminal.line(format!("  {name:<13}{value}"))?;
    }
    Ok(())
}

/// The numbers of a summary, each with its name.
fn figures(summary: &Value) -> String {
    let numbers = summary.as_object().into_iter().flatten().filter_map(|(name, value)| {
        let number = value.as_f64()?;
        let whole = value.is_u64().then(|| number.to_string());
        Some(format!("{} {}", name.replace('_', " "), whole.unwrap_or_else(|| format!("{number:.3}"))))
    });
    numbers.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_carry_a_version() {
        let name = |text: &str| text.parse::<PredictorName>();
        assert_eq!(name("stars").unwrap(), PredictorName { name: "stars".to_owned(), version: None });
        assert_eq!(name("stars@3").unwrap(), PredictorName { name: "stars".to_owned(), version: Some(3) });
        assert!(name("stars@0").is_err() && name("stars@x").is_err());
    }

    #[test]
    fn a_summary_is_shown_as_numbers_with_names() {
        let summary = serde_json::json!({"accuracy": 0.81, "macro_f1": 0.5, "documents": 12, "attribute": "Score"});
        assert_eq!(figures(&summary), "accuracy 0.810, macro f1 0.500, documents 12");
    }
}
