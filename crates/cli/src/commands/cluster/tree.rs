//! The tree of merges as indented lines.

use anser_engine::cluster::{ClusterMerge, ClusterReport};

/// Characters of a cluster's name.
const NAME: usize = 60;

/// The merges as lines, the last merge at the top, each group below the one it is part of, larger groups first.
pub(super) fn lines(report: &ClusterReport) -> Vec<String> {
    let mut lines = Vec::new();
    let roots = roots(report);
    // Every node is visited once, whatever the report holds.
    let mut waiting: Vec<(usize, String, String)> =
        roots.into_iter().rev().map(|node| (node, String::new(), String::new())).collect();
    let mut left = report.clusters.len() + report.merges.len();
    while let Some((node, before, below)) = waiting.pop() {
        if left == 0 {
            break;
        }
        left -= 1;
        match step(report, node) {
            None => lines.push(format!("{before}{}", leaf(report, node))),
            Some(merge) => {
                lines.push(format!("{before}{:.2}  {} documents", merge.similarity, merge.size));
                let mut parts = [merge.left, merge.right];
                parts.sort_by_key(|part| std::cmp::Reverse(size(report, *part)));
                let [first, last] = parts;
                waiting.push((last, format!("{below}└─ "), format!("{below}   ")));
                waiting.push((first, format!("{below}├─ "), format!("{below}│  ")));
            }
        }
    }
    lines
}

fn step(report: &ClusterReport, node: usize) -> Option<&ClusterMerge> {
    node.checked_sub(report.clusters.len()).and_then(|at| report.merges.get(at))
}

/// Nodes that are part of no other: one, when the merges are whole.
fn roots(report: &ClusterReport) -> Vec<usize> {
    let nodes = report.clusters.len() + report.merges.len();
    let mut part = vec![false; nodes];
    for child in report.merges.iter().flat_map(|merge| [merge.left, merge.right]) {
        if let Some(part) = part.get_mut(child) {
            *part = true;
        }
    }
    (0..nodes).filter(|&node| !part[node]).collect()
}

fn size(report: &ClusterReport, node: usize) -> usize {
    match step(report, node) {
        Some(merge) => merge.size,
        None => report.clusters.get(node).map_or(0, |cluster| cluster.size),
    }
}

fn leaf(report: &ClusterReport, node: usize) -> String {
    report.clusters.get(node).map_or_else(String::new, |cluster| {
        let name = crate::terminal::snippet(&cluster.label, NAME);
        format!("{} {name} ({})", cluster.cluster, cluster.size)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tree_shows_which_clusters_belong_together() {
        let cluster = |cluster: u32, label: &str, size: usize| {
            json!({"cluster": cluster, "label": label, "named_by": "keywords", "size": size, "share": 0.1, "cohesion": 0.5,
                "keywords": [], "typical": [], "borderline": [], "attributes": {}})
        };
        let report: ClusterReport = serde_json::from_value(json!({
            "source": "s", "algorithm": "kmeans", "seed": 1, "documents": 60, "k": 3, "criterion": "given", "scores": [],
            "embedder": {"model": "m", "dimension": 4, "max_tokens": 8, "fingerprint": "f"},
            "silhouette": 0.5, "converged": true, "noise": 0, "noise_share": 0.0, "stability": null,
            "clusters": [cluster(0, "coffee", 30), cluster(1, "dogs", 20), cluster(2, "tea", 10)],
            "merges": [{"left": 0, "right": 2, "similarity": 0.8, "size": 40},
                {"left": 1, "right": 3, "similarity": 0.25, "size": 60}],
            "projection": "pca", "explained_variance": null
        }))
        .unwrap();
        let expected = [
            "0.25  60 documents",
            "├─ 0.80  40 documents",
            "│  ├─ 0 coffee (30)",
            "│  └─ 2 tea (10)",
            "└─ 1 dogs (20)",
        ];
        assert_eq!(lines(&report), expected);
        let mut broken = report;
        broken.merges[0].left = 4;
        assert!(lines(&broken).len() <= 5, "a report that makes no sense ends too");
    }
}
