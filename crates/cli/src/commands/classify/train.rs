//! `anser classify train`.

use std::path::PathBuf;

use anser_engine::classify::{
    ClassBalance, ClassifierEvaluation, ClassifierMethod, ClassifierOptions, ClassifierReport, ZeroShotLabel,
};
use anser_engine::{Analysis, Estimate};
use clap::{Args, ValueEnum};

use crate::commands::analysis::{SourceArgs, check_outputs, check_pictures, run};
use crate::commands::predictors::{EvaluationArgs, next_step};
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, snippet};

/// Classes whose figures are shown; the JSON has all.
const SHOWN_CLASSES: usize = 20;
/// Classes up to which the confusion matrix fits a terminal.
const MATRIX_CLASSES: usize = 10;
/// Confusions shown with an example.
const SHOWN_CONFUSIONS: usize = 5;
/// Characters of an example.
const SNIPPET: usize = 100;

/// How a classifier decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Logistic regression on embeddings
    Logistic,
    /// The nearest labelled documents vote
    Nearest,
    /// No examples: the label whose name or description is most like the document
    ZeroShot,
}

/// Arguments of `anser classify train`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser classify train reviews --label Score --save stars --confusion confusion.svg\n  anser classify train tickets.csv --text-field body --label queue --folds 10 --balanced\n  anser classify train reviews --method zero-shot --labels positive,negative \\\n      --describe 'positive=A happy customer praises the product.' --describe 'negative=A customer complains.'\n\nEvery figure is measured on documents that the classifier was not learnt from; the saved one is learnt from all."
)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Attribute or column that holds the label; zero-shot is measured against it when it is given
    #[arg(long, value_name = "ATTRIBUTE", required_unless_present = "labels")]
    label: Option<String>,
    /// How the classifier decides
    #[arg(long, value_enum, default_value = "logistic")]
    method: Method,
    /// Labels of a zero-shot classifier
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    labels: Vec<String>,
    /// What documents with a label are like (zero-shot)
    #[arg(long, value_name = "LABEL=TEXT", value_parser = parse_description)]
    describe: Vec<(String, String)>,
    /// Neighbours that vote (nearest)
    #[arg(long, default_value_t = 10, value_name = "N")]
    k: usize,
    /// Values of C to choose from, rising (logistic) [default: 0.1 to 1000]; larger means weaker regularisation
    #[arg(long = "c", value_name = "NUMBERS", value_delimiter = ',')]
    inverse_regularization: Vec<f64>,
    /// Every class counts the same, however few documents it has (logistic)
    #[arg(long)]
    balanced: bool,
    #[command(flatten)]
    evaluation: EvaluationArgs,
    /// Leave classes with fewer documents out
    #[arg(long, value_name = "N")]
    min_examples: Option<usize>,
    /// Abstain when no label is as probable as this
    #[arg(long, value_name = "PROBABILITY")]
    abstain_below: Option<f64>,
    /// Same seed, same splits
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keep the classifier as the next version of this name
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
    /// Write every document with its label and what was predicted: .parquet, .arrow, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the confusion matrix as SVG
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,
    /// Write a picture of how well probabilities match shares, as SVG
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
}

fn parse_description(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').map(|(label, text)| (label.trim().to_owned(), text.trim().to_owned()));
    parts.filter(|(label, text)| !label.is_empty() && !text.is_empty()).ok_or_else(|| "write LABEL=TEXT".to_owned())
}

impl TrainArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        check_outputs(&self.source, &self.out, self.confusion.iter().chain(&self.calibration))?;
        check_pictures(self.confusion.iter().chain(&self.calibration))?;
        let finished = run(settings, terminal, &self.source, Analysis::TrainClassifier(self.options()?))?;
        let report: ClassifierReport = finished.report()?;
        if let Some(path) = &self.out {
            finished.write_table("documents", path)?;
        }
        for (name, path) in [("confusion.svg", &self.confusion), ("calibration.svg", &self.calibration)] {
            if let Some(path) = path {
                finished.write_file(name, path)?;
            }
        }
        if terminal.is_json() {
            return terminal.json(&report);
        }
        print(terminal, &report)?;
        for path in self.out.iter().chain(&self.confusion).chain(&self.calibration) {
            terminal.line(format!("wrote {}", path.display()))?;
        }
        next_step(terminal, "classify", report.saved.as_ref().map(|saved| (saved.name.as_str(), saved.version)))
    }

    fn options(&self) -> Result<ClassifierOptions, Failure> {
        let method = match self.method {
            Method::Logistic => ClassifierMethod::Logistic,
            Method::Nearest => ClassifierMethod::Nearest,
            Method::ZeroShot => ClassifierMethod::ZeroShot,
        };
        let mut labels: Vec<ZeroShotLabel> =
            self.labels.iter().map(|name| ZeroShotLabel { name: name.trim().to_owned(), description: None }).collect();
        for (name, text) in &self.describe {
            match labels.iter_mut().find(|label| label.name == *name) {
                Some(label) => label.description = Some(text.clone()),
                None => {
                    return Err(Failure::usage(format!(
                        "--describe names the label \"{name}\", which --labels does not"
                    )));
                }
            }
        }
        let defaults = ClassifierOptions::default();
        Ok(ClassifierOptions {
            method,
            label: self.label.clone(),
            labels,
            inverse_regularization: match &self.inverse_regularization[..] {
                [] => defaults.inverse_regularization,
                given => given.to_vec(),
            },
            class_weights: if self.balanced { ClassBalance::Balanced } else { ClassBalance::Uniform },
            k: self.k,
            evaluation: self.evaluation.method(),
            min_examples: self.min_examples,
            abstain_below: self.abstain_below,
            seed: self.seed,
            save_as: self.save.clone(),
            temperature: defaults.temperature,
        })
    }
}

