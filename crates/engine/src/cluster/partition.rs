//! Which document belongs to which cluster, however that was found.

use anser_core::{CancelToken, Progress};
use anser_index::analysis::{
    ClusterCount, KMeansOptions, Vectors, hdbscan, mean_silhouette, nearest_among, spherical_kmeans,
};

use super::options::{ClusterAlgorithm, ClusterOptions};
use super::report::CountScore;
use crate::EngineError;

/// Most documents that a silhouette is measured on where there is noise.
const SILHOUETTE_SAMPLE: usize = 10_000;

/// Documents in clusters.
pub(super) struct Partition {
    /// The cluster of each document; `None` is noise.
    pub(super) assignments: Vec<Option<u32>>,
    /// The cosine of each document with the centroid of its cluster; of noise, with the nearest.
    pub(super) similarities: Vec<f32>,
    /// For each document the nearest centroid that is not its own, and the cosine; `None` where there is no other.
    pub(super) others: Vec<Option<(u32, f32)>>,
    /// Unit mean direction of each cluster.
    pub(super) centroids: Vectors,
    /// How the clusters came about, in words.
    pub(super) criterion: String,
    /// Every number of clusters tried.
    pub(super) scores: Vec<CountScore>,
    /// Mean silhouette of the documents in clusters.
    pub(super) silhouette: Option<f64>,
    /// Documents that it is the mean of.
    pub(super) silhouette_documents: usize,
    /// Whether the search came to rest.
    pub(super) converged: bool,
}

/// What watches: whether to stop, and whom to tell.
pub(super) type Watch<'a> = (&'a CancelToken, &'a dyn Progress);

impl Partition {
    /// Finds clusters as the options say.
    pub(super) fn find(vectors: &Vectors, options: &ClusterOptions, watch: Watch<'_>) -> Result<Self, EngineError> {
        match options.algorithm {
            ClusterAlgorithm::KMeans => Self::by_kmeans(vectors, options, watch),
            ClusterAlgorithm::Hdbscan => Self::by_density(vectors, options, watch),
        }
    }

    fn by_kmeans(
        vectors: &Vectors,
        options: &ClusterOptions,
        (cancel, progress): Watch<'_>,
    ) -> Result<Self, EngineError> {
        let found = spherical_kmeans(vectors, &options.kmeans(), cancel, progress)?;
        let centroids = Vectors::from_embeddings(found.clusters.iter().map(|cluster| &cluster.centroid))?;
        let mut partition = Self::nearest(vectors, centroids, found.criterion, (cancel, progress))?;
        // The clustering's own word on where each document belongs: ties are decided there.
        for (at, cluster) in found.assignments.into_iter().enumerate() {
            partition.put(at, cluster, found.similarities[at]);
        }
        let score = |score: anser_index::analysis::CountScore| CountScore { k: score.k, silhouette: score.silhouette };
        partition.scores = found.scores.into_iter().map(score).collect();
        partition.converged = found.converged;
        partition.silhouette = found.silhouette;
        partition.silhouette_documents = found.silhouette_vectors;
        if partition.leave_noise(options.noise_below) {
            partition.renumber(vectors)?;
            partition.measure(vectors, cancel)?;
        }
        Ok(partition)
    }

    fn by_density(
        vectors: &Vectors,
        options: &ClusterOptions,
        (cancel, progress): Watch<'_>,
    ) -> Result<Self, EngineError> {
        let found = hdbscan(vectors, &options.hdbscan(), cancel, progress)?;
        if found.clusters == 0 {
            let message = format!(
                "no place is dense enough to be a cluster of {} documents; lower min_cluster_size or min_samples, or use \
                 the algorithm kmeans",
                options.hdbscan().min_cluster_size
            );
            return Err(EngineError::invalid("min_cluster_size", message));
        }
        let centroids = means(vectors, &found.assignments, found.clusters)?;
        let criterion = format!("dense places, by HDBSCAN on {}", found.on);
        let mut partition = Self::nearest(vectors, centroids, criterion, (cancel, progress))?;
        for (at, cluster) in found.assignments.into_iter().enumerate() {
            match cluster {
                Some(cluster) => {
                    let similarity = dot(vectors.row(at), partition.centroids.row(cluster as usize));
                    partition.put(at, cluster, similarity);
                }
                None => partition.assignments[at] = None,
            }
        }
        partition.measure(vectors, cancel)?;
        Ok(partition)
    }

