//! Spherical k-means over a whole collection: how many clusters, several starts, and what the result says about itself.

use anser_core::{CancelToken, Embedding, Progress, ProgressUnit};
use serde::{Deserialize, Serialize};

use super::lloyd::{Centroids, Rounds, Run, iterate};
use super::mini_batch::{Batches, batch_size, learned_from, mini_batches};
use super::seeding::seed_centroids;
use super::silhouette::{mean_silhouette, sampled_silhouette};
use super::sums::cluster_sizes;
use super::vectors::{Vectors, count_distinct, sample_indices};
use crate::{IndexError, Result};

/// With more vectors than this, and than [`SAMPLE_FOR_EACH`] for each cluster, the number of clusters and the best start
/// are found on a sample of that size, and one run over all vectors begins from there.
const TRAINING_SAMPLE: usize = 10_000;

/// Vectors of that sample for each cluster, at least.
const SAMPLE_FOR_EACH: usize = 16;

/// Most vectors whose silhouettes are averaged.
const SILHOUETTE_SAMPLE: usize = 20_000;

/// Vectors, and pairs of a vector and a cluster, from which on mini-batches take the place of full rounds unless asked
/// otherwise. On a million vectors of 384 numbers and 100 clusters they came within 0.2 % of the inertia of full rounds in a
/// third of the time; below these sizes a full round takes a fraction of a second.
const MINI_BATCH_VECTORS: usize = 250_000;
const MINI_BATCH_PAIRS: usize = 50_000_000;

/// How many clusters to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterCount {
    /// Exactly this many.
    Fixed(usize),
    /// The number from `min` to `max` whose clustering has the highest mean silhouette. At least 2.
    Auto {
        /// Fewest clusters tried.
        min: usize,
        /// Most clusters tried.
        max: usize,
    },
}

/// How the run over all vectors goes, when there are more than the sample that the best start is found on: 10,000, or 16
/// for each cluster when that is more. Fewer vectors are their own sample, and every run is a full one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KMeansAlgorithm {
    /// Mini-batches for 250,000 vectors or more when vectors times clusters is 50 million or more, else full rounds.
    #[default]
    Auto,
    /// Every round assigns all vectors, until the objective stands still.
    Full,
    /// Batches of 16,384 vectors (16 for each cluster when that is more) move the centroids, until the mean cosine of
    /// batches stands still; then one full round. Sculley, "Web-scale k-means clustering", 2010.
    MiniBatch,
}

/// How to cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KMeansOptions {
    /// How many clusters.
    pub count: ClusterCount,
    /// The same vectors, options and seed give the same clusters, whatever the number of threads.
    pub seed: u64,
    /// Independent starts for each number of clusters; the one with the highest mean cosine is kept.
    pub restarts: usize,
    /// Most assign-and-update rounds of one start, and most mini-batches.
    pub max_iterations: usize,
    /// Full rounds or mini-batches, for many vectors.
    pub algorithm: KMeansAlgorithm,
}

impl Default for KMeansOptions {
    fn default() -> Self {
        Self {
            count: ClusterCount::Auto { min: 2, max: 12 },
            seed: 0,
            restarts: 5,
            max_iterations: 100,
            algorithm: KMeansAlgorithm::Auto,
        }
    }
}

/// What one cluster looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its unit mean direction.
    pub centroid: Embedding,
    /// How many vectors it has; at least 1.
    pub size: usize,
    /// Mean cosine of its vectors with the centroid, in [-1, 1].
    pub cohesion: f32,
}

/// The silhouette of one number of clusters that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CountScore {
    /// How many clusters.
    pub k: usize,
    /// Mean silhouette of the best start.
    pub silhouette: f64,
}

/// The clusters of a set of vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// The clusters, largest first. As many as asked for, unless the vectors left over differ by less than rounding.
    pub clusters: Vec<Cluster>,
    /// For each vector the cluster with the nearest centroid: an index into `clusters`.
    pub assignments: Vec<u32>,
    /// For each vector its cosine with that centroid.
    pub similarities: Vec<f32>,
    /// How the number of clusters was arrived at, in words.
    pub criterion: String,
    /// Every number of clusters tried, in rising order; empty when the number was given.
    pub scores: Vec<CountScore>,
    /// Mean silhouette over `silhouette_vectors` of the vectors; `None` for a single cluster.
    pub silhouette: Option<f64>,
    /// Vectors that mean is taken over: all of up to 20,000, a sample of that size of more.
    pub silhouette_vectors: usize,
    /// Assign-and-update rounds of the run that was kept (of the last one, over all vectors, where there was a sample), or
    /// the mini-batches in their place.
    pub iterations: usize,
    /// Whether that run came to rest before its last allowed round.
    pub converged: bool,
}

