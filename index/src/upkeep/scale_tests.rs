//! Measurements at scale, printed rather than asserted. How to run them is said in each.

use std::sync::atomic::{AtomicBool, Ordering};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::tests::{document, opened_with};
use super::*;
use crate::ann::{HnswParams, Part, Segment, write_vectors};

const DIMENSION: usize = 384;

/// Topics with a little noise.
fn topical(rng: &mut ChaCha8Rng, centres: &[Vec<f32>]) -> Embedding {
    let centre = &centres[rng.random_range(0..centres.len())];
    Embedding::normalize(centre.iter().map(|c| c + rng.random_range(-0.6f32..0.6)).collect()).unwrap()
}

fn centres(rng: &mut ChaCha8Rng) -> Vec<Vec<f32>> {
    (0..2000).map(|_| (0..DIMENSION).map(|_| rng.random_range(-1.0f32..1.0)).collect()).collect()
}

fn rows() -> u64 {
    std::env::var("ANSER_INDEX_SCALE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000)
}

#[test]
#[ignore = "takes minutes and 2 GB of disk: cargo test -p anser-index --lib -- --ignored --nocapture a_million_vectors"]
fn a_million_vectors_open_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = IndexOptions::default();
    let upkeep = opened_with(dir.path(), DIMENSION, options.clone());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let centres = centres(&mut rng);
    let lock = upkeep.cache.lock().unwrap().unwrap();
    let folder = upkeep.cache.new_segment_folder(1, &lock).unwrap();
    let mut writer = write_vectors(folder.path(), DIMENSION).unwrap();
    for id in 0..rows() {
        writer.push(ChunkId(id), topical(&mut rng, &centres).as_slice()).unwrap();
    }
    // How good the graph is does not matter for how fast it opens.
    let params = HnswParams { m: 16, ef_construction: 16, threads: options.threads, builder: options.builder };
    let started = Instant::now();
    let place = (upkeep.cache.folder(), folder.name().to_owned());
    let segment = Segment::complete(place, writer.finish().unwrap(), &params, &CancelToken::new()).unwrap();
    println!("{} rows, graph built in {:.0} s", rows(), started.elapsed().as_secs_f64());
    upkeep.cache.publish(1, 0, &[Part::whole(segment)], &lock).unwrap();
    folder.keep();
    drop((lock, upkeep));
    if std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok() {
        println!("the system's file cache was emptied");
    }
    for round in 0..3 {
        let query = topical(&mut rng, &centres);
        let started = Instant::now();
        let upkeep = opened_with(dir.path(), DIMENSION, options.clone());
        let opened = started.elapsed();
        let snapshot = upkeep.catch_up_now().unwrap();
        let params = upkeep.vectors.query(10, None, None);
        let found = snapshot.search(&query, &params, None).unwrap();
        let first = started.elapsed();
        println!("round {round}: open {opened:?}, first answer {first:?}, beam {:?}", found.ef_search);
        let started = Instant::now();
        upkeep.verify().unwrap();
        println!("  verified in the background in {:?}", started.elapsed());
        for exact in [false, true] {
            let params = upkeep.vectors.query(10, Some(exact), None);
            let started = Instant::now();
            for _ in 0..20 {
                snapshot.search(&query, &params, None).unwrap();
            }
            println!("  {} search: {:?}", if exact { "exact" } else { "graph" }, started.elapsed() / 20);
        }
    }
}

#[test]
#[ignore = "takes a minute: cargo test -p anser-index --lib -- --ignored --nocapture insert_to_searchable"]
fn insert_to_searchable_while_searching_and_sealing() {
    let dir = tempfile::tempdir().unwrap();
    let options = IndexOptions { seal_threshold: 4000, exact_below: 10, ..IndexOptions::default() };
    let upkeep = opened_with(dir.path(), DIMENSION, options);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let centres = centres(&mut rng);
    let first: Vec<_> = (0..30_000).map(|i| document(i, topical(&mut rng, &centres))).collect();
    for batch in first.chunks(2000) {
        upkeep.database.upsert(batch).unwrap();
    }
    upkeep.catch_up_now().unwrap();
    upkeep.seal(true).unwrap();
    let (mut stored, mut searchable) = (Vec::new(), Vec::new());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if upkeep.is_due(&upkeep.vectors.snapshot()) {
                    let started = Instant::now();
                    upkeep.seal(true).unwrap();
                    println!("sealed in {:?}", started.elapsed());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let mut asking = ChaCha8Rng::seed_from_u64(3);
        let (query_centres, upkeep, stop) = (&centres, &upkeep, &stop);
        scope.spawn(move || {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let query = topical(&mut asking, query_centres);
                let started = Instant::now();
                let snapshot = upkeep.catch_up_now().unwrap();
                snapshot.search(&query, &upkeep.vectors.query(10, None, None), None).unwrap();
                took.push(started.elapsed());
            }
            report("search meanwhile", &mut took);
        });
        for i in 30_000..42_000 {
            let vector = topical(&mut rng, &centres);
            let new = document(i, vector.clone());
            let started = Instant::now();
            upkeep.database.upsert(std::slice::from_ref(&new)).unwrap();
            stored.push(started.elapsed());
            let started = Instant::now();
            let snapshot = upkeep.catch_up_now().unwrap();
            let found = snapshot.search(&vector, &upkeep.vectors.query(1, None, None), None).unwrap();
            searchable.push(started.elapsed());
            assert!(found.hits[0].1 > 0.9999, "{i} is not found at once");
        }
        stop.store(true, Ordering::Relaxed);
    });
    report("stored durably", &mut stored);
    report("from stored to found", &mut searchable);
}

fn report(what: &str, took: &mut [Duration]) {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!("{what}: {} times, p50 {:?}, p99 {:?}, most {:?}", took.len(), at(0.5), at(0.99), at(1.0));
}
