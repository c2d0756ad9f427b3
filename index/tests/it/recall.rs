//! Approximate search against exact search.

use std::collections::HashSet;
use std::time::Instant;

use anser_core::Embedding;
use anser_index::{SearchMethod, SearchParams};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::support::{Place, document, embedder, rng};

const DIMENSION: usize = 384;
const VECTORS: usize = 20_000;
const CLUSTERS: usize = 500;
/// Text embeddings vary along few directions inside a topic.
const LATENT: usize = 24;
const QUERIES: usize = 300;
const K: usize = 10;

/// Roughly normal.
fn gauss(rng: &mut ChaCha8Rng) -> f32 {
    (0..6).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>() / 1.414
}

/// Topics around a common centre, each a low-dimensional cloud with a little noise in all dimensions.
struct Topics {
    directions: Vec<Vec<f32>>,
    centres: Vec<Vec<f32>>,
}

impl Topics {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut random = |count: usize| -> Vec<Vec<f32>> {
            (0..count).map(|_| (0..DIMENSION).map(|_| gauss(rng) / (DIMENSION as f32).sqrt()).collect()).collect()
        };
        Self { directions: random(4 * LATENT), centres: random(CLUSTERS) }
    }

    fn sample(&self, rng: &mut ChaCha8Rng) -> Embedding {
        let topic = rng.random_range(0..CLUSTERS);
        let mut vector = self.centres[topic].clone();
        for i in 0..LATENT {
            let weight = gauss(rng) * 0.22;
            let direction = &self.directions[(topic * 7 + i) % self.directions.len()];
            vector.iter_mut().zip(direction).for_each(|(v, d)| *v += weight * d);
        }
        for v in &mut vector {
            *v += gauss(rng) * 0.02;
        }
        Embedding::normalize(vector).unwrap()
    }
}

#[test]
fn default_parameters_find_97_of_100_true_neighbours() {
    let place = Place::new();
    let store = place.store();
    let collection = store.create("c", &embedder(DIMENSION)).unwrap();
    let mut rng = rng(11);
    let topics = Topics::new(&mut rng);
    let all: Vec<_> = (0..VECTORS).map(|i| document(format!("d{i}"), "v1", &[topics.sample(&mut rng)])).collect();
    let started = Instant::now();
    for batch in all[..VECTORS - 1].chunks(4096) {
        collection.upsert(batch).unwrap();
    }
    println!("{VECTORS} documents stored in {:.1} s", started.elapsed().as_secs_f32());
    let started = Instant::now();
    collection.seal().unwrap();
    println!("graph built in {:.1} s", started.elapsed().as_secs_f32());
    // The last document crosses the border to approximate search by itself.
    collection.upsert(&all[VECTORS - 1..]).unwrap();

    let queries: Vec<_> = (0..QUERIES).map(|_| topics.sample(&mut rng)).collect();
    let search = |exact: bool| {
        let params = SearchParams { exact: Some(exact), ..SearchParams::new(K) };
        let started = Instant::now();
        let found: Vec<HashSet<String>> = queries
            .iter()
            .map(|query| {
                let outcome = collection.search(query, &params).unwrap();
                let method = if exact { SearchMethod::Exact } else { SearchMethod::Hnsw };
                assert_eq!(outcome.explain.method, method);
                outcome.hits.into_iter().map(|h| h.chunk.document_id.to_string()).collect()
            })
            .collect();
        let each = started.elapsed().as_secs_f64() / queries.len() as f64;
        println!("{} search: {:.3} ms each", if exact { "exact" } else { "hnsw" }, each * 1e3);
        found
    };
    let (approximate, exact) = (search(false), search(true));
    let hits: usize = approximate.iter().zip(&exact).map(|(a, e)| a.intersection(e).count()).sum();
    let recall = hits as f64 / (QUERIES * K) as f64;
    println!("recall@{K}: {recall:.4}");
    assert!(recall >= 0.97, "recall@{K} is {recall:.4}");
    assert_eq!(collection.search(&queries[0], &SearchParams::new(K)).unwrap().explain.method, SearchMethod::Hnsw);
}
