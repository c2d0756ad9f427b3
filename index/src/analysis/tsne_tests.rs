use anser_core::Embedding;

use super::*;

/// `count` unit vectors around each of `groups` random directions.
fn planted(groups: usize, count: usize) -> Vectors {
    const DIMENSION: usize = 24;
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut gaussian = move || (0..6).map(|_| random.random::<f32>() - 0.5).sum::<f32>();
    let centres: Vec<Vec<f32>> = (0..groups).map(|_| (0..DIMENSION).map(|_| gaussian()).collect()).collect();
    let embeddings: Vec<Embedding> = (0..groups * count)
        .map(|at| {
            let centre = &centres[at % groups];
            Embedding::normalize(centre.iter().map(|c| c + 0.45 * gaussian()).collect()).unwrap()
        })
        .collect();
    Vectors::from_embeddings(&embeddings).unwrap()
}

fn map(vectors: &Vectors, options: &TsneOptions) -> TsneMap {
    tsne_map(vectors, options, &CancelToken::new(), &NoProgress).unwrap()
}

/// The share of points whose 5 nearest on the map are of their own group.
fn agreement(points: &[[f32; 2]], groups: usize) -> f64 {
    let (mut same, mut all) = (0, 0);
    for (at, a) in points.iter().enumerate() {
        let mut others: Vec<(f32, usize)> = points
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(other, b)| ((a[0] - b[0]).hypot(a[1] - b[1]), other))
            .collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0));
        same += others[..5].iter().filter(|(_, other)| other % groups == at % groups).count();
        all += 5;
    }
    f64::from(u32::try_from(same).unwrap()) / f64::from(all)
}

#[test]
fn planted_groups_stay_together_where_principal_components_mix_them() {
    let vectors = planted(12, 40);
    let map = map(&vectors, &TsneOptions { epochs: 400, ..TsneOptions::default() });
    let (flat, start) = (agreement(&map.points, 12), agreement(&map.start.points, 12));
    assert!(flat > 0.97 && start < 0.8, "{flat} {start}");
    assert_eq!((map.laid_out, map.recall), (480, None));
}

#[test]
fn the_same_map_comes_out_on_any_number_of_threads() {
    let vectors = planted(5, 300);
    let options = TsneOptions { epochs: 60, ..TsneOptions::default() };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| (map(&vectors, &options), on_a_grid(&vectors, &options)))
    };
    let one = on(1);
    assert_eq!(one, on(3));
    assert_ne!(one.0.points, one.1);
    assert_ne!(one.0.points, map(&vectors, &TsneOptions { seed: 1, ..options.clone() }).points);
}

/// The layout that large data gets.
fn on_a_grid(vectors: &Vectors, options: &TsneOptions) -> Vec<[f32; 2]> {
    let (cancel, wanted) = (CancelToken::new(), NeighbourOptions { k: options.neighbours(), exact: None, seed: 0 });
    let neighbours = nearest_neighbours(vectors, &wanted, &cancel, &NoProgress).unwrap().neighbours;
    let start = project_2d(vectors, 0, &cancel).unwrap().points;
    lay_out(&neighbours, &start, options, Repulsion::Grid, (&cancel, &NoProgress)).unwrap()
}

#[test]
fn the_grid_keeps_groups_together_as_the_tree_does() {
    let vectors = planted(12, 40);
    let points = on_a_grid(&vectors, &TsneOptions { epochs: 400, ..TsneOptions::default() });
    assert!(agreement(&points, 12) > 0.97, "{}", agreement(&points, 12));
    let same = vectors.gather(&[0; 60]);
    let points = on_a_grid(&same, &TsneOptions { epochs: 50, ..TsneOptions::default() });
    assert!(points.iter().flatten().all(|c| c.is_finite()));
}

