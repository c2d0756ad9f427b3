//! `anser cluster`: groups of documents that mean similar things.

mod show;
mod tree;

use std::path::PathBuf;

use anser_engine::cluster::{ClusterAlgorithm, ClusterOptions, ClusterProjection, ClusterReport};
use anser_engine::{Analysis, EngineError};
use clap::{Args, ValueEnum};

use super::analysis::{self, SourceArgs};
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;
pub(super) use show::print_report;

/// Arguments of `anser cluster`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser cluster reviews\n  anser cluster reviews.csv --text-field Text --k 8 --map map.html --out clusters.parquet\n  anser cluster reviews --where \"score <= 2\" --attributes score,product --tree\n  anser cluster reviews --algorithm hdbscan --min-cluster-size 20\n  anser cluster reviews --k 8 --name-with SmolLM2-135M-Instruct\n  anser cluster new.csv --assign job-0198… --out assigned.csv\n\nWithout --k the number of clusters with the best silhouette is taken and stated.\nNo document is left out unless --noise-below or --algorithm hdbscan asks for it; such documents are labelled \"noise\"."
)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// How groups are found
    #[arg(long, value_enum, default_value_t)]
    algorithm: Algorithm,
    /// Number of clusters [default: chosen by silhouette]
    #[arg(long, value_name = "N")]
    k: Option<usize>,
    /// Fewest clusters tried without --k [default: 2]
    #[arg(long, value_name = "N")]
    k_min: Option<usize>,
    /// Most clusters tried without --k [default: 20]
    #[arg(long, value_name = "N")]
    k_max: Option<usize>,
    /// Call documents noise whose cosine with their centroid is below this
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true)]
    noise_below: Option<f32>,
    /// With hdbscan: fewest documents of a cluster [default: 10]
    #[arg(long, value_name = "N")]
    min_cluster_size: Option<usize>,
    /// With hdbscan: neighbours that make a place dense; more make more noise [default: as --min-cluster-size]
    #[arg(long, value_name = "N")]
    min_samples: Option<usize>,
    /// Attributes to show for each cluster [default: all numbers, and texts with few different values]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    attributes: Vec<String>,
    /// Attribute with the true class, to measure the clusters against
    #[arg(long, value_name = "ATTRIBUTE")]
    truth: Option<String>,
    /// Chat model that writes the names of clusters [default: names are keywords]
    #[arg(long, value_name = "MODEL")]
    name_with: Option<String>,
    /// Put the documents into the clusters of an earlier clustering instead of making new ones
    #[arg(long, value_name = "JOB")]
    assign: Option<String>,
    /// Write every document's cluster: .parquet, .arrow, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a map of the documents: .svg, .png or .html; may be given several times
    #[arg(long, value_name = "FILE")]
    map: Vec<PathBuf>,
    /// How the map is laid out
    #[arg(long, value_enum, default_value_t)]
    projection: Projection,
    /// Show which clusters are like each other
    #[arg(long)]
    tree: bool,
    /// Typical documents shown for each cluster
    #[arg(long, default_value_t = 2, value_name = "N")]
    examples: usize,
    /// Documents at the border of each cluster that are shown
    #[arg(long, default_value_t = 0, value_name = "N")]
    borderline: usize,
    /// Keywords shown for each cluster
    #[arg(long, default_value_t = 6, value_name = "N")]
    keywords: usize,
    /// Runs with other seeds that show how far the clusters can be believed; 0 for none
    #[arg(long, default_value_t = 5, value_name = "N")]
    stability_runs: usize,
    /// Same seed, same clusters
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// How groups are found.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Algorithm {
    /// Spherical k-means
    #[default]
    Kmeans,
    /// Dense places; the rest is noise
    Hdbscan,
}

/// How the map is laid out.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Projection {
    /// The two directions of largest variance
    #[default]
    Pca,
    /// Near documents stay near
    Tsne,
}

impl ClusterArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        analysis::check_outputs(&self.source, &self.out, &self.map)?;
        let maps: Vec<(&PathBuf, &str)> =
            self.map.iter().map(|path| Ok((path, map_file(path)?))).collect::<Result<_, Failure>>()?;
        let done = analysis::run(settings, terminal, &self.source, Analysis::Cluster(self.options()))?;
        let report: ClusterReport = done.report()?;
        if let Some(path) = &self.out {
            done.write_table("documents", path)?;
        }
        for (path, name) in maps {
            done.write_file(name, path)?;
        }
        if terminal.is_json() {
            return terminal.json(&report);
        }
        print_report(terminal, &report)?;
        if self.tree {
            show::print_tree(terminal, &report)?;
        }
        for path in self.out.iter().chain(&self.map) {
            terminal.line(format!("wrote {}", path.display()))?;
        }
        show::print_next(terminal, settings, &done.job.id, self.map.is_empty())
    }

    fn options(&self) -> ClusterOptions {
        ClusterOptions {
            algorithm: match self.algorithm {
                Algorithm::Kmeans => ClusterAlgorithm::KMeans,
                Algorithm::Hdbscan => ClusterAlgorithm::Hdbscan,
            },
            k: self.k,
            k_min: self.k_min,
            k_max: self.k_max,
            noise_below: self.noise_below,
            min_cluster_size: self.min_cluster_size,
            min_samples: self.min_samples,
            seed: self.seed,
            examples: self.examples,
            borderline: self.borderline,
            keywords: self.keywords,
            attributes: self.attributes.clone(),
            truth: self.truth.clone(),
            name_with: self.name_with.clone(),
            stability_runs: self.stability_runs,
            projection: match self.projection {
                Projection::Pca => ClusterProjection::Pca,
                Projection::Tsne => ClusterProjection::Tsne,
            },
            assign: self.assign.clone(),
        }
    }
}

/// The job's file that is to be copied to `path`.
fn map_file(path: &std::path::Path) -> Result<&'static str, Failure> {
    match path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("svg") => Ok("map.svg"),
        Some("png") => Ok("map.png"),
        Some("html" | "htm") => Ok("map.html"),
        _ => {
            let message = format!(
                "cannot tell what kind of picture {} should be; end its name in .svg, .png or .html",
                path.display()
            );
            Err(EngineError::invalid("map", message).into())
        }
    }
}
