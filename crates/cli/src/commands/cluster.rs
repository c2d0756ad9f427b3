//! `anser cluster`: groups of documents that mean similar things.

use std::path::PathBuf;

use anser_engine::cluster::{ClusterOptions, ClusterReport, TableFormat, write_assignments, write_map};
use anser_index::analysis::ClusterCount;
use clap::Args;

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{Terminal, snippet};

/// Characters of a typical document in the table.
const SNIPPET: usize = 110;
/// Numbers of clusters tried when none is given.
const AUTO_RANGE: (usize, usize) = (2, 20);

/// Arguments of `anser cluster`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser cluster reviews\n  anser cluster reviews --k 8 --map map.svg --out clusters.parquet\n  anser cluster reviews --k 8 --json\n\nWithout --k the number of clusters with the best silhouette is taken and stated."
)]
pub(crate) struct ClusterArgs {
    /// Collection to cluster
    collection: String,
    /// Number of clusters [default: chosen by silhouette]
    #[arg(long, value_name = "N")]
    k: Option<usize>,
    /// Write every document's cluster: .parquet, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a map of the documents as SVG
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Typical documents shown for each cluster
    #[arg(long, default_value_t = 2, value_name = "N")]
    examples: usize,
    /// Keywords shown for each cluster
    #[arg(long, default_value_t = 6, value_name = "N")]
    keywords: usize,
    /// Same seed, same clusters
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

impl ClusterArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        if let Some(path) = &self.out {
            // A name that cannot be written is refused before the work, not after it.
            TableFormat::of(path)?;
        }
        let progress = terminal.progress();
        let engine = compose::engine(settings, progress.clone())?;
        let cancel = interrupt::cancel_on_interrupt();
        let report = engine.cluster(&self.collection, &self.request(), progress.as_ref(), &cancel)?;
        if let Some(path) = &self.out {
            write_assignments(&report, path)?;
        }
        if let Some(path) = &self.map {
            write_map(&report, path)?;
        }
        if terminal.is_json() {
            return terminal.json(&report);
        }
        print_report(terminal, &report)?;
        for path in self.out.iter().chain(&self.map) {
            terminal.line(format!("wrote {}", path.display()))?;
        }
        Ok(())
    }

    fn request(&self) -> ClusterOptions {
        let (min, max) = AUTO_RANGE;
        ClusterOptions {
            count: self.k.map_or(ClusterCount::Auto { min, max }, ClusterCount::Fixed),
            seed: self.seed,
            examples: self.examples,
            keywords: self.keywords,
        }
    }
}

/// Prints the table of clusters.
pub(crate) fn print_report(terminal: &Terminal, report: &ClusterReport) -> Result<(), Failure> {
    let rows = report.clusters.iter().map(|cluster| {
        let typical = cluster.typical.iter().map(|d| format!("{}: {}", d.id, snippet(&d.text, SNIPPET)));
        [
            cluster.cluster.to_string(),
            format!("{} ({:.0} %)", cluster.size, cluster.share * 100.0),
            format!("{:.2}", cluster.cohesion),
            cluster.keywords.iter().map(|k| k.term.as_str()).collect::<Vec<_>>().join(", "),
            typical.collect::<Vec<_>>().join("\n"),
        ]
    });
    terminal.table(["cluster", "documents", "cohesion", "keywords", "typical"], rows.collect())?;
    let silhouette = report.silhouette.map_or_else(String::new, |s| format!(", silhouette {s:.3}"));
    terminal.line(format!("{} documents in {} clusters{silhouette} ({})", report.documents, report.k, report.criterion))
}