#[test]
fn a_cancelled_layout_ends_at_once_and_says_so() {
    /// Cancels in the middle of the descent.
    struct CancelAt(CancelToken, std::sync::atomic::AtomicU64);
    impl Progress for CancelAt {
        fn start(&self, _: &str, _: Option<u64>, _: ProgressUnit) {}
        fn set(&self, done: u64) {
            self.1.store(done, std::sync::atomic::Ordering::Relaxed);
            if done == 7 {
                self.0.cancel();
            }
        }
        fn note(&self, _: &str) {}
        fn finish(&self) {}
    }
    let vectors = planted(3, 20);
    let search = nearest_neighbours(
        &vectors,
        &NeighbourOptions { k: 30, exact: None, seed: 0 },
        &CancelToken::new(),
        &NoProgress,
    );
    let progress = CancelAt(CancelToken::new(), std::sync::atomic::AtomicU64::new(0));
    let start: Vec<[f32; 2]> = vectors.iter().map(|v| [v[0], v[1]]).collect();
    let options = TsneOptions { perplexity: 10.0, ..TsneOptions::default() };
    let result = tsne_2d(&search.unwrap().neighbours, &start, &options, &progress.0, &progress);
    assert_eq!(result.unwrap_err().kind(), anser_core::ErrorKind::Cancelled);
    assert_eq!(progress.1.load(std::sync::atomic::Ordering::Relaxed), 7);
}

#[test]
fn few_vectors_and_equal_vectors_have_finite_places() {
    let options = TsneOptions { epochs: 50, ..TsneOptions::default() };
    let all = planted(2, 6);
    for count in 1..=12 {
        let vectors = all.gather(&(0..count).collect::<Vec<_>>());
        let map = map(&vectors, &options);
        assert!(map.points.len() == count && map.points.iter().flatten().all(|c| c.is_finite()), "{:?}", map.points);
    }
    for count in [2, 5, 200] {
        let same = all.gather(&vec![0; count]);
        let map = map(&same, &options);
        assert!(map.points.len() == count && map.points.iter().flatten().all(|c| c.is_finite()));
    }
}

#[test]
fn vectors_beyond_the_sample_are_placed_beside_their_nearest() {
    let vectors = planted(4, 60);
    let sample: Vec<usize> = (0..vectors.len()).step_by(2).collect();
    // Four far corners, one for each group.
    let corner = |at: usize| [[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 9.0]][at % 4];
    let laid_out: Vec<[f32; 2]> = sample.iter().map(|at| corner(*at)).collect();
    // Half of the groups have no member in the sample: theirs lie anywhere between the corners.
    let among = vectors.gather(&sample);
    let points = place_rest(&vectors, &sample, (&among, &laid_out), &CancelToken::new(), &NoProgress).unwrap();
    let bits = |[x, y]: [f32; 2]| (x.to_bits(), y.to_bits());
    assert!(sample.iter().all(|at| bits(points[*at]) == bits(corner(*at))));
    assert!(points.iter().flatten().all(|c| (0.0..=9.0).contains(c)));

    let sample: Vec<usize> = (0..120).collect();
    let laid_out: Vec<[f32; 2]> = sample.iter().map(|at| corner(*at)).collect();
    let among = vectors.gather(&sample);
    let points = place_rest(&vectors, &sample, (&among, &laid_out), &CancelToken::new(), &NoProgress).unwrap();
    for (at, point) in points.iter().enumerate() {
        let wanted = corner(at);
        assert!((point[0] - wanted[0]).abs() < 1e-4 && (point[1] - wanted[1]).abs() < 1e-4, "{at} {point:?}");
    }
    let mean = weighted_mean([[0.0, 0.0], [4.0, 8.0]].into_iter(), &[0.75, 0.25]);
    assert!((mean[0] - 1.0).abs() < 1e-6 && (mean[1] - 2.0).abs() < 1e-6, "{mean:?}");
}

#[test]
fn options_that_cannot_be_are_refused() {
    let vectors = planted(2, 5);
    let search = nearest_neighbours(&vectors, &NeighbourOptions::default(), &CancelToken::new(), &NoProgress).unwrap();
    let start = vec![[0.0; 2]; 10];
    for perplexity in [0.0, -3.0, f32::NAN, f32::INFINITY] {
        let options = TsneOptions { perplexity, ..TsneOptions::default() };
        let result = tsne_2d(&search.neighbours, &start, &options, &CancelToken::new(), &NoProgress);
        assert!(result.unwrap_err().to_string().contains("perplexity"));
    }
    let result = tsne_2d(&search.neighbours, &start[..9], &TsneOptions::default(), &CancelToken::new(), &NoProgress);
    assert!(result.unwrap_err().to_string().contains("9 starting points"));
}
