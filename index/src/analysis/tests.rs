//! Clustering as a whole: planted clusters are found again, results repeat, and what is promised of every result holds.

use std::collections::HashMap;
use std::sync::Mutex;

use anser_core::{CancelToken, Embedding, ErrorKind, NoProgress, Progress, ProgressUnit};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// `sizes.len()` groups of vectors around random directions, in turn, and the group of each.
fn planted(sizes: &[usize], dimension: usize, spread: f32, seed: u64) -> (Vectors, Vec<u32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut noise = |scale: f32| -> Vec<f32> {
        // The sum of uniform numbers is near enough to a Gaussian here.
        (0..dimension).map(|_| (0..6).map(|_| rng.random_range(-1.0_f32..1.0)).sum::<f32>() * scale).collect()
    };
    let mut rows = Vec::new();
    for (group, &size) in (0_u32..).zip(sizes) {
        let centre = Embedding::normalize(noise(1.0)).unwrap();
        for at in 0..size {
            let offset = noise(spread);
            let values = centre.as_slice().iter().zip(offset).map(|(c, o)| c + o).collect();
            rows.push((at, group, Embedding::normalize(values).unwrap()));
        }
    }
    rows.sort_by_key(|(at, group, _)| (*at, *group));
    let groups = rows.iter().map(|(_, group, _)| *group).collect();
    (Vectors::from_embeddings(rows.iter().map(|(_, _, vector)| vector)).unwrap(), groups)
}

/// Hubert and Arabie's adjusted Rand index: 1 for equal partitions, about 0 for unrelated ones.
fn adjusted_rand(a: &[u32], b: &[u32]) -> f64 {
    let pairs = |n: usize| n as f64 * (n as f64 - 1.0) / 2.0;
    let count = |keys: Vec<(u32, u32)>| {
        let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
        for key in keys {
            *counts.entry(key).or_default() += 1;
        }
        counts.values().map(|&n| pairs(n)).sum::<f64>()
    };
    let both = count(a.iter().copied().zip(b.iter().copied()).collect());
    let (in_a, in_b) = (count(a.iter().map(|&x| (x, 0)).collect()), count(b.iter().map(|&x| (x, 0)).collect()));
    let expected = in_a * in_b / pairs(a.len());
    (both - expected) / (f64::midpoint(in_a, in_b) - expected)
}

fn cluster(vectors: &Vectors, count: ClusterCount, seed: u64) -> Clustering {
    let options = KMeansOptions { count, seed, ..KMeansOptions::default() };
    spherical_kmeans(vectors, &options, &CancelToken::new(), &NoProgress).unwrap()
}

#[test]
fn planted_clusters_are_found_again_from_every_seed() {
    let sizes = [60, 40, 30, 20, 10, 10, 5];
    let (vectors, groups) = planted(&sizes, 64, 0.02, 1);
    for seed in 0..10 {
        let found = cluster(&vectors, ClusterCount::Fixed(7), seed);
        assert!((adjusted_rand(&found.assignments, &groups) - 1.0).abs() < 1e-12, "seed {seed}");
        assert_eq!(found.clusters.iter().map(|c| c.size).collect::<Vec<_>>(), sizes);
        assert!(found.converged && found.silhouette.unwrap() > 0.8);
        assert!(found.clusters.iter().all(|c| c.cohesion > 0.9));
    }
}

#[test]
fn the_number_of_clusters_is_chosen_where_the_silhouette_is_highest() {
    for planted_count in [2, 5, 8] {
        let (vectors, groups) = planted(&vec![40; planted_count], 48, 0.04, planted_count as u64);
        let found = cluster(&vectors, ClusterCount::Auto { min: 2, max: 12 }, 3);
        assert_eq!(found.k(), planted_count, "{:?}", found.scores);
        assert!((adjusted_rand(&found.assignments, &groups) - 1.0).abs() < 1e-12);
        assert_eq!(found.scores.iter().map(|s| s.k).collect::<Vec<_>>(), (2..=12).collect::<Vec<_>>());
        let best = found.scores.iter().map(|s| s.silhouette).fold(f64::MIN, f64::max);
        assert!((best - found.silhouette.unwrap()).abs() < 1e-9);
        let total = vectors.len();
        assert!(found.criterion.contains(&format!("k from 2 to 12, on all {total} vectors")), "{}", found.criterion);
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    // More vectors than a block, and overlapping groups, so that sums and ties would show a difference.
    let (vectors, _) = planted(&[900; 6], 24, 0.3, 5);
    let on_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let found = cluster(&vectors, ClusterCount::Fixed(9), 11);
            let map = project_2d(&vectors, 11, &CancelToken::new()).unwrap();
            (found, map)
        })
    };
    let first = on_threads(1);
    assert_eq!(first, on_threads(3));
    let other = cluster(&vectors, ClusterCount::Fixed(9), 12);
    assert_ne!(first.0.assignments, other.assignments);
}

