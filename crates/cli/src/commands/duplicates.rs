//! `anser duplicates`: groups of documents that say nearly the same, and deleting all but one of each.

use std::path::PathBuf;

use anser_engine::duplicates::{DeletedDuplicates, DuplicateOptions, DuplicateReport, KeepRule};
use anser_engine::{Analysis, AnalysisSource, EngineError};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::analysis::{Finished, SourceArgs, check_outputs, run};
use super::outliers::shown;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, confirm, snippet};

/// Characters of a document in the table.
const SNIPPET: usize = 130;

/// Arguments of `anser duplicates`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser duplicates reviews\n  anser duplicates reviews --threshold 0.9 --out duplicates.csv\n  anser duplicates reviews --keep newest --newest-by Time --delete\n  anser duplicates tickets.csv --text-field body --out duplicates.parquet\n\nDocuments form a group when pairs at or above the threshold link them. Everything marked as redundant is that near to\na document that is kept. --delete asks first, and leaves alone what was changed since it was compared."
)]
pub(crate) struct DuplicatesArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Least cosine of two documents that say nearly the same, above 0 and up to 1
    #[arg(long, default_value_t = DuplicateOptions::default().threshold, value_name = "COSINE")]
    threshold: f32,
    /// Which document of a group is kept
    #[arg(long, value_enum, default_value = "longest")]
    keep: Keep,
    /// Attribute, a time or a number, that says what is newest
    #[arg(long, value_name = "ATTRIBUTE")]
    newest_by: Option<String>,
    /// Groups shown
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// Write all documents that are in groups: .parquet, .arrow, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Delete the redundant documents from the collection
    #[arg(long)]
    delete: bool,
    /// Do not ask before deleting
    #[arg(long, short, requires = "delete")]
    yes: bool,
    /// Same seed, same groups
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// Which document of a group is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Keep {
    /// The one with the longest text
    Longest,
    /// The one whose id comes first
    First,
    /// The one with the highest value of --newest-by
    Newest,
}

/// The report, and what was deleted.
#[derive(Serialize)]
struct Reply<'a> {
    #[serde(flatten)]
    report: &'a DuplicateReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion: Option<&'a DeletedDuplicates>,
}

impl DuplicatesArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        check_outputs(&self.source, &self.out, None)?;
        if self.delete && self.source.is_detached() {
            return Err(Failure::usage(
                "--delete cannot go with --detach, which does not wait for the job; leave --delete out, look at the groups with `anser jobs result JOB --name documents`, and run the command without --detach to delete",
            ));
        }
        if self.delete && !matches!(self.source.source()?, AnalysisSource::Collection { .. }) {
            let message = "nothing is deleted from files: leave out --delete, and take the rows whose keep is true from the table that --out writes";
            return Err(EngineError::invalid("delete", message).into());
        }
        let finished = run(settings, terminal, &self.source, Analysis::Duplicates(self.options()))?;
        let report: DuplicateReport = finished.report()?;
        if let Some(path) = &self.out {
            finished.write_table("documents", path)?;
        }
        if !terminal.is_json() {
            print(terminal, &report)?;
            if let Some(path) = &self.out {
                terminal.line(format!("wrote {}", path.display()))?;
            }
        }
        let deletion = if self.delete && report.redundant > 0 { Some(self.delete(&finished, &report)?) } else { None };
        if terminal.is_json() {
            return terminal.json(&Reply { report: &report, deletion: deletion.as_ref() });
        }
        match deletion {
            Some(done) if done.left > 0 => terminal.line(format!(
                "deleted {} documents from {}; {} were left because they or the document kept in their place changed meanwhile",
                done.deleted, done.collection, done.left
            )),
            Some(done) => terminal.line(format!("deleted {} documents from {}", done.deleted, done.collection)),
            None if self.delete => terminal.line("nothing to delete"),
            None if report.redundant > 0 => terminal.line(self.next()?),
            None => Ok(()),
        }
    }

    fn options(&self) -> DuplicateOptions {
        let keep = match self.keep {
            Keep::Longest => KeepRule::Longest,
            Keep::First => KeepRule::First,
            Keep::Newest => KeepRule::Newest,
        };
        let newest_by = self.newest_by.clone();
        DuplicateOptions { threshold: self.threshold, keep, newest_by, limit: self.limit, seed: self.seed }
    }

    /// What to do after looking.
    fn next(&self) -> Result<String, Failure> {
        Ok(match self.source.source()? {
            AnalysisSource::Collection { .. } => "the same command with --delete removes the redundant ones".to_owned(),
            _ => "--out FILE writes all groups; the rows whose keep is true are those to go on with".to_owned(),
        })
    }

    /// Asks, unless told not to, and deletes.
    fn delete(&self, finished: &Finished, report: &DuplicateReport) -> Result<DeletedDuplicates, Failure> {
        let question = format!(
            "delete {} of {} documents from {}, keeping {}?",
            report.redundant,
            report.documents,
            report.source,
            report.documents - report.redundant
        );
        if !self.yes && !confirm(&question)? {
            let hint = if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                ""
            } else {
                "; pass --yes to delete without a question"
            };
            return Err(Failure::failed(format!("nothing was deleted from {}{hint}", report.source)));
        }
        Ok(finished.engine.delete_duplicates(&finished.job.id)?)
    }
}

