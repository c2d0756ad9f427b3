//! A clustering as people read it.

use std::collections::BTreeSet;

use anser_core::DocumentId;
use anser_engine::cluster::{AttributeSummary, ClusterReport, ClusterSummary};

use super::tree;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, snippet};

/// Characters of a document in the table.
const SNIPPET: usize = 90;
/// Characters of a document's id; ids made of the content are long, and whole in every file.
const ID: usize = 12;
/// Attributes shown for each cluster.
const ATTRIBUTES: usize = 4;
/// Values shown of an attribute without numbers.
const VALUES: usize = 2;
/// Where names made of keywords are from.
const BY_KEYWORDS: &str = "keywords";

/// Prints the table of clusters and how far they can be believed.
pub(in crate::commands) fn print_report(terminal: &Terminal, report: &ClusterReport) -> Result<(), Failure> {
    let told = telling(report);
    let shown: Vec<&ClusterSummary> = report.clusters.iter().filter(|cluster| cluster.size > 0).collect();
    let cells = |cluster: &ClusterSummary| {
        [
            cluster.cluster.to_string(),
            format!("{} ({:.0} %)", cluster.size, cluster.share * 100.0),
            cluster.cohesion.map_or_else(String::new, |cohesion| format!("{cohesion:.2}")),
            about(cluster),
        ]
    };
    if told.is_empty() {
        let rows = shown.iter().map(|cluster| {
            let [number, documents, cohesion, about] = cells(cluster);
            [number, documents, cohesion, about, examples(cluster)]
        });
        terminal.table(["cluster", "documents", "cohesion", "about", "typical"], rows.collect())?;
    } else {
        let rows = shown.iter().map(|cluster| {
            let [number, documents, cohesion, about] = cells(cluster);
            [number, documents, cohesion, about, attributes(cluster, &told), examples(cluster)]
        });
        let header = ["cluster", "documents", "cohesion", "about", "attributes", "typical"];
        terminal.table(header, rows.collect())?;
    }
    print_summary(terminal, report)
}

/// The name, when somebody wrote one, and the keywords.
fn about(cluster: &ClusterSummary) -> String {
    let keywords = cluster.keywords.iter().map(|k| k.term.as_str()).collect::<Vec<_>>().join(", ");
    match (cluster.named_by.as_str(), keywords.is_empty()) {
        (BY_KEYWORDS, false) => keywords,
        (_, true) => cluster.label.clone(),
        _ => format!("{}\n{keywords}", cluster.label),
    }
}

/// The first attributes that do not look the same in every cluster.
fn telling(report: &ClusterReport) -> Vec<&str> {
    let names: BTreeSet<&str> = report.clusters.iter().flat_map(|c| c.attributes.keys().map(String::as_str)).collect();
    let differs = |name: &&str| {
        let of = |cluster: &ClusterSummary| cluster.attributes.get(*name).and_then(attribute);
        let looks: BTreeSet<Option<String>> = report.clusters.iter().filter(|c| c.size > 0).map(of).collect();
        looks.len() > 1 || report.k == 1
    };
    names.into_iter().filter(differs).take(ATTRIBUTES).collect()
}

fn attributes(cluster: &ClusterSummary, told: &[&str]) -> String {
    let shown = told.iter().filter_map(|name| Some(format!("{name} {}", attribute(cluster.attributes.get(*name)?)?)));
    shown.collect::<Vec<_>>().join("\n")
}

/// The mean of numbers, or the most frequent values.
fn attribute(summary: &AttributeSummary) -> Option<String> {
    if let Some(mean) = summary.mean {
        return Some(number(mean));
    }
    let values = summary.values.iter().take(VALUES);
    let values: Vec<String> = values.map(|v| format!("{} {:.0} %", snippet(&v.value, 24), v.share * 100.0)).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Three digits that say something, without an exponent where people do not expect one.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(0.001..1e9).contains(&size) => format!("{value:.2e}"),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size < 1.0 => format!("{value:.3}"),
        _ => format!("{value:.2}"),
    }
}

fn examples(cluster: &ClusterSummary) -> String {
    let typical = cluster.typical.iter().map(|d| format!("{}: {}", id(&d.id), snippet(&d.text, SNIPPET)));
    let borderline = cluster
        .borderline
        .iter()
        .map(|d| format!("near {} (margin {:.2}), {}: {}", d.other, d.margin, id(&d.id), snippet(&d.text, SNIPPET)));
    typical.chain(borderline).collect::<Vec<_>>().join("\n")
}

fn id(id: &DocumentId) -> String {
    snippet(id.as_str(), ID)
}

fn print_summary(terminal: &Terminal, report: &ClusterReport) -> Result<(), Failure> {
    let noise = match report.noise {
        0 => String::new(),
        noise => format!(", {noise} ({:.0} %) are noise", report.noise_share * 100.0),
    };
    let s = if report.k == 1 { "" } else { "s" };
    // A number of clusters that was chosen comes with its silhouette in the criterion.
    let silhouette = report.silhouette.filter(|_| report.scores.is_empty());
    let silhouette = silhouette.map_or_else(String::new, |s| format!(", silhouette {s:.3}"));
    terminal.line(format!(
        "{} documents in {} cluster{s}{noise}{silhouette} ({})",
        report.documents, report.k, report.criterion
    ))?;
    match report.clusters.iter().filter(|cluster| cluster.size == 0).count() {
        0 => {}
        empty => terminal.line(format!("{empty} of these clusters got no document and are left out above"))?,
    }
    if let Some(stability) = &report.stability {
        terminal.line(format!(
            "{} runs agree at {:.2} (adjusted Rand): {}",
            stability.runs, stability.mean_adjusted_rand, stability.verdict
        ))?;
    }
    if !report.converged {
        terminal.line("the clusters had not come to rest when the last round was over")?;
    }
    if let Some(truth) = &report.truth {
        terminal.line(format!(
            "against {} ({} classes, {} documents): v-measure {:.3}, homogeneity {:.3}, completeness {:.3}, NMI {:.3}, \
             adjusted Rand {:.3}",
            truth.attribute,
            truth.classes,
            truth.documents,
            truth.v_measure,
            truth.homogeneity,
            truth.completeness,
            truth.normalized_mutual_information,
            truth.adjusted_rand
        ))?;
    }
    for note in &report.notes {
        terminal.line(format!("note: {note}"))?;
    }
    Ok(())
}

/// Prints which clusters are like each other.
pub(super) fn print_tree(terminal: &Terminal, report: &ClusterReport) -> Result<(), Failure> {
    let lines = tree::lines(report);
    if report.merges.is_empty() {
        return terminal.line("a single cluster has no tree");
    }
    terminal.line("\nclusters that are like each other, with the cosine of the groups that meet:")?;
    lines.iter().try_for_each(|line| terminal.line(format!("  {line}")))?;
    terminal.line("")
}

/// Prints what can be done next.
pub(super) fn print_next(terminal: &Terminal, settings: &Settings, job: &str, mapless: bool) -> Result<(), Failure> {
    let folder =
        if settings.data_dir_given { format!(" --data-dir {}", settings.data_dir.display()) } else { String::new() };
    let map = if mapless { "a map with --map map.html; " } else { "" };
    terminal.line(terminal.dim(&format!(
        "kept as {job}: {map}put other documents into these clusters with anser{folder} cluster SOURCE --assign {job}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [4.128_4, 0.5, 12_345.6, 0.0, 0.000_01, 3e12].map(number);
        assert_eq!(shown, ["4.13", "0.500", "12346", "0", "1.00e-5", "3.00e12"]);
    }
}
