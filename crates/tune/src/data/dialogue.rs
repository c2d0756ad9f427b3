//! What a check found, what it would change, and whether the person agreed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dataset::Row;
use crate::TuneError;

/// Lines that a finding names.
const MAX_LINES: usize = 10;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Will probably make the model worse.
    Warning,
    /// The data cannot be used as it is.
    Error,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name, such as `exact_duplicates`.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// Examples concerned, or 0 when it concerns the data as a whole.
    pub count: usize,
    /// The first lines (rows in a spreadsheet) concerned.
    pub lines: Vec<u64>,
    /// The first lines of the validation file concerned.
    pub validation_lines: Vec<u64>,
    /// What was found, why it matters and what to do.
    pub explanation: String,
    /// Whether a mend was accepted and applied.
    pub mended: bool,
}

impl Finding {
    /// A finding about the data as a whole.
    pub(super) fn new(id: &str, severity: Severity, explanation: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            severity,
            count: 0,
            lines: Vec::new(),
            validation_lines: Vec::new(),
            explanation: explanation.into(),
            mended: false,
        }
    }

    /// Names the lines concerned.
    pub(super) fn at_lines(mut self, lines: impl IntoIterator<Item = u64>) -> Self {
        for line in lines {
            self.count += 1;
            if self.lines.len() < MAX_LINES {
                self.lines.push(line);
            }
        }
        self
    }

    /// Names the rows concerned.
    pub(super) fn at_rows<'a>(mut self, rows: impl IntoIterator<Item = &'a Row>) -> Self {
        for row in rows {
            self.count += 1;
            let lines = if row.validation { &mut self.validation_lines } else { &mut self.lines };
            if lines.len() < MAX_LINES {
                lines.push(row.line);
            }
        }
        self
    }
}

/// A change that a check would make, for the person to accept or refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedMend {
    /// What was found.
    pub finding: Finding,
    /// The change, as an imperative: "Leave out 3 examples".
    pub action: String,
    /// One text before and after, where the change is one of texts.
    pub sample: Option<(String, String)>,
    /// What follows from a refusal: the data stay as they are, or they cannot be used at all.
    pub required: bool,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedMend {
    /// Name of the finding that it answers.
    pub id: String,
    /// The change, as an imperative.
    pub action: String,
    /// Examples changed or left out.
    pub count: usize,
}

/// Collects findings and asks for consent.
pub(super) struct Dialogue<'a> {
    ask: &'a mut dyn FnMut(&ProposedMend) -> bool,
    path: PathBuf,
    pub(super) findings: Vec<Finding>,
    pub(super) mends: Vec<AppliedMend>,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(path: &Path, ask: &'a mut dyn FnMut(&ProposedMend) -> bool) -> Self {
        Self { ask, path: path.to_owned(), findings: Vec::new(), mends: Vec::new() }
    }

    /// The file being prepared.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` with errors and questions about another file.
    pub(super) fn about<T>(&mut self, path: &Path, work: impl FnOnce(&mut Self) -> T) -> T {
        let own = std::mem::replace(&mut self.path, path.to_owned());
        let result = work(self);
        self.path = own;
        result
    }

    /// Records a finding that has no mend.
    pub(super) fn note(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Records a finding and asks whether to mend it.
    pub(super) fn offer(
        &mut self,
        finding: Finding,
        action: impl Into<String>,
        sample: Option<(String, String)>,
    ) -> bool {
        self.ask(ProposedMend { finding, action: action.into(), sample, required: false })
    }

    /// Records a finding that the data cannot be used with; a refused mend is the error `reason`.
    pub(super) fn require(
        &mut self,
        finding: Finding,
        action: impl Into<String>,
        sample: Option<(String, String)>,
    ) -> Result<(), TuneError> {
        let line = finding.lines.first().copied().unwrap_or(0);
        let reason = finding.explanation.clone();
        if self.ask(ProposedMend { finding, action: action.into(), sample, required: true }) {
            return Ok(());
        }
        Err(TuneError::File { path: self.path.clone(), line, field: None, reason })
    }

    /// The error that the data cannot be used at all.
    pub(super) fn refuse(&self, reason: impl Into<String>) -> TuneError {
        TuneError::File { path: self.path.clone(), line: 0, field: None, reason: reason.into() }
    }

    fn ask(&mut self, proposal: ProposedMend) -> bool {
        let accepted = (self.ask)(&proposal);
        let ProposedMend { mut finding, action, .. } = proposal;
        if accepted {
            finding.mended = true;
            self.mends.push(AppliedMend { id: finding.id.clone(), action, count: finding.count });
        }
        self.findings.push(finding);
        accepted
    }
}

/// "1 example", "2 examples".
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The beginning of a text on one line, for people.
pub(super) fn excerpt(text: &str) -> String {
    const MOST: usize = 80;
    let flat = text.replace('\n', "\\n");
    let mut short: String = flat.chars().take(MOST).filter(|c| !c.is_control()).collect();
    if flat.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}