    /// Assigns documents to the clusters of another clustering; those far from all centroids are noise when
    /// `noise_below` says so.
    pub(super) fn assigned(
        vectors: &Vectors,
        centroids: Vectors,
        (noise_below, criterion): (Option<f32>, String),
        (cancel, progress): Watch<'_>,
    ) -> Result<Self, EngineError> {
        let mut partition = Self::nearest(vectors, centroids, criterion, (cancel, progress))?;
        partition.leave_noise(noise_below);
        Ok(partition)
    }

    /// Every document in the cluster of the nearest centroid.
    fn nearest(
        vectors: &Vectors,
        centroids: Vectors,
        criterion: String,
        (cancel, progress): Watch<'_>,
    ) -> Result<Self, EngineError> {
        let two = nearest_among(vectors, &centroids, 2.min(centroids.len()), cancel, progress)?;
        let rows = 0..vectors.len();
        let at = |row: usize, place: usize| {
            let (clusters, cosines) = two.of(row);
            clusters.get(place).copied().zip(cosines.get(place).copied())
        };
        Ok(Self {
            assignments: rows.clone().map(|row| at(row, 0).map(|(cluster, _)| cluster)).collect(),
            similarities: rows.clone().map(|row| at(row, 0).map_or(0.0, |(_, cosine)| cosine)).collect(),
            others: rows.map(|row| at(row, 1)).collect(),
            centroids,
            criterion,
            scores: Vec::new(),
            silhouette: None,
            silhouette_documents: 0,
            converged: true,
        })
    }

    /// Puts a document, so far in the cluster of its nearest centroid, into `cluster`.
    fn put(&mut self, at: usize, cluster: u32, similarity: f32) {
        if let Some(nearest) = self.assignments[at]
            && nearest != cluster
        {
            self.others[at] = Some((nearest, self.similarities[at]));
        }
        self.assignments[at] = Some(cluster);
        self.similarities[at] = similarity;
    }

    /// Takes documents far from their centroid out of the clusters; whether there were any.
    fn leave_noise(&mut self, below: Option<f32>) -> bool {
        let Some(below) = below else { return false };
        let mut any = false;
        for (assignment, similarity) in self.assignments.iter_mut().zip(&self.similarities) {
            if *similarity < below {
                *assignment = None;
                any = true;
            }
        }
        any
    }

    /// Numbers the clusters by size, largest first, and drops empty ones.
    fn renumber(&mut self, vectors: &Vectors) -> Result<(), EngineError> {
        let sizes = self.sizes();
        let mut order: Vec<usize> = (0..sizes.len()).filter(|&cluster| sizes[cluster] > 0).collect();
        if order.is_empty() {
            let message = "every document is noise at this bound; lower noise_below".to_owned();
            return Err(EngineError::invalid("noise_below", message));
        }
        order.sort_by(|&a, &b| sizes[b].cmp(&sizes[a]).then(a.cmp(&b)));
        let mut number: Vec<Option<u32>> = vec![None; sizes.len()];
        for (new, &old) in (0_u32..).zip(&order) {
            number[old] = Some(new);
        }
        let centroids = self.centroids.gather(&order);
        for at in 0..self.assignments.len() {
            self.assignments[at] = self.assignments[at].and_then(|old| number[old as usize]);
            let other = self.others[at].and_then(|(old, cosine)| Some((number[old as usize]?, cosine)));
            // The next nearest cluster was dropped: look for the one after it.
            self.others[at] = if other.is_none() && order.len() > 1 {
                next_nearest(vectors.row(at), &centroids, self.assignments[at])
            } else {
                other
            };
        }
        self.centroids = centroids;
        Ok(())
    }

