//! `anser eval clusters`: clusters against known labels, over several seeds.

use anser_engine::{Analysis, ClusterEvaluation, ClusterEvaluationOptions};
use clap::Args;

use crate::commands::analysis::{self, SourceArgs};
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Arguments of `anser eval clusters`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser eval clusters labelled.csv --text-field text --truth category\n  anser eval clusters reviews --truth score --k 10 --seeds 20 --json"
)]
pub(crate) struct ClustersArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Attribute or column that holds the label
    #[arg(long, value_name = "ATTRIBUTE")]
    truth: String,
    /// Number of clusters [default: as many as labels]
    #[arg(long, value_name = "N")]
    k: Option<usize>,
    /// Runs with different seeds
    #[arg(long, default_value_t = 10, value_name = "N")]
    seeds: u64,
}

impl ClustersArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let options = ClusterEvaluationOptions { truth: self.truth.clone(), k: self.k, seeds: self.seeds };
        let finished = analysis::run(settings, terminal, &self.source, Analysis::EvaluateClusters(options))?;
        let found: ClusterEvaluation = finished.report()?;
        if terminal.is_json() {
            return terminal.json(&found);
        }
        let rows = found.runs.iter().map(|run| {
            [
                run.seed.to_string(),
                format!("{:.4}", run.v_measure),
                format!("{:.4}", run.homogeneity),
                format!("{:.4}", run.completeness),
                format!("{:.4}", run.adjusted_rand),
                format!("{:.1}", run.seconds),
            ]
        });
        let header = ["seed", "v-measure", "homogeneity", "completeness", "adjusted Rand", "seconds"];
        terminal.table(header, rows.collect())?;
        let left_out =
            if found.left_out == 0 { String::new() } else { format!(", {} without a label", found.left_out) };
        terminal.line(format!(
            "v-measure {:.4} ± {:.4} (mean and standard deviation of {} seeds): {} documents of {} labels in {} clusters{left_out}",
            found.mean_v_measure,
            found.sd_v_measure,
            found.runs.len(),
            found.documents,
            found.classes,
            found.k
        ))
    }
}
