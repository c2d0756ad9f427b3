//! Clustering as a whole: planted clusters are found again, results repeat, and what is promised of every result holds.

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
fn mini_batches_find_what_full_rounds_find_and_say_so() {
    let (vectors, groups) = planted(&[9_000, 6_000, 4_000, 1_000], 16, 0.05, 8);
    let with = |algorithm| {
        let options = KMeansOptions { count: ClusterCount::Fixed(4), algorithm, ..KMeansOptions::default() };
        spherical_kmeans(&vectors, &options, &CancelToken::new(), &NoProgress).unwrap()
    };
    let (full, batches) = (with(KMeansAlgorithm::Full), with(KMeansAlgorithm::MiniBatch));
    for found in [&full, &batches] {
        assert!(adjusted_rand(&found.assignments, &groups) > 0.999);
        assert_eq!(found.clusters.iter().map(|c| c.size).sum::<usize>(), vectors.len());
    }
    let mean = |found: &Clustering| found.similarities.iter().sum::<f32>() / vectors.len() as f32;
    assert!((mean(&full) - mean(&batches)).abs() < 1e-4);
    assert!(full.criterion.contains("full rounds") && !full.criterion.contains("mini-batches"), "{}", full.criterion);
    assert!(batches.criterion.contains("mini-batches of 16384"), "{}", batches.criterion);
    assert_eq!(with(KMeansAlgorithm::Auto), full);
}

#[test]
fn mini_batches_give_the_same_bits_on_any_number_of_threads() {
    let (vectors, _) = planted(&[3_500; 6], 12, 0.3, 5);
    let on_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = KMeansOptions {
            count: ClusterCount::Fixed(9),
            algorithm: KMeansAlgorithm::MiniBatch,
            ..KMeansOptions::default()
        };
        pool.install(|| spherical_kmeans(&vectors, &options, &CancelToken::new(), &NoProgress).unwrap())
    };
    assert_eq!(on_threads(1), on_threads(3));
}