fn print(terminal: &Terminal, report: &ClassifierReport) -> Result<(), Failure> {
    if let Some(evaluation) = &report.evaluation {
        print_figures(terminal, evaluation)?;
        print_classes(terminal, evaluation)?;
        print_matrix(terminal, evaluation)?;
        print_confusions(terminal, evaluation)?;
    } else {
        let rows = report.labels.iter().map(|label| [label.label.clone(), label.documents.to_string()]);
        terminal.table(["label", "documents"], rows.collect())?;
    }
    let unlabelled = match report.unlabelled {
        0 => String::new(),
        count => format!(", {count} without a label"),
    };
    let left_out: usize = report.left_out.iter().map(|class| class.documents).sum();
    let left_out = match report.left_out.len() {
        0 => String::new(),
        classes => format!(", {left_out} of {classes} classes that are too small"),
    };
    terminal.line(format!(
        "{} documents of {}, {} with a label{unlabelled}{left_out}",
        report.documents, report.source, report.labelled
    ))
}

/// A mean with its 95 % interval.
fn interval(estimate: &Estimate) -> String {
    format!("{:.3} ({:.3} to {:.3})", estimate.mean, estimate.low, estimate.high)
}

fn print_figures(terminal: &Terminal, evaluation: &ClassifierEvaluation) -> Result<(), Failure> {
    let majority = &evaluation.majority;
    let rows = vec![
        ["accuracy".to_owned(), interval(&evaluation.accuracy), format!("{:.3}", majority.accuracy)],
        ["macro F1".to_owned(), interval(&evaluation.macro_f1), format!("{:.3}", majority.macro_f1)],
        ["weighted F1".to_owned(), interval(&evaluation.weighted_f1), format!("{:.3}", majority.weighted_f1)],
    ];
    let baseline = format!("always \"{}\"", snippet(&majority.label, 30));
    terminal.table(["measure", "value (95 % interval)", &baseline], rows)?;
    let off = evaluation.calibration.expected_error * 100.0;
    terminal.line(format!(
        "{} documents measured; probabilities are off by {off:.1} points on average",
        evaluation.documents
    ))?;
    match &evaluation.abstention {
        Some(point) => terminal.line(format!(
            "abstaining below {:.2}: answers {:.1} % of the documents, {:.1} % of those rightly",
            point.abstain_below,
            point.coverage * 100.0,
            point.accuracy * 100.0
        )),
        None => Ok(()),
    }
}

fn print_classes(terminal: &Terminal, evaluation: &ClassifierEvaluation) -> Result<(), Failure> {
    let mut classes: Vec<_> = evaluation.classes.iter().collect();
    let many = classes.len() > SHOWN_CLASSES;
    if many {
        classes.sort_by(|a, b| a.f1.total_cmp(&b.f1));
        terminal.line(format!("the {SHOWN_CLASSES} of {} classes that are told apart worst:", classes.len()))?;
    }
    let rows = classes.iter().take(SHOWN_CLASSES).map(|class| {
        [
            class.label.clone(),
            format!("{:.2}", class.precision),
            format!("{:.2}", class.recall),
            format!("{:.2}", class.f1),
            class.support.to_string(),
        ]
    });
    terminal.table(["class", "precision", "recall", "F1", "documents"], rows.collect())
}

fn print_matrix(terminal: &Terminal, evaluation: &ClassifierEvaluation) -> Result<(), Failure> {
    let labels = &evaluation.confusion.labels;
    if labels.len() > MATRIX_CLASSES {
        return Ok(());
    }
    let mut header = vec!["true \\ predicted".to_owned()];
    header.extend(labels.iter().map(|label| snippet(label, 14)));
    let rows = labels.iter().zip(&evaluation.confusion.counts).map(|(label, counts)| {
        let mut row = vec![label.clone()];
        row.extend(counts.iter().map(u64::to_string));
        row
    });
    terminal.wide_table(&header, rows.collect())
}

fn print_confusions(terminal: &Terminal, evaluation: &ClassifierEvaluation) -> Result<(), Failure> {
    if evaluation.confusions.is_empty() {
        return Ok(());
    }
    terminal.line("most often confused:")?;
    for confusion in evaluation.confusions.iter().take(SHOWN_CONFUSIONS) {
        terminal.line(format!(
            "  {} taken for {}, {} documents",
            confusion.label, confusion.predicted, confusion.documents
        ))?;
        if let Some(example) = confusion.examples.first() {
            let text = format!("    {}: {} ({:.2})", example.id, snippet(&example.text, SNIPPET), example.probability);
            terminal.line(terminal.dim(&text))?;
        }
    }
    Ok(())
}