    /// Measures the silhouette of the documents in clusters, on a sample where there are many.
    fn measure(&mut self, vectors: &Vectors, cancel: &CancelToken) -> Result<(), EngineError> {
        let mut kept: Vec<usize> = (0..vectors.len()).filter(|&at| self.assignments[at].is_some()).collect();
        if kept.len() > SILHOUETTE_SAMPLE {
            // Every n-th of them.
            let total = kept.len();
            kept = (0..SILHOUETTE_SAMPLE).map(|at| kept[at * total / SILHOUETTE_SAMPLE]).collect();
        }
        let of: Vec<u32> = kept.iter().filter_map(|&at| self.assignments[at]).collect();
        self.silhouette_documents = kept.len();
        self.silhouette = mean_silhouette(&vectors.gather(&kept), &of, cancel)?;
        Ok(())
    }

    /// How many clusters there are.
    pub(super) fn k(&self) -> usize {
        self.centroids.len()
    }

    /// How many documents each cluster has.
    pub(super) fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.k()];
        self.assignments.iter().flatten().for_each(|&cluster| sizes[cluster as usize] += 1);
        sizes
    }

    /// Mean cosine of each cluster's documents with its centroid; `None` for an empty cluster.
    pub(super) fn cohesions(&self) -> Vec<Option<f32>> {
        let mut sums = vec![0.0_f64; self.k()];
        for (cluster, similarity) in self.assignments.iter().zip(&self.similarities) {
            if let Some(cluster) = cluster {
                sums[*cluster as usize] += f64::from(*similarity);
            }
        }
        let mean = |(sum, size): (f64, usize)| (size > 0).then(|| (sum / size as f64) as f32);
        sums.into_iter().zip(self.sizes()).map(mean).collect()
    }

    /// How much nearer a document is to its own centroid than to the nearest other one; `None` for noise and where there
    /// is no other. Below 0 when another is nearer, which happens with HDBSCAN.
    pub(super) fn margin(&self, at: usize) -> Option<f32> {
        self.assignments[at]?;
        self.others[at].map(|(_, cosine)| self.similarities[at] - cosine)
    }

    /// The clusters as a number for each document, noise being one more; for comparing partitions.
    pub(super) fn labels(&self) -> Vec<u32> {
        self.assignments.iter().map(|cluster| cluster.unwrap_or(self.k() as u32)).collect()
    }

    /// How to find as many clusters again with other seeds.
    pub(super) fn repeated(&self, options: &ClusterOptions) -> KMeansOptions {
        KMeansOptions { count: ClusterCount::Fixed(self.k()), ..options.kmeans() }
    }
}

/// Unit mean direction of each cluster.
fn means(vectors: &Vectors, assignments: &[Option<u32>], clusters: usize) -> Result<Vectors, EngineError> {
    let dimension = vectors.dimension();
    let mut sums = vec![0.0_f64; clusters * dimension];
    for (vector, cluster) in vectors.iter().zip(assignments) {
        let Some(cluster) = cluster.map(|cluster| cluster as usize) else { continue };
        let sum = &mut sums[cluster * dimension..(cluster + 1) * dimension];
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    for sum in sums.chunks_exact_mut(dimension) {
        let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length > 0.0 {
            for value in sum {
                *value /= length;
            }
        }
    }
    Ok(Vectors::new(sums.into_iter().map(|value| value as f32).collect(), dimension)?)
}

fn next_nearest(vector: &[f32], centroids: &Vectors, own: Option<u32>) -> Option<(u32, f32)> {
    let cosines = (0_u32..).zip(centroids.iter()).map(|(cluster, centroid)| (cluster, dot(vector, centroid)));
    cosines.filter(|(cluster, _)| Some(*cluster) != own).reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// The dot product of two vectors.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