#[test]
fn given_iterations_from_given_centroids_are_made_exactly() {
    let (vectors, groups) = planted(&[700; 5], 24, 0.1, 9);
    let start = vectors.gather(&[0, 1, 2, 3, 4]);
    let cancel = CancelToken::new();
    let objective = |iterations| lloyd_iterations(&vectors, &start, iterations, &cancel).unwrap().objective;
    assert!(objective(0) < objective(1) && objective(1) <= objective(3) + 1e-3);
    let run = lloyd_iterations(&vectors, &start, 8, &cancel).unwrap();
    // The first five vectors are one of each group.
    assert!((adjusted_rand(&run.assignments, &groups) - 1.0).abs() < 1e-12);
    assert_eq!((run.centroids.len(), run.similarities.len()), (5, vectors.len()));
    assert_eq!(assign_to(&vectors, &run.centroids, &cancel).unwrap(), (run.assignments.clone(), run.similarities));
    let mut inertia = 0.0;
    for group in 0..5 {
        let members: Vec<usize> = (0..vectors.len()).filter(|&at| run.assignments[at] == group).collect();
        for column in 0..24 {
            let values = members.iter().map(|&at| f64::from(vectors.row(at)[column]));
            let mean = values.clone().sum::<f64>() / members.len() as f64;
            inertia += values.map(|v| (v - mean).powi(2)).sum::<f64>();
        }
    }
    assert!((run.inertia - inertia).abs() < 1e-3, "{} {inertia}", run.inertia);
    let none = vectors.gather(&[]);
    assert_eq!(lloyd_iterations(&none, &start, 1, &cancel).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(lloyd_iterations(&vectors, &none, 1, &cancel).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn clear_clusters_are_stable_and_clusters_of_noise_are_not() {
    let options = |k| KMeansOptions { count: ClusterCount::Fixed(k), restarts: 2, ..KMeansOptions::default() };
    let run =
        |vectors: &Vectors, k| stability(vectors, &options(k), 4, &CancelToken::new(), &NoProgress).unwrap().unwrap();
    let (clear, _) = planted(&[50; 4], 32, 0.03, 1);
    let stable = run(&clear, 4);
    assert_eq!((stable.runs, stable.vectors), (4, 200));
    assert!((stable.lowest - 1.0).abs() < 1e-12 && (stable.mean_adjusted_rand - 1.0).abs() < 1e-12);
    let (noise, _) = planted(&[300], 32, 0.5, 1);
    let shaky = run(&noise, 8);
    assert!(shaky.mean_adjusted_rand < 0.5 && shaky.lowest <= shaky.mean_adjusted_rand, "{shaky:?}");
    assert_eq!(shaky, run(&noise, 8));
}

#[test]
fn stability_is_defined_or_refused_on_degenerate_data() {
    let unit = |at: usize| (0..4).map(|i| f32::from(u8::from(i == at))).collect::<Vec<_>>();
    let of = |places: &[usize]| Vectors::new(places.iter().flat_map(|&at| unit(at)).collect(), 4).unwrap();
    let run = |vectors: &Vectors, count, runs| {
        let options = KMeansOptions { count, ..KMeansOptions::default() };
        stability(vectors, &options, runs, &CancelToken::new(), &NoProgress)
    };
    assert_eq!(run(&of(&[1; 9]), ClusterCount::Fixed(1), 3).unwrap(), None);
    assert_eq!(run(&of(&[2]), ClusterCount::Fixed(1), 3).unwrap(), None);
    for (places, k) in [(vec![0, 1], 2), (vec![0, 1, 2, 3], 4), (vec![0, 0, 0, 1], 2)] {
        let found = run(&of(&places), ClusterCount::Fixed(k), 3).unwrap().unwrap();
        assert!((found.lowest - 1.0).abs() < 1e-12, "{places:?}: {found:?}");
    }
    let kinds = [
        run(&of(&[0, 1]), ClusterCount::Fixed(3), 3),
        run(&of(&[1, 1]), ClusterCount::Fixed(2), 3),
        run(&of(&[0, 1]), ClusterCount::Fixed(2), 1),
        run(&of(&[0, 1]), ClusterCount::Auto { min: 2, max: 3 }, 3),
        run(&of(&[]), ClusterCount::Fixed(1), 3),
    ]
    .map(|found| found.unwrap_err().kind());
    assert_eq!(kinds, [ErrorKind::InvalidInput; 5]);
}

#[test]
fn as_many_clusters_as_vectors_give_each_its_own() {
    let (vectors, _) = planted(&[12], 8, 0.4, 3);
    for algorithm in [KMeansAlgorithm::Full, KMeansAlgorithm::MiniBatch] {
        let options = KMeansOptions { count: ClusterCount::Fixed(12), algorithm, ..KMeansOptions::default() };
        let found = spherical_kmeans(&vectors, &options, &CancelToken::new(), &NoProgress).unwrap();
        assert!(found.clusters.len() == 12 && found.clusters.iter().all(|cluster| cluster.size == 1));
        assert!(found.similarities.iter().all(|similarity| *similarity > 1.0 - 1e-5));
    }
    let start = vectors.gather(&[0; 12]);
    let run = lloyd_iterations(&vectors, &start, 30, &CancelToken::new()).unwrap();
    assert!(run.inertia.abs() < 1e-4, "every empty cluster is refilled: {}", run.inertia);
}

#[test]
fn many_equal_vectors_are_one_cluster_and_two_points_are_two() {
    // More than the training sample, so that the run over all vectors meets them.
    let equal = Vectors::new([0.6_f32, 0.8].repeat(12_000), 2).unwrap();
    let found = cluster(&equal, ClusterCount::Auto { min: 2, max: 5 }, 1);
    assert_eq!((found.k(), found.clusters[0].size, found.silhouette), (1, 12_000, None));
    let two = Vectors::new([0.6_f32, 0.8, -0.8, 0.6].repeat(6_000), 2).unwrap();
    for algorithm in [KMeansAlgorithm::Full, KMeansAlgorithm::MiniBatch] {
        let options = KMeansOptions { count: ClusterCount::Fixed(2), algorithm, ..KMeansOptions::default() };
        let found = spherical_kmeans(&two, &options, &CancelToken::new(), &NoProgress).unwrap();
        assert_eq!(found.clusters.iter().map(|c| c.size).collect::<Vec<_>>(), [6_000, 6_000]);
        assert!(found.silhouette.unwrap() > 0.999_99 && found.converged);
    }
    let run = lloyd_iterations(&equal, &equal.gather(&[0, 0, 0]), 3, &CancelToken::new()).unwrap();
    assert_eq!(run.assignments, vec![0; 12_000]);
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
    let fixed = KMeansOptions { count: ClusterCount::Fixed(2), ..KMeansOptions::default() };
    let kinds = [
        spherical_kmeans(&vectors, &KMeansOptions::default(), &cancel, &NoProgress).unwrap_err().kind(),
        project_2d(&vectors, 0, &cancel).unwrap_err().kind(),
        mean_silhouette(&vectors, &groups, &cancel).unwrap_err().kind(),
        assign_to(&vectors, &vectors, &cancel).unwrap_err().kind(),
        lloyd_iterations(&vectors, &vectors, 1, &cancel).unwrap_err().kind(),
        stability(&vectors, &fixed, 2, &cancel, &NoProgress).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Cancelled; 6]);
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
        let options = KMeansOptions { count, seed, restarts: 2, max_iterations: 50, ..KMeansOptions::default() };
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