impl Clustering {
    /// How many clusters there are.
    pub fn k(&self) -> usize {
        self.clusters.len()
    }
}

/// Clusters unit vectors by spherical k-means: k-means++ seeding, several starts, empty clusters refilled, and, when
/// asked, the number of clusters chosen by mean silhouette with cosine distance. Time is linear in the number of vectors.
///
/// Fails with `InvalidInput` when there are no vectors, dimensions differ, an option is 0, more clusters are asked for
/// than there are distinct vectors, or the range of numbers is reversed or begins below 2; with `Cancelled` soon after
/// `cancel` is set. When a range is given and even its lower end exceeds the number of distinct vectors, each distinct
/// vector is a cluster of its own.
pub fn spherical_kmeans(
    vectors: &Vectors,
    options: &KMeansOptions,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<Clustering> {
    vectors.check_some()?;
    let plan = plan(vectors, options, cancel)?;
    let sample = sample(vectors, &plan, options.seed);
    let training = sample.as_ref().unwrap_or(vectors);
    progress.start("clustering", Some((plan.counts.len() * options.restarts) as u64), ProgressUnit::Items);
    let watch = Watch { cancel, progress };
    let mut search = search(training, &plan.counts, options, watch)?;
    progress.finish();
    let mut criterion = plan.criterion(&search, sample.as_ref().map(Vectors::len), vectors.len());
    if let Some(sample) = &sample {
        let (run, course) = over_all(vectors, sample, search.best, options, watch)?;
        let (sample, all) = (sample.len(), vectors.len());
        criterion = format!(
            "{criterion}; the best start on a sample of {sample} of {all} vectors went on over all by {course}"
        );
        search.best = run;
    }
    conclude(vectors, search, (criterion, options.seed), cancel)
}

/// What the best start is found on, when it is not all vectors.
fn sample(vectors: &Vectors, plan: &Plan, seed: u64) -> Option<Vectors> {
    let most = plan.counts.last().map_or(0, |k| k * SAMPLE_FOR_EACH).max(TRAINING_SAMPLE);
    (vectors.len() > most).then(|| vectors.gather(&sample_indices(vectors.len(), most, seed)))
}

/// Goes on from the best run on a sample over all vectors, and says how.
fn over_all(
    vectors: &Vectors,
    sample: &Vectors,
    best: Run,
    options: &KMeansOptions,
    Watch { cancel, progress }: Watch<'_>,
) -> Result<(Run, String)> {
    progress.start("clustering all vectors", Some(options.max_iterations as u64), ProgressUnit::Items);
    let over = |done: usize| progress.set(done as u64);
    let in_batches = match options.algorithm {
        KMeansAlgorithm::Auto => {
            vectors.len() >= MINI_BATCH_VECTORS && vectors.len() * best.centroids.count() >= MINI_BATCH_PAIRS
        }
        KMeansAlgorithm::Full => false,
        KMeansAlgorithm::MiniBatch => true,
    };
    let done = if in_batches {
        let size = batch_size(best.centroids.count());
        let learned = learned_from(sample, best.centroids, &best.assignments, cancel)?;
        let Batches { centroids, amount: batches, settled } =
            mini_batches(vectors, learned, (options.seed, options.max_iterations), cancel, &over)?;
        let run = iterate(vectors, centroids, Rounds { most: 1, until_settled: true, cancel, over: &|_| {} })?;
        let course = format!("{batches} mini-batches of {} and a full round", size.min(vectors.len()));
        (Run { iterations: batches, converged: settled, ..run }, course)
    } else {
        let rounds = Rounds { most: options.max_iterations, until_settled: true, cancel, over: &over };
        let run = iterate(vectors, best.centroids, rounds)?;
        let course = format!("{} full rounds", run.iterations);
        (run, course)
    };
    progress.finish();
    Ok(done)
}

/// Which numbers of clusters to try, and why.
struct Plan {
    counts: Vec<usize>,
    reason: Reason,
}

enum Reason {
    Given,
    Silhouette,
    FewDistinct,
}

impl Plan {
    fn criterion(&self, search: &Search, sample: Option<usize>, total: usize) -> String {
        let on = match sample {
            Some(sample) => format!("a sample of {sample} of {total} vectors"),
            None => format!("all {total} vectors"),
        };
        match self.reason {
            Reason::Given => "the number of clusters was given".to_owned(),
            Reason::FewDistinct => "each distinct vector is a cluster: there are too few to choose a number".to_owned(),
            Reason::Silhouette => {
                let (first, last) = (self.counts[0], self.counts[self.counts.len() - 1]);
                let best = search.scores.iter().map(|s| s.silhouette).fold(f64::NEG_INFINITY, f64::max);
                format!("highest mean silhouette (cosine, {best:.3}) for k from {first} to {last}, on {on}")
            }
        }
    }
}

/// Checks the options against the vectors and lists the numbers of clusters to try.
fn plan(vectors: &Vectors, options: &KMeansOptions, cancel: &CancelToken) -> Result<Plan> {
    if options.restarts == 0 || options.max_iterations == 0 {
        return Err(IndexError::invalid("clustering needs at least one restart and one iteration, not 0"));
    }
    match options.count {
        ClusterCount::Fixed(0) => Err(IndexError::invalid_param("cannot make 0 clusters; ask for at least 1", "k")),
        ClusterCount::Fixed(k) => {
            let distinct = count_distinct(vectors, k, cancel)?;
            if distinct < k {
                return Err(IndexError::invalid_param(
                    format!(
                        "cannot make {k} clusters of {} vectors of which {distinct} are distinct; ask for at most {distinct}",
                        vectors.len()
                    ),
                    "k",
                ));
            }
            Ok(Plan { counts: vec![k], reason: Reason::Given })
        }
        ClusterCount::Auto { min, max } if min < 2 || max < min => Err(IndexError::invalid_param(
            format!(
                "cannot choose between {min} and {max} clusters; the range must begin at 2 or more and not be reversed"
            ),
            "k",
        )),
        ClusterCount::Auto { min, max } => {
            let distinct = count_distinct(vectors, max, cancel)?;
            // With every vector in a cluster of its own each silhouette is 0, so that end of the range says nothing.
            Ok(if distinct <= min {
                Plan { counts: vec![distinct], reason: Reason::FewDistinct }
            } else {
                Plan { counts: (min..=max.min(distinct)).collect(), reason: Reason::Silhouette }
            })
        }
    }
}

/// Who watches the work and may end it.
#[derive(Clone, Copy)]
struct Watch<'a> {
    cancel: &'a CancelToken,
    progress: &'a dyn Progress,
}

