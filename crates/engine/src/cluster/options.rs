//! What is asked of a clustering.

use anser_index::analysis::{ClassTfidf, ClusterCount, HdbscanOptions, KMeansOptions};
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// Numbers of clusters tried when none is given.
const DEFAULT_RANGE: (usize, usize) = (2, 20);

/// Most clusters asked for: beyond, a table of clusters says nothing to a person.
const MOST_CLUSTERS: usize = 10_000;

/// Most documents, or keywords, listed for each cluster.
const MOST_LISTED: usize = 100;

/// Most runs with other seeds.
const MOST_RUNS: usize = 50;

/// How groups are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterAlgorithm {
    /// Spherical k-means: every document goes to the nearest of k centroids.
    #[default]
    KMeans,
    /// HDBSCAN: groups are dense places of any number; documents outside them are noise.
    Hdbscan,
}

/// How the map is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterProjection {
    /// The two directions of largest variance.
    #[default]
    Pca,
    /// t-SNE: near documents stay near, distances between far groups mean little.
    Tsne,
}

/// How to cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterOptions {
    /// How groups are found.
    pub algorithm: ClusterAlgorithm,
    /// How many clusters. Without it the number from `k_min` to `k_max` with the highest mean silhouette is taken, on a
    /// sample of large collections, and stated. For k-means only.
    pub k: Option<usize>,
    /// Fewest clusters tried, 2 unless given.
    pub k_min: Option<usize>,
    /// Most clusters tried, 20 unless given.
    pub k_max: Option<usize>,
    /// Documents whose cosine with their centroid is below this are noise. Without it k-means makes none.
    pub noise_below: Option<f32>,
    /// For HDBSCAN: fewest documents of a cluster, 10 unless given.
    pub min_cluster_size: Option<usize>,
    /// For HDBSCAN: neighbours that must be near for a place to count as dense, `min_cluster_size` unless given. More of
    /// them make more noise.
    pub min_samples: Option<usize>,
    /// Same documents, options and seed: same clusters.
    pub seed: u64,
    /// Most typical documents listed for each cluster.
    pub examples: usize,
    /// Most borderline documents listed for each cluster.
    pub borderline: usize,
    /// Most keywords listed for each cluster.
    pub keywords: usize,
    /// Attributes whose distribution over the clusters is reported; when empty, all numbers, booleans and texts with few
    /// different values.
    pub attributes: Vec<String>,
    /// Attribute that holds the true class of documents, to compare the clusters with.
    pub truth: Option<String>,
    /// Chat model that writes short names of clusters; without one, names are made of keywords.
    pub name_with: Option<String>,
    /// Runs of k-means with other seeds, compared with each other to see how far the clusters can be believed; 0 for none.
    pub stability_runs: usize,
    /// How the map is laid out.
    pub projection: ClusterProjection,
    /// A clustering job whose clusters these documents are assigned to, instead of making new ones.
    pub assign: Option<String>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            algorithm: ClusterAlgorithm::default(),
            k: None,
            k_min: None,
            k_max: None,
            noise_below: None,
            min_cluster_size: None,
            min_samples: None,
            seed: 42,
            examples: 3,
            borderline: 3,
            keywords: 8,
            attributes: Vec::new(),
            truth: None,
            name_with: None,
            stability_runs: 5,
            projection: ClusterProjection::default(),
            assign: None,
        }
    }
}

