//! What workloads are run on: texts from a file, vectors in clusters; the same seed gives the same.

use std::fs;
use std::path::{Path, PathBuf};

use anser_core::Embedding;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::error::BenchError;
use crate::workload::{ClusterShape, Corpus};

/// The repository's root, from which corpora are named.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// `count` texts of the corpus in an order drawn from `seed`; all of them again, in another order, when they run out.
pub(crate) fn texts(corpus: &Corpus, count: usize, seed: u64) -> Result<Vec<String>, BenchError> {
    let all = all_texts(corpus)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut texts = Vec::with_capacity(count);
    while texts.len() < count {
        let mut order: Vec<&String> = all.iter().collect();
        order.shuffle(&mut rng);
        texts.extend(order.into_iter().take(count - texts.len()).cloned());
    }
    Ok(texts)
}

/// Every text of the corpus, in the order of the file; at least one.
pub(crate) fn all_texts(corpus: &Corpus) -> Result<Vec<String>, BenchError> {
    let path = Path::new(ROOT).join(&corpus.file);
    column(&path, &corpus.column).map_err(|reason| BenchError::Corpus { path, reason })
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

/// Writes numbers as raw little-endian f32 for a peer, and says where.
pub(crate) fn write(folder: &Path, name: &str, values: &[f32]) -> Result<PathBuf, BenchError> {
    let path = folder.join(name);
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(&path, bytes).map_err(BenchError::io("write", &path)).map(|()| path)
}

/// Draws unit vectors around centres that are uniform on the sphere: a random centre plus normal noise, scaled to length 1.
pub(crate) struct Clusters {
    centres: Vec<Embedding>,
    scale: f32,
    rng: ChaCha8Rng,
}

impl Clusters {
    pub(crate) fn new(shape: ClusterShape, seed: u64) -> Result<Self, BenchError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let dimension = shape.dimension.get();
        let centres = (0..shape.clusters.get())
            .map(|_| Embedding::normalize(normal(&mut rng, dimension)))
            .collect::<anser_core::Result<Vec<_>>>()?;
        // Normal numbers in d dimensions have length sqrt(d), almost exactly.
        Ok(Self { centres, scale: shape.noise / (dimension as f32).sqrt(), rng })
    }

    pub(crate) fn draw(&mut self) -> Result<Embedding, BenchError> {
        let centre = &self.centres[self.rng.random_range(0..self.centres.len())];
        let noise = normal(&mut self.rng, centre.dimension());
        let values = centre.as_slice().iter().zip(noise).map(|(c, n)| c + self.scale * n).collect();
        Ok(Embedding::normalize(values)?)
    }
}

fn normal(rng: &mut ChaCha8Rng, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|_| rng.sample(StandardNormal)).collect()
}

/// So many vectors drawn from [`Clusters`].
pub(crate) fn clustered(shape: ClusterShape, vectors: usize, seed: u64) -> Result<Vec<Embedding>, BenchError> {
    let mut clusters = Clusters::new(shape, seed)?;
    (0..vectors).map(|_| clusters.draw()).collect()
}
