//! `anser outliers`: the documents that are most unlike the others, each with reasons.

use std::path::PathBuf;

use anser_engine::Analysis;
use anser_engine::outliers::{OutlierMethod, OutlierOptions, OutlierReport, ShownDocument};
use clap::{Args, ValueEnum};

use super::analysis::{SourceArgs, check_outputs, check_pictures, run};
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, snippet};

/// Characters of a document, and of the one nearest to it, in the table.
const SNIPPET: usize = 160;
const NEAR_SNIPPET: usize = 90;

/// Arguments of `anser outliers`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser outliers reviews\n  anser outliers reviews --where 'Score = 5' --limit 50\n  anser outliers tickets.csv --text-field body --method knn_distance\n  anser outliers reviews --out outliers.csv --plot scores.svg\n\nThe local outlier factor (lof) is about 1 for a document that is as near to its neighbours as they are to theirs.\nDistances are 1 - cosine: 0 for the same text, about 1 for texts that have nothing to do with each other."
)]
pub(crate) struct OutliersArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Neighbours that a document is compared with
    #[arg(long, default_value_t = 20, value_name = "N")]
    k: usize,
    /// What ranks the documents
    #[arg(long, value_enum, default_value = "lof")]
    method: Method,
    /// Documents shown
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// Write all documents with rank, scores and nearest document: .parquet, .arrow, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a picture of how the scores are distributed, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Same seed, same ranks
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// What ranks the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Local outlier factor: how much farther a document is from its neighbours than they are from theirs
    Lof,
    /// Cosine distance to the k-th nearest document
    #[value(name = "knn_distance")]
    KnnDistance,
}

impl OutliersArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        check_outputs(&self.source, &self.out, &self.plot)?;
        check_pictures(&self.plot)?;
        let method = match self.method {
            Method::Lof => OutlierMethod::Lof,
            Method::KnnDistance => OutlierMethod::KnnDistance,
        };
        let options = OutlierOptions { k: self.k, method, limit: self.limit, seed: self.seed };
        let finished = run(settings, terminal, &self.source, Analysis::Outliers(options))?;
        let report: OutlierReport = finished.report()?;
        if let Some(path) = &self.out {
            finished.write_table("documents", path)?;
        }
        if let Some(path) = &self.plot {
            finished.write_file("scores.svg", path)?;
        }
        if terminal.is_json() {
            return terminal.json(&report);
        }
        print(terminal, &report)?;
        for path in self.out.iter().chain(&self.plot) {
            terminal.line(format!("wrote {}", path.display()))?;
        }
        Ok(())
    }
}

fn print(terminal: &Terminal, report: &OutlierReport) -> Result<(), Failure> {
    let rows = report.ranked.iter().map(|outlier| {
        let nearest = outlier.neighbours.first();
        [
            if outlier.outlier { format!("{}*", outlier.rank) } else { outlier.rank.to_string() },
            format!("{:.2}", outlier.lof),
            format!("{:.2}", outlier.distance),
            format!("{:.2}", outlier.nearest_distance),
            match outlier.copies {
                0 => format!("{}\n{}", snippet(&shown(&outlier.document), SNIPPET), outlier.document.id),
                copies => {
                    let text = snippet(&shown(&outlier.document), SNIPPET);
                    format!("{text}\n{} (copies beside it: {copies})", outlier.document.id)
                }
            },
            nearest.map_or_else(String::new, |near| snippet(&shown(&near.document), NEAR_SNIPPET)),
        ]
    });
    let header = ["rank", "lof", "distance", "nearest", "document", "nearest document"];
    terminal.table(header, rows.collect())?;
    let typical = &report.typical;
    terminal.line(format!(
        "typical: lof {:.2}, distance {:.2} (to neighbour {}), nearest {:.2}",
        typical.lof, typical.distance, report.k, typical.nearest_distance
    ))?;
    let how = match report.recall {
        None => "all pairs compared".to_owned(),
        Some(recall) => format!("approximate neighbours, {:.1} % of the true ones found", recall * 100.0),
    };
    terminal.line(format!(
        "* {} of {} documents stand out: {} above {:.2} ({how})",
        report.outliers,
        report.documents,
        report.method.as_str(),
        report.threshold
    ))
}

/// A document in a table: its title and the beginning of its text.
pub(crate) fn shown(document: &ShownDocument) -> String {
    let title = document.title.as_deref().map_or_else(String::new, |title| format!("{title} · "));
    format!("{title}{}", document.text)
}