/// The best run, and what the numbers of clusters tried scored.
struct Search {
    best: Run,
    scores: Vec<CountScore>,
}

/// The best start of each number of clusters, and of these the one with the highest silhouette (the smallest number among
/// equals).
fn search(vectors: &Vectors, counts: &[usize], options: &KMeansOptions, watch: Watch<'_>) -> Result<Search> {
    let mut best: Option<(Run, f64)> = None;
    let mut scores = Vec::new();
    for (step, &k) in counts.iter().enumerate() {
        let run = best_of_restarts(vectors, k, options, (watch, step * options.restarts))?;
        if counts.len() == 1 {
            return Ok(Search { best: run, scores });
        }
        // Not defined only if all vectors ended in one cluster: worse than any other clustering.
        let silhouette = mean_silhouette(vectors, &run.assignments, watch.cancel)?.unwrap_or(-1.0);
        scores.push(CountScore { k, silhouette });
        if best.as_ref().is_none_or(|(_, highest)| silhouette > *highest) {
            best = Some((run, silhouette));
        }
    }
    let Some((best, _)) = best else {
        return Err(IndexError::internal("no number of clusters was tried"));
    };
    Ok(Search { best, scores })
}

/// The start with the highest objective, the earliest among equals. `done` starts were finished before.
fn best_of_restarts(
    vectors: &Vectors,
    k: usize,
    options: &KMeansOptions,
    (watch, done): (Watch<'_>, usize),
) -> Result<Run> {
    let one = |restart: usize| -> Result<Run> {
        // One stream of random numbers for each pair of k and restart, so that a k gives the same clusters whether it was
        // given or chosen.
        let stream = ((k as u64) << 20) | restart as u64;
        let start = seed_centroids(vectors, k, (options.seed, stream), watch.cancel)?;
        let rounds = Rounds { most: options.max_iterations, until_settled: true, cancel: watch.cancel, over: &|_| {} };
        let run = iterate(vectors, start, rounds)?;
        watch.progress.set((done + restart + 1) as u64);
        Ok(run)
    };
    let mut best = one(0)?;
    // A single cluster has one optimum, found by the first start.
    for restart in 1..if k == 1 { 1 } else { options.restarts } {
        let run = one(restart)?;
        if run.objective > best.objective {
            best = run;
        }
    }
    Ok(best)
}

/// Numbers the clusters by size, largest first, drops empty ones, and measures the result.
fn conclude(
    vectors: &Vectors,
    search: Search,
    (criterion, seed): (String, u64),
    cancel: &CancelToken,
) -> Result<Clustering> {
    let run = search.best;
    let sizes = cluster_sizes(&run.assignments, run.centroids.count());
    let mut order: Vec<usize> = (0..sizes.len()).filter(|&c| sizes[c] > 0).collect();
    order.sort_by(|&a, &b| sizes[b].cmp(&sizes[a]).then(a.cmp(&b)));
    let mut number = vec![0_u32; sizes.len()];
    for (new, &old) in (0_u32..).zip(&order) {
        number[old] = new;
    }
    let assignments: Vec<u32> = run.assignments.iter().map(|&old| number[old as usize]).collect();
    let mut cosines = vec![0.0_f64; order.len()];
    for (&cluster, similarity) in assignments.iter().zip(&run.similarities) {
        cosines[cluster as usize] += f64::from(*similarity);
    }
    let clusters = describe(&run.centroids.reordered(&order), &order, &sizes, &cosines)?;
    let silhouette = sampled_silhouette(vectors, &assignments, (SILHOUETTE_SAMPLE, seed), cancel)?;
    Ok(Clustering {
        clusters,
        assignments,
        similarities: run.similarities,
        criterion,
        scores: search.scores,
        silhouette: silhouette.map(|silhouette| silhouette.mean),
        silhouette_vectors: vectors.len().min(SILHOUETTE_SAMPLE),
        iterations: run.iterations,
        converged: run.converged,
    })
}

fn describe(centroids: &Centroids, order: &[usize], sizes: &[usize], cosines: &[f64]) -> Result<Vec<Cluster>> {
    let one = |at: usize| -> Result<Cluster> {
        let size = sizes[order[at]];
        let cohesion = (cosines[at] / size as f64) as f32;
        Ok(Cluster { centroid: Embedding::normalize(centroids.row(at).to_vec())?, size, cohesion })
    };
    (0..order.len()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use anser_core::{ErrorKind, NoProgress};

    use super::*;

    fn run(vectors: &[Embedding], count: ClusterCount) -> Result<Clustering> {
        let vectors = &Vectors::from_embeddings(vectors)?;
        let options = KMeansOptions { count, ..KMeansOptions::default() };
        spherical_kmeans(vectors, &options, &CancelToken::new(), &NoProgress)
    }

    fn axis(at: usize) -> Embedding {
        Embedding::normalize((0..4).map(|i| f32::from(u8::from(i == at))).collect()).unwrap()
    }

    #[test]
    fn impossible_requests_say_what_is_possible() {
        let vectors = [axis(0), axis(0), axis(1)];
        let message = |count| {
            let error = run(&vectors, count).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            error.to_string()
        };
        assert!(message(ClusterCount::Fixed(3)).contains("at most 2"));
        assert!(message(ClusterCount::Fixed(0)).contains("at least 1"));
        assert!(message(ClusterCount::Auto { min: 1, max: 4 }).contains("2 or more"));
        assert!(message(ClusterCount::Auto { min: 5, max: 4 }).contains("reversed"));
        assert_eq!(run(&[], ClusterCount::Fixed(1)).unwrap_err().kind(), ErrorKind::InvalidInput);
        let mixed = [axis(0), Embedding::normalize(vec![1.0, 1.0]).unwrap()];
        assert!(run(&mixed, ClusterCount::Fixed(1)).unwrap_err().to_string().contains("vector 1 has 2 dimensions"));
        let options = KMeansOptions { restarts: 0, ..KMeansOptions::default() };
        let vectors = Vectors::from_embeddings(&vectors).unwrap();
        assert!(spherical_kmeans(&vectors, &options, &CancelToken::new(), &NoProgress).is_err());
    }

    #[test]
    fn one_vector_and_identical_vectors_are_one_cluster() {
        for vectors in [vec![axis(0)], vec![axis(2); 10]] {
            for count in [ClusterCount::Fixed(1), ClusterCount::Auto { min: 2, max: 8 }] {
                let clustering = run(&vectors, count).unwrap();
                assert_eq!(clustering.k(), 1);
                assert_eq!((clustering.silhouette, clustering.clusters[0].size), (None, vectors.len()));
                assert!((clustering.clusters[0].cohesion - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn clusters_are_numbered_by_size() {
        let vectors: Vec<Embedding> =
            [(0, 2), (1, 7), (2, 4)].into_iter().flat_map(|(at, n)| vec![axis(at); n]).collect();
        let clustering = run(&vectors, ClusterCount::Fixed(3)).unwrap();
        assert_eq!(clustering.clusters.iter().map(|c| c.size).collect::<Vec<_>>(), [7, 4, 2]);
        assert_eq!(clustering.assignments, [2, 2, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(clustering.silhouette, Some(1.0));
        assert_eq!(clustering.clusters[0].centroid, axis(1));
    }

    #[test]
    fn vectors_that_differ_by_less_than_rounding_do_not_make_empty_clusters() {
        let close = Embedding::normalize(vec![1.0, 1e-30, 0.0, 0.0]).unwrap();
        let clustering = run(&[axis(0), close, axis(1)], ClusterCount::Fixed(3)).unwrap();
        assert_eq!(clustering.clusters.iter().map(|c| c.size).collect::<Vec<_>>(), [2, 1]);
        assert!(clustering.converged);
    }
}