fn print(terminal: &Terminal, report: &DuplicateReport) -> Result<(), Failure> {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for group in &report.largest {
        let mut first = true;
        for member in group.members.iter().filter(|member| !member.exact_copy) {
            let kept = group.members.iter().find(|kept| kept.keep && kept.document.id == member.kept_id);
            let text = match kept.filter(|_| !member.keep) {
                Some(kept) => from_difference(&shown(&kept.document), &shown(&member.document)),
                None => shown(&member.document),
            };
            rows.push([
                if first { group.group.to_string() } else { String::new() },
                if first { group.documents.to_string() } else { String::new() },
                if member.keep { "keep".to_owned() } else { format!("{:.3}", member.similarity) },
                format!("{}\n{}", snippet(&text, SNIPPET), member.document.id),
            ]);
            first = false;
        }
        let named = group.members.iter().filter(|member| !member.exact_copy).count();
        let rest = group.documents - named - group.exact_copies;
        let copies = match group.exact_copies {
            0 => None,
            1 => Some("1 exact copy".to_owned()),
            copies => Some(format!("{copies} exact copies")),
        };
        let rest = (rest > 0).then(|| format!("{rest} more"));
        let more: Vec<String> = copies.into_iter().chain(rest).collect();
        if !more.is_empty() {
            rows.push([String::new(), String::new(), String::new(), format!("and {}", more.join(", "))]);
        }
    }
    if !rows.is_empty() {
        terminal.table(["group", "documents", "similarity", "document"], rows)?;
    }
    if report.largest.len() < report.groups {
        terminal.line(format!(
            "{} smaller groups are not shown; --limit shows more, --out writes all",
            report.groups - report.largest.len()
        ))?;
    }
    let how = match report.recall {
        None => "no pair missed".to_owned(),
        Some(recall) => format!("{:.1} % of the pairs found, measured on a sample", recall * 100.0),
    };
    if report.groups == 0 {
        return terminal.line(format!(
            "no near-duplicates among {} documents at cosine {} ({how})",
            report.documents, report.threshold
        ));
    }
    terminal.line(format!(
        "{} at cosine {}: {} of {} documents are redundant, {} of them exact copies ({how})",
        if report.groups == 1 { "1 group".to_owned() } else { format!("{} groups", report.groups) },
        report.threshold,
        report.redundant,
        report.documents,
        report.exact_copies
    ))
}

/// `text` from shortly before the place where it begins to differ from `kept`: the beginning that both share says nothing
/// about what differs.
fn from_difference(kept: &str, text: &str) -> String {
    /// Characters of the shared beginning that are shown.
    const BEFORE: usize = 30;
    let same = kept.chars().zip(text.chars()).take_while(|(a, b)| a == b).count();
    if same <= BEFORE || same == text.chars().count() {
        return text.to_owned();
    }
    let rest: String = text.chars().skip(same - BEFORE).collect();
    // The word that is cut in two goes.
    format!("…{}", rest.find(' ').map_or(rest.as_str(), |space| &rest[space..]))
}

#[cfg(test)]
mod tests {
    use super::from_difference;

    #[test]
    fn a_near_duplicate_is_shown_from_where_it_differs() {
        let kept = "These crisps are light and my whole family likes the blueberry ones";
        let text = "These crisps are light and my whole family likes the strawberry ones";
        assert_eq!(from_difference(kept, text), "… my whole family likes the strawberry ones");
        assert_eq!(from_difference(kept, "Something else"), "Something else");
        assert_eq!(from_difference(kept, kept), kept);
        assert_eq!(from_difference("水".repeat(50).as_str(), &"水".repeat(60)), format!("…{}", "水".repeat(40)));
    }
}