impl ClusterOptions {
    /// `InvalidInput` for an option out of range, or one that another makes meaningless.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        self.check_together()?;
        let range = [self.k_min, self.k_max];
        if self.k.is_some() && range.iter().any(Option::is_some) {
            return Err(EngineError::invalid(
                "k",
                "k fixes the number of clusters; leave out either it or k_min and k_max",
            ));
        }
        let (min, max) = self.range();
        if self.k.is_some_and(|k| k == 0 || k > MOST_CLUSTERS) {
            return Err(EngineError::invalid("k", format!("the number of clusters is from 1 to {MOST_CLUSTERS}")));
        }
        if min < 2 || max < min || max > MOST_CLUSTERS {
            let message = format!(
                "cannot choose between {min} and {max} clusters; begin the range at 2 or more and end it above, at most at \
                 {MOST_CLUSTERS}"
            );
            return Err(EngineError::invalid(if self.k_min.is_some() { "k_min" } else { "k_max" }, message));
        }
        if self.noise_below.is_some_and(|cosine| !(-1.0..=1.0).contains(&cosine)) {
            return Err(EngineError::invalid("noise_below", "noise_below is a cosine, from -1 to 1"));
        }
        if self.min_cluster_size.is_some_and(|size| size < 2) {
            return Err(EngineError::invalid("min_cluster_size", "a cluster of HDBSCAN has at least 2 documents"));
        }
        if self.min_samples == Some(0) {
            return Err(EngineError::invalid("min_samples", "min_samples is at least 1"));
        }
        let listed = [("examples", self.examples), ("borderline", self.borderline), ("keywords", self.keywords)];
        if let Some((name, _)) = listed.into_iter().find(|(_, count)| *count > MOST_LISTED) {
            return Err(EngineError::invalid(name, format!("at most {MOST_LISTED} can be listed for each cluster")));
        }
        if self.stability_runs == 1 || self.stability_runs > MOST_RUNS {
            let message = format!("runs are compared with each other: give 0 for none, or from 2 to {MOST_RUNS}");
            return Err(EngineError::invalid("stability_runs", message));
        }
        Ok(())
    }

    /// Refuses options that would do nothing.
    fn check_together(&self) -> Result<(), EngineError> {
        let given = |options: &[(&'static str, bool)]| options.iter().find(|(_, given)| *given).map(|(name, _)| *name);
        let count = [("k", self.k.is_some()), ("k_min", self.k_min.is_some()), ("k_max", self.k_max.is_some())];
        let density =
            [("min_cluster_size", self.min_cluster_size.is_some()), ("min_samples", self.min_samples.is_some())];
        if self.assign.is_some()
            && let Some(name) = given(&count).or(given(&density)).or(given(&[("name_with", self.name_with.is_some())]))
        {
            let message = format!("assign takes the clusters of another job as they are; leave out {name}");
            return Err(EngineError::invalid(name, message));
        }
        match self.algorithm {
            ClusterAlgorithm::KMeans => given(&density)
                .map(|name| EngineError::invalid(name, format!("{name} is for the algorithm hdbscan; leave it out"))),
            ClusterAlgorithm::Hdbscan => given(&count)
                .or(given(&[("noise_below", self.noise_below.is_some())]))
                .map(|name| EngineError::invalid(name, format!("{name} is for the algorithm kmeans; leave it out"))),
        }
        .map_or(Ok(()), Err)
    }

    fn range(&self) -> (usize, usize) {
        let (lowest, highest) = DEFAULT_RANGE;
        let min = self.k_min.unwrap_or(lowest.min(self.k_max.unwrap_or(lowest)));
        (min, self.k_max.unwrap_or(highest.max(min)))
    }

    /// For k-means.
    pub(super) fn kmeans(&self) -> KMeansOptions {
        let (min, max) = self.range();
        let count = self.k.map_or(ClusterCount::Auto { min, max }, ClusterCount::Fixed);
        KMeansOptions { count, seed: self.seed, ..KMeansOptions::default() }
    }

    /// For HDBSCAN.
    pub(super) fn hdbscan(&self) -> HdbscanOptions {
        let defaults = HdbscanOptions::default();
        HdbscanOptions {
            min_cluster_size: self.min_cluster_size.unwrap_or(defaults.min_cluster_size),
            min_samples: self.min_samples,
            seed: self.seed,
        }
    }

    /// Memory that the run takes beside the mapped vectors, in bytes: a few numbers for each document, copies of samples,
    /// the counts of words, and what the pictures show.
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        /// Vectors of a sample, of which at most two are held.
        const SAMPLE: u64 = 20_000;
        let clusters = self.k.unwrap_or(self.range().1) as u64;
        // Cluster, cosines, the next nearest cluster, two places on the map, the entry of a hover text.
        let numbers = rows * 96;
        let samples = (2 * rows.min(SAMPLE) + 4 * clusters) * dimension as u64 * 4;
        // A text is taken to have at most 300 different words.
        let words = ClassTfidf::memory_bytes().min(rows * 300 * 120);
        let hover = rows.min(100_000) * 400;
        let truth = if self.truth.is_some() { rows * 64 } else { 0 };
        let tsne = if self.projection == ClusterProjection::Tsne { rows * 1600 } else { 0 };
        let density = if self.algorithm == ClusterAlgorithm::Hdbscan && self.assign.is_none() {
            rows.min(SAMPLE) * dimension as u64 * 8 + rows * 64
        } else {
            0
        };
        numbers + samples + words + hover + truth + tsne + density
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults_and_unknown_ones_are_refused() {
        let options: ClusterOptions = serde_json::from_str(r#"{"k": 3, "algorithm": "kmeans"}"#).unwrap();
        assert_eq!(options, ClusterOptions { k: Some(3), ..ClusterOptions::default() });
        assert!(serde_json::from_str::<ClusterOptions>(r#"{"clusters": 3}"#).is_err());
        options.check().unwrap();
    }

    #[test]
    fn options_out_of_range_or_without_effect_are_refused() {
        let refused: [(&str, &str); 15] = [
            (r#"{"k": 0}"#, "k"),
            (r#"{"k": 4, "k_max": 9}"#, "k"),
            (r#"{"k_min": 1}"#, "k_min"),
            (r#"{"k_min": 9, "k_max": 4}"#, "k_min"),
            (r#"{"k_max": 1}"#, "k_max"),
            (r#"{"noise_below": 1.5}"#, "noise_below"),
            (r#"{"algorithm": "hdbscan", "k": 4}"#, "k"),
            (r#"{"algorithm": "hdbscan", "noise_below": 0.5}"#, "noise_below"),
            (r#"{"algorithm": "hdbscan", "min_cluster_size": 1}"#, "min_cluster_size"),
            (r#"{"algorithm": "hdbscan", "min_samples": 0}"#, "min_samples"),
            (r#"{"min_samples": 4}"#, "min_samples"),
            (r#"{"assign": "job-1", "k": 4}"#, "k"),
            (r#"{"assign": "job-1", "name_with": "m"}"#, "name_with"),
            (r#"{"keywords": 1000}"#, "keywords"),
            (r#"{"stability_runs": 1}"#, "stability_runs"),
        ];
        for (json, param) in refused {
            let options: ClusterOptions = serde_json::from_str(json).unwrap();
            assert_eq!(options.check().unwrap_err().param(), Some(param), "{json}");
        }
    }

    #[test]
    fn one_end_of_the_range_may_be_given_alone() {
        let count = |json: &str| serde_json::from_str::<ClusterOptions>(json).unwrap().kmeans().count;
        assert_eq!(count("{}"), ClusterCount::Auto { min: 2, max: 20 });
        assert_eq!(count(r#"{"k_min": 30}"#), ClusterCount::Auto { min: 30, max: 30 });
        assert_eq!(count(r#"{"k_max": 5}"#), ClusterCount::Auto { min: 2, max: 5 });
        assert_eq!(count(r#"{"k": 7}"#), ClusterCount::Fixed(7));
    }

    #[test]
    fn a_million_documents_need_little_memory() {
        let bytes = ClusterOptions { k: Some(100), ..ClusterOptions::default() }.memory_bytes(1_000_000, 384);
        assert!(bytes < 1 << 30, "{bytes}");
    }
}
