//! k-means: Anser beside scikit-learn and faiss, from the same starting centroids, with the same number of iterations.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anser_core::CancelToken;
use anser_index::analysis::{Vectors, lloyd_iterations};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use rayon::ThreadPool;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::contest::{ANSER, Contender, Figure, alternate};
use crate::corpus;
use crate::error::BenchError;
use crate::limits::{Limits, Work, pool};
use crate::peer::Peer;
use crate::report::Quality;
use crate::run::{Findings, Run};
use crate::workload::{ClusteringTask, Workload};

/// Peers: what they are called in tables, and in requests.
const PEERS: [(&str, &str); 2] = [("scikit-learn KMeans", "scikit_learn"), ("faiss Kmeans", "faiss")];

/// What a peer says of one run.
#[derive(Deserialize)]
struct Fitted {
    seconds: f64,
    iterations: usize,
    assignments: Vec<u32>,
}

/// What all sides start from.
struct Start<'a> {
    task: &'a ClusteringTask,
    vectors: Vectors,
    centroids: Vectors,
    pool: ThreadPool,
}

/// Vectors assigned a second, and how tight the clusters are in the end.
pub(crate) fn run(
    run: &Run,
    workload: &Workload,
    task: &ClusteringTask,
    limits: &Limits,
) -> Result<Findings, BenchError> {
    let (count, threads) = (task.vectors.at(run.scale), workload.thread_count());
    let drawn = corpus::clustered(task.shape, count, workload.seed)?;
    let vectors = Vectors::from_embeddings(&drawn)?;
    drop(drawn);
    let mut rng = ChaCha8Rng::seed_from_u64(workload.seed);
    let centroids = vectors.gather(&sample(&mut rng, count, task.k.get()).into_vec());
    let start = Start { task, vectors, centroids, pool: pool(threads)? };
    let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
    let mut findings = Findings::default();
    let peer = start.peer(run, threads, folder.path(), &mut findings)?.map(|peer| Rc::new(RefCell::new(peer)));

    let mut contenders = vec![start.ours()?];
    if let Some(peer) = &peer {
        for (label, op) in PEERS {
            contenders.push(start.theirs(peer, label, op)?);
        }
    }
    let cost = Work::Flops(2.0 * (task.shape.dimension.get() * task.k.get()) as f64);
    for contender in &mut contenders {
        contender.work = vec![Some(cost)];
    }
    let tightest = contenders.iter().filter_map(|c| c.quality.first()).map(|q| q.value).fold(f64::INFINITY, f64::min);
    for quality in contenders.iter_mut().filter_map(|c| c.quality.first_mut()) {
        quality.value = tightest / quality.value;
    }
    let figures = [Figure::new(format!("k-means, k {}", task.k), "vector passes/s")];
    findings.rows = alternate(&workload.name, workload.repeats.at(run.scale), &figures, contenders, limits)?;
    findings.notes = vec![
        format!(
            "{count} unit vectors of {} dimensions in {} clusters, k {}, {} iterations and one last assignment, threads: \
             {threads}. A pass assigns one vector once.",
            task.shape.dimension, task.shape.clusters, task.k, task.iterations
        ),
        format!(
            "Tightness is the smallest inertia of all sides divided by the side's own: the sum of squared distances to the \
             mean of the cluster that it assigned, {tightest:.0} at best."
        ),
        "Anser and faiss scale centroids to length 1 (spherical k-means); scikit-learn does not.".to_owned(),
    ];
    Ok(findings)
}

impl Start<'_> {
    fn peer(
        &self,
        run: &Run,
        threads: usize,
        folder: &Path,
        findings: &mut Findings,
    ) -> Result<Option<Peer>, BenchError> {
        let load = json!({
            "op": "load", "dimension": self.task.shape.dimension, "threads": threads,
            "vectors": corpus::write(folder, "vectors.f32", self.vectors.as_slice())?,
            "start": corpus::write(folder, "start.f32", self.centroids.as_slice())?,
        });
        Ok(run.peer("scikit-learn and faiss", "kmeans.py", threads, &load, findings))
    }

    /// Vectors that are assigned in a run: once in each iteration, and once more in the end.
    fn passes(&self, iterations: usize) -> f64 {
        (self.vectors.len() * (iterations + 1)) as f64
    }

    fn ours(&self) -> Result<Contender<'_>, BenchError> {
        let fit = || {
            let iterations = self.task.iterations.get();
            self.pool
                .install(|| lloyd_iterations(&self.vectors, &self.centroids, iterations, &CancelToken::new()))
                .map_err(BenchError::from)
        };
        let quality = self.inertia(&fit()?.assignments);
        let mut contender = Contender::new(ANSER, move |_| {
            let started = Instant::now();
            fit()?;
            Ok(vec![self.passes(self.task.iterations.get()) / started.elapsed().as_secs_f64()])
        });
        contender.quality = vec![quality];
        Ok(contender)
    }

    fn theirs<'a>(&'a self, peer: &Rc<RefCell<Peer>>, label: &str, op: &str) -> Result<Contender<'a>, BenchError> {
        let (peer, request) = (Rc::clone(peer), json!({ "op": op, "iterations": self.task.iterations }));
        let fit = move || -> Result<Fitted, BenchError> { peer.borrow_mut().ask(&request) };
        let first = fit()?;
        if first.iterations != self.task.iterations.get() {
            eprintln!("{label} stopped after {} iterations: it had converged", first.iterations);
        }
        let quality = self.inertia(&first.assignments);
        let mut contender = Contender::new(label, move |_| {
            let fitted = fit()?;
            Ok(vec![self.passes(fitted.iterations) / fitted.seconds])
        });
        contender.quality = vec![quality];
        Ok(contender)
    }

    /// The sum of squared distances of unit vectors to the mean of their cluster: n - sum of |sum of cluster|² / size.
    fn inertia(&self, assignments: &[u32]) -> Quality {
        let dimension = self.vectors.dimension();
        let mut sums = vec![0.0_f64; self.centroids.len() * dimension];
        let mut sizes = vec![0_usize; self.centroids.len()];
        for (vector, &cluster) in self.vectors.iter().zip(assignments) {
            let at = cluster as usize;
            let Some(sum) = sums.chunks_exact_mut(dimension).nth(at) else { continue };
            sum.iter_mut().zip(vector).for_each(|(s, v)| *s += f64::from(*v));
            sizes[at] += 1;
        }
        let explained = sums.chunks_exact(dimension).zip(&sizes).filter(|(_, size)| **size > 0);
        let explained: f64 = explained.map(|(sum, size)| sum.iter().map(|s| s * s).sum::<f64>() / *size as f64).sum();
        let squares: f64 = self.vectors.as_slice().iter().map(|v| f64::from(*v).powi(2)).sum();
        Quality::new("tightness", squares - explained)
    }
}