#[test]
fn more_vectors_than_the_sample_are_all_assigned() {
    let (vectors, groups) = planted(&[30_000, 20_000, 10_000], 8, 0.03, 2);
    let found = cluster(&vectors, ClusterCount::Auto { min: 2, max: 4 }, 0);
    assert!((adjusted_rand(&found.assignments, &groups) - 1.0).abs() < 1e-12);
    assert!(found.criterion.contains("a sample of 10000 of 60000 vectors"), "{}", found.criterion);
    assert_eq!(project_2d(&vectors, 0, &CancelToken::new()).unwrap().points.len(), 60_000);
}

/// Remembers what it was told.
#[derive(Default)]
struct Record(Mutex<Vec<u64>>);

impl Progress for Record {
    fn start(&self, _: &str, total: Option<u64>, _: ProgressUnit) {
        self.0.lock().unwrap().push(total.unwrap());
    }
    fn set(&self, done: u64) {
        self.0.lock().unwrap().push(done);
    }
    fn note(&self, _: &str) {}
    fn finish(&self) {
        self.0.lock().unwrap().push(u64::MAX);
    }
}

#[test]
fn progress_counts_every_start_up_to_the_total() {
    let (vectors, _) = planted(&[5, 5], 8, 0.05, 0);
    let record = Record::default();
    let options =
        KMeansOptions { count: ClusterCount::Auto { min: 2, max: 4 }, restarts: 2, ..KMeansOptions::default() };
    spherical_kmeans(&vectors, &options, &CancelToken::new(), &record).unwrap();
    assert_eq!(*record.0.lock().unwrap(), [6, 1, 2, 3, 4, 5, 6, u64::MAX]);
}

#[test]
fn cancelling_ends_every_analysis_with_that_kind_of_error() {
    let (vectors, groups) = planted(&[5, 5], 8, 0.05, 0);
    let cancel = CancelToken::new();
    cancel.cancel();
    let kinds = [
        spherical_kmeans(&vectors, &KMeansOptions::default(), &cancel, &NoProgress).unwrap_err().kind(),
        project_2d(&vectors, 0, &cancel).unwrap_err().kind(),
        mean_silhouette(&vectors, &groups, &cancel).unwrap_err().kind(),
        class_tfidf(&["text"; 10], &groups, 2, 5, &cancel).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Cancelled; 4]);
}

proptest! {
    #[test]
    fn every_vector_is_with_its_nearest_centroid(
        rows in prop::collection::vec(prop::array::uniform4(-1.0_f32..1.0), 1..60),
        copies in 1_usize..4,
        count in prop_oneof![
            (1_usize..12).prop_map(ClusterCount::Fixed),
            (2_usize..5, 0_usize..6).prop_map(|(min, more)| ClusterCount::Auto { min, max: min + more }),
        ],
        seed: u64,
    ) {
        let vectors: Vec<Embedding> = rows
            .iter()
            .flat_map(|row| vec![row.to_vec(); copies])
            .filter_map(|row| Embedding::normalize(row).ok())
            .collect();
        let vectors = Vectors::from_embeddings(&vectors).unwrap();
        let options = KMeansOptions { count, seed, restarts: 2, max_iterations: 50 };
        let found = match spherical_kmeans(&vectors, &options, &CancelToken::new(), &NoProgress) {
            Ok(found) => found,
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::InvalidInput);
                return Ok(());
            }
        };
        prop_assert_eq!(found.clusters.iter().map(|c| c.size).sum::<usize>(), vectors.len());
        prop_assert!(found.clusters.windows(2).all(|pair| pair[0].size >= pair[1].size));
        prop_assert!(found.clusters.iter().all(|c| c.size > 0));
        for ((vector, &own), similarity) in vectors.iter().zip(&found.assignments).zip(&found.similarities) {
            let cosine = |cluster: &Cluster| vectors::dot(vector, cluster.centroid.as_slice());
            let own = cosine(&found.clusters[own as usize]);
            prop_assert!((own - similarity).abs() < 1e-5);
            prop_assert!(found.clusters.iter().all(|other| cosine(other) <= own + 1e-5));
        }
    }
}
