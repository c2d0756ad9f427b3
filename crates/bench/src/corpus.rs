//! What workloads are run on: texts from a file, vectors in clusters; the same seed gives the same.

use std::path::Path;

use anser_core::Embedding;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::error::BenchError;
use crate::workload::{Corpus, SearchTask};

/// The repository's root, from which corpora are named.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// `count` texts of the corpus in an order drawn from `seed`; all of them again, in another order, when they run out.
pub(crate) fn texts(corpus: &Corpus, count: usize, seed: u64) -> Result<Vec<String>, BenchError> {
    let path = Path::new(ROOT).join(&corpus.file);
    let all = column(&path, &corpus.column).map_err(|reason| BenchError::Corpus { path, reason })?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut texts = Vec::with_capacity(count);
    while texts.len() < count {
        let mut order: Vec<&String> = all.iter().collect();
        order.shuffle(&mut rng);
        texts.extend(order.into_iter().take(count - texts.len()).cloned());
    }
    Ok(texts)
}

/// The texts of a column that are not empty; at least one.
fn column(path: &Path, name: &str) -> Result<Vec<String>, String> {
    let mut reader = csv::Reader::from_path(path).map_err(|e| e.to_string())?;
    let headers = reader.headers().map_err(|e| e.to_string())?;
    let at = headers.iter().position(|h| h == name).ok_or_else(|| format!("it has no column \"{name}\""))?;
    let mut texts = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        texts.extend(record.get(at).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned));
    }
    if texts.is_empty() { Err(format!("its column \"{name}\" holds no text")) } else { Ok(texts) }
}

/// Unit vectors around common centres: those to be searched, and queries drawn like them.
pub(crate) struct ClusteredVectors {
    pub(crate) vectors: Vec<Embedding>,
    pub(crate) queries: Vec<Embedding>,
}

/// Centres are uniform on the sphere; a vector is a random centre plus normal noise, scaled to length 1.
pub(crate) fn clustered(
    task: &SearchTask,
    vectors: usize,
    queries: usize,
    seed: u64,
) -> Result<ClusteredVectors, BenchError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let dimension = task.dimension.get();
    let normal = |rng: &mut ChaCha8Rng| -> Vec<f32> { (0..dimension).map(|_| rng.sample(StandardNormal)).collect() };
    let centres = (0..task.clusters.get())
        .map(|_| Embedding::normalize(normal(&mut rng)))
        .collect::<anser_core::Result<Vec<_>>>()?;
    // Normal numbers in d dimensions have length sqrt(d), almost exactly.
    let scale = task.noise / (dimension as f32).sqrt();
    let mut draw = |count: usize| {
        (0..count)
            .map(|_| {
                let centre = &centres[rng.random_range(0..centres.len())];
                let noise = normal(&mut rng);
                Embedding::normalize(centre.as_slice().iter().zip(noise).map(|(c, n)| c + scale * n).collect())
            })
            .collect::<anser_core::Result<Vec<_>>>()
    };
    Ok(ClusteredVectors { vectors: draw(vectors)?, queries: draw(queries)? })
}
