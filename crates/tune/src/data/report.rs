//! What was prepared, found and changed: for a program as JSON, for a person as text.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::dialogue::{AppliedMend, Finding, Severity, count};
use super::source::SourceFormat;
use super::tokens::TokenStatistics;

/// What training the prepared data will cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RunEstimate {
    /// Optimiser steps.
    pub steps: usize,
    /// Seconds, from a throughput measured on this machine; `None` before anything was measured.
    pub seconds: Option<f64>,
    /// Peak memory in bytes.
    pub memory_bytes: u64,
}

/// How the data were divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitReport {
    /// What drew the validation part; `None` when a file gave it.
    pub seed: Option<u64>,
    /// By what both parts are alike: `labels`, `topics` or `lengths`; `None` when a file gave the validation part.
    pub stratified_by: Option<String>,
    /// Share of the examples that was held out.
    pub share: f64,
}

/// What preparation did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrepareReport {
    /// Version of the software that wrote it.
    pub tool_version: String,
    /// Name of the source file, without its folder.
    pub source: String,
    /// What kind of file it was.
    pub source_format: SourceFormat,
    /// Format of the prepared lines: `chat`, `prompt_completion` or `preference`.
    pub format: String,
    /// Rows of the source that made an example.
    pub rows_read: usize,
    /// Examples to train on.
    pub training_examples: usize,
    /// Examples to measure on.
    pub validation_examples: usize,
    /// How both were divided.
    pub split: SplitReport,
    /// What was found, in the order of the checks.
    pub findings: Vec<Finding>,
    /// What was changed.
    pub mends: Vec<AppliedMend>,
    /// Lengths in tokens; `None` when no model counted them.
    pub tokens: Option<TokenStatistics>,
    /// What training will cost; `None` when nobody estimated it.
    pub estimate: Option<RunEstimate>,
    /// SHA-256 over the prepared lines, training first, then an empty line, then validation.
    pub fingerprint: String,
}

impl PrepareReport {
    /// Findings that were not mended, the gravest first.
    pub fn open_findings(&self) -> Vec<&Finding> {
        let mut open: Vec<&Finding> = self.findings.iter().filter(|finding| !finding.mended).collect();
        open.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        open
    }

    fn unit(&self) -> &'static str {
        if self.source_format == SourceFormat::Xlsx { "row" } else { "line" }
    }

    fn finding(&self, f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
        let word = match finding.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "  {word}: {}", finding.explanation)?;
        let all = finding.lines.len() + finding.validation_lines.len();
        if all > 0 && finding.count < self.rows_read {
            let place = |lines: &[u64], file: &str| {
                let numbers: Vec<String> = lines.iter().map(u64::to_string).collect();
                let unit = if lines.len() == 1 { self.unit().to_owned() } else { format!("{}s", self.unit()) };
                (!lines.is_empty()).then(|| format!("{unit} {}{file}", numbers.join(", ")))
            };
            let training = place(&finding.lines, "");
            let validation = place(&finding.validation_lines, " of the validation file");
            let places: Vec<String> = training.into_iter().chain(validation).collect();
            let more = if finding.count > all { format!(" and {} more", finding.count - all) } else { String::new() };
            write!(f, " ({}{more})", places.join("; "))?;
        }
        writeln!(f)
    }
}

impl fmt::Display for PrepareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = self.format.replace('_', " and ");
        writeln!(
            f,
            "{}: {} in {}, prepared as {format}",
            self.source,
            count(self.rows_read, "example"),
            self.source_format.as_str()
        )?;
        let by = self.split.stratified_by.as_deref().map(|by| format!(", both alike in {by}")).unwrap_or_default();
        writeln!(
            f,
            "  {} to train on, {} to measure on ({:.0} %{by})",
            self.training_examples,
            self.validation_examples,
            self.split.share * 100.0
        )?;
        if let Some(tokens) = &self.tokens {
            writeln!(
                f,
                "  {} tokens to train on, {} of them learned; an example has {} to {}, half of them at most {}, 99 % at most {}",
                tokens.training, tokens.learned, tokens.least, tokens.most, tokens.median, tokens.p99
            )?;
        }
        if let Some(estimate) = &self.estimate {
            let memory = estimate.memory_bytes as f64 / f64::from(1 << 30);
            let time = estimate.seconds.map_or_else(|| "time not measured here yet".to_owned(), duration);
            writeln!(f, "  training: {}, {time}, {memory:.1} GiB of memory", count(estimate.steps, "step"))?;
        }
        if !self.mends.is_empty() {
            writeln!(f, "Mended:")?;
            for mend in &self.mends {
                writeln!(f, "  {} ({})", mend.action, mend.id)?;
            }
        }
        let open = self.open_findings();
        if open.is_empty() {
            writeln!(f, "Nothing else was found.")?;
        } else {
            writeln!(f, "To look at:")?;
            for finding in open {
                self.finding(f, finding)?;
            }
        }
        write!(f, "fingerprint {}", self.fingerprint)
    }
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match (minutes / 60, minutes % 60) {
        (0, 0) => "less than a minute".to_owned(),
        (0, minutes) => format!("about {}", count(minutes as usize, "minute")),
        (hours, minutes) => format!("about {hours} h {minutes:02} min"),
    }
}
