//! `anser diversity`: how varied documents are, and whether one choice of them is more so than another.

use std::path::PathBuf;

use anser_engine::diversity::{DiversityOptions, DiversityReport, Interval, SubsetDiversity};
use anser_engine::{Analysis, AnalysisRequest, AnalysisSource};
use clap::Args;

use super::analysis::{SourceArgs, check_outputs, parse_condition, run_over};
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Clusters named that a subset does not touch.
const NAMED_CLUSTERS: usize = 6;

/// Arguments of `anser diversity`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser diversity reviews\n  anser diversity reviews --where 'Score = 5' --compare 'Score <= 2'\n  anser diversity generated.jsonl --text-field prompt --out diversity.parquet\n\nmean distance: mean of 1 - cosine over all pairs; does not depend on how many documents there are.\nvendi: as varied as this many documents that have nothing in common; grows with the number of documents, so a\n  comparison also gives it for draws of equal size.\nclusters: how many of the clusters of all documents are touched, beside what a random draw of as many would touch (by\n  chance), and how many they amount to when few clusters have most documents (effective).\n--where and --compare choose documents; clusters are always made of all documents of the source."
)]
pub(crate) struct DiversityArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Compare with the documents for which this holds
    #[arg(long, value_name = "CONDITION")]
    compare: Option<String>,
    /// Clusters that coverage is measured by [default: square root of half the documents, 2 to 100]
    #[arg(long, value_name = "N")]
    clusters: Option<usize>,
    /// Bootstrap resamples behind the intervals
    #[arg(long, default_value_t = DiversityOptions::default().resamples, value_name = "N")]
    resamples: usize,
    /// Write all documents with cluster and mean distance: .parquet, .arrow, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Same seed, same figures
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

impl DiversityArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        check_outputs(&self.source, &self.out, None)?;
        let mut source = self.source.source()?;
        // The condition chooses what is measured; clusters are made of everything.
        let subset = match &mut source {
            AnalysisSource::Collection { filter, .. }
            | AnalysisSource::Path { filter, .. }
            | AnalysisSource::Upload { filter, .. } => filter.take(),
        };
        let compare = self.compare.as_deref().map(parse_condition).transpose()?;
        let (clusters, resamples, seed) = (self.clusters, self.resamples, self.seed);
        let options = DiversityOptions { subset, compare, clusters, resamples, seed };
        let engine = compose::engine(settings, terminal.progress())?;
        let request = AnalysisRequest { source, analysis: Analysis::Diversity(options) };
        let finished = run_over(engine, terminal, &self.source, &request)?;
        let report: DiversityReport = finished.report()?;
        if let Some(path) = &self.out {
            finished.write_table("documents", path)?;
        }
        if terminal.is_json() {
            return terminal.json(&report);
        }
        print(terminal, &report)?;
        match &self.out {
            Some(path) => terminal.line(format!("wrote {}", path.display())),
            None => Ok(()),
        }
    }
}

fn print(terminal: &Terminal, report: &DiversityReport) -> Result<(), Failure> {
    let first = name(&report.subset);
    let mut rows = vec![row(&report.subset)];
    rows.extend(report.compare.as_ref().map(row));
    let header =
        ["documents", "number", "mean distance", "95 % interval", "vendi", "clusters", "by chance", "effective"];
    terminal.table(header, rows)?;
    missing(terminal, report, &first, |cluster| cluster.subset)?;
    let Some((comparison, compare)) = report.comparison.as_ref().zip(report.compare.as_ref()) else { return Ok(()) };
    let condition = name(compare);
    missing(terminal, report, &condition, |cluster| cluster.compare.unwrap_or_default())?;
    let verdict = match (comparison.mean_distance_interval, comparison.significant) {
        (None, _) => "too few documents to tell whether that is chance".to_owned(),
        (Some(interval), false) => format!("95 % interval {}: may be chance", signed(interval)),
        (Some(interval), true) => {
            let more = if comparison.mean_distance > 0.0 { "more" } else { "less" };
            format!("95 % interval {}: {condition} is {more} varied", signed(interval))
        }
    };
    terminal.line(format!("difference of mean distance: {:+.3} ({verdict})", comparison.mean_distance))?;
    let equal = &comparison.vendi_at_equal_size;
    terminal.line(format!(
        "vendi of {} documents drawn from each: {:.1} against {:.1}",
        equal.documents, equal.subset, equal.compare
    ))?;
    if comparison.overlap > 0 {
        terminal.line(format!(
            "{} documents are in both, which makes the interval wider than it need be",
            comparison.overlap
        ))?;
    }
    Ok(())
}

/// What chose some documents.
fn name(side: &SubsetDiversity) -> String {
    side.filter.as_ref().map_or_else(|| "all documents".to_owned(), ToString::to_string)
}

fn row(side: &SubsetDiversity) -> [String; 8] {
    let interval = side.mean_distance_interval;
    [
        name(side),
        side.documents.to_string(),
        format!("{:.3}", side.mean_distance),
        interval.map_or_else(|| "too few".to_owned(), |i| format!("{:.3} to {:.3}", i.low, i.high)),
        format!("{:.1}", side.vendi),
        format!("{} of {}", side.coverage.covered, side.coverage.clusters),
        format!("{:.1}", side.coverage.expected),
        format!("{:.1}", side.coverage.effective),
    ]
}

fn signed(interval: Interval) -> String {
    format!("{:+.3} to {:+.3}", interval.low, interval.high)
}

/// Names the largest clusters that some documents do not touch.
fn missing(
    terminal: &Terminal,
    report: &DiversityReport,
    name: &str,
    count: impl Fn(&anser_engine::diversity::ClusterCoverage) -> usize,
) -> Result<(), Failure> {
    let missing: Vec<_> = report.clusters.iter().filter(|cluster| count(cluster) == 0).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<String> =
        missing.iter().take(NAMED_CLUSTERS).map(|c| format!("{} ({})", c.label, c.documents)).collect();
    let more = missing.len() - named.len();
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    terminal.line(format!("not touched by {name}: {}{rest}", named.join("; ")))
}
