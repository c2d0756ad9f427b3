//! `anser map`: a picture of documents in which those that mean similar things lie together.

use std::path::{Path, PathBuf};

use anser_engine::projection::{BY_CLUSTER, ProjectionMethod, ProjectionOptions, ProjectionReport};
use anser_engine::{Analysis, EngineError};
use clap::{Args, ValueEnum};

use super::analysis::{self, SourceArgs};
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Arguments of `anser map`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser map reviews\n  anser map reviews.csv --color-by score --out map.png\n  anser map reviews --color-by cluster --k 8 --out map.html --out map.svg --table points.parquet\n\nThe .html map opens in any browser and needs no network: move, zoom, point at documents, search, turn groups off.\nThe .svg and .png maps are for documents and slides."
)]
pub(crate) struct MapArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// How places are found: tsne puts near documents together, pca keeps all distances to scale
    #[arg(long, value_enum, default_value_t = Method::Tsne)]
    method: Method,
    /// What the colours mean: cluster, the name of an attribute, or none
    #[arg(long, visible_alias = "colour-by", value_name = "ATTRIBUTE", default_value = BY_CLUSTER)]
    color_by: String,
    /// Number of clusters to colour by [default: chosen by silhouette]
    #[arg(long, value_name = "N")]
    k: Option<usize>,
    /// For t-SNE: about how many neighbours each document is kept near to
    #[arg(long, default_value_t = 30.0, value_name = "N")]
    perplexity: f32,
    /// Where to write the map: a name in .html, .svg or .png; may be given several times [default: map.html]
    #[arg(long, value_name = "FILE")]
    out: Vec<PathBuf>,
    /// Write every document's place: .parquet, .arrow, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Same seed, same map
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// How places are found.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    Tsne,
    Pca,
}

impl MapArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let wanted = match &self.out[..] {
            // Nothing is written for a job that is left to a server.
            [] if !self.source.is_detached() => vec![PathBuf::from(PAGE)],
            given => given.to_vec(),
        };
        let pictures = wanted.iter().map(|path| picture(path)).collect::<Result<Vec<_>, _>>()?;
        analysis::check_outputs(&self.source, &self.table, &wanted)?;
        let finished = analysis::run(settings, terminal, &self.source, Analysis::Projection(self.options()))?;
        for (name, path) in pictures.into_iter().zip(&wanted) {
            finished.write_file(name, path)?;
        }
        if let Some(path) = &self.table {
            finished.write_table("documents", path)?;
        }
        let report: ProjectionReport = finished.report()?;
        if terminal.is_json() {
            return terminal.json(&report);
        }
        print(terminal, &report)?;
        for path in wanted.iter().chain(&self.table) {
            terminal.line(format!("wrote {}", path.display()))?;
        }
        match wanted.iter().find(|path| matches!(picture(path), Ok(PAGE))) {
            Some(page) => terminal.line(format!("Open {} in a browser.", page.display())),
            None => Ok(()),
        }
    }

    fn options(&self) -> ProjectionOptions {
        ProjectionOptions {
            method: match self.method {
                Method::Tsne => ProjectionMethod::Tsne,
                Method::Pca => ProjectionMethod::Pca,
            },
            perplexity: self.perplexity,
            colour_by: (self.color_by != "none").then(|| self.color_by.clone()),
            k: self.k,
            seed: self.seed,
            ..ProjectionOptions::default()
        }
    }
}

/// Result file of the explorable map.
const PAGE: &str = "map.html";

/// The result file that the name of `path` asks for.
fn picture(path: &Path) -> Result<&'static str, Failure> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "html" | "htm" => Ok(PAGE),
        "svg" => Ok("map.svg"),
        "png" => Ok("map.png"),
        _ => {
            let message = format!(
                "cannot tell what kind of map {} should be; end its name in .html, .svg or .png",
                path.display()
            );
            Err(EngineError::invalid("out", message).into())
        }
    }
}

fn print(terminal: &Terminal, report: &ProjectionReport) -> Result<(), Failure> {
    if let Some(by) = &report.coloured_by {
        if !by.groups.is_empty() {
            let rows = by.groups.iter().map(|group| [group.label.clone(), group.documents.to_string()]);
            terminal.table([by.name.as_str(), "documents"], rows.collect())?;
        }
        if let Some([low, high]) = by.scale {
            terminal.line(format!("coloured by {}, {low} to {high}", by.name))?;
        }
        if by.missing > 0 {
            terminal.line(format!("{} documents have no {}", by.missing, by.name))?;
        }
        if let Some(how) = &by.how {
            terminal.line(format!("{}: {how}", by.name))?;
        }
    }
    let how = match &report.tsne {
        Some(tsne) if tsne.laid_out < report.documents => {
            format!("t-SNE of {} documents, the others beside their nearest", tsne.laid_out)
        }
        Some(tsne) => format!("t-SNE, perplexity {:.0}", tsne.perplexity),
        None => {
            let [x, y] = report.explained_variance.map(|share| share * 100.0);
            format!("principal components, {x:.1} % and {y:.1} % of the variance")
        }
    };
    let trust = match (report.trustworthiness, report.pca_trustworthiness, &report.tsne) {
        (Some(own), Some(pca), Some(_)) => format!(", trustworthiness {own:.3} (principal components: {pca:.3})"),
        (Some(own), _, _) => format!(", trustworthiness {own:.3}"),
        _ => String::new(),
    };
    let s = if report.documents == 1 { "" } else { "s" };
    terminal.line(format!("{} document{s}: {how}{trust}", report.documents))
}
