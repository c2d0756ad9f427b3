//! Near-duplicates: Anser's join beside faiss's exact range search, which compares all pairs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use anser_core::{CancelToken, NoProgress};
use anser_index::analysis::{NearDuplicateOptions, NearDuplicates, Vectors, near_duplicates};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::contest::{ANSER, Contender, Figure, alternate};
use crate::corpus;
use crate::error::BenchError;
use crate::limits::{Limits, pool};
use crate::report::Quality;
use crate::run::{Findings, Run};
use crate::workload::{DuplicatesTask, Workload};

/// What the peer is called in tables.
const PEER: &str = "faiss range_search";

#[derive(Deserialize)]
struct Pairs {
    seconds: f64,
    pairs: Vec<(u32, u32)>,
}

/// Vectors joined with all others a second, and the share of true groups that came out whole.
pub(crate) fn run(
    run: &Run,
    workload: &Workload,
    task: &DuplicatesTask,
    limits: &Limits,
) -> Result<Findings, BenchError> {
    let (count, threads) = (task.vectors.at(run.scale), workload.thread_count());
    let vectors = vectors(task, count, workload.seed)?;
    let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
    let mut findings = Findings::default();
    let load = json!({
        "op": "load", "dimension": task.shape.dimension, "threads": threads,
        "vectors": corpus::write(folder.path(), "vectors.f32", vectors.as_slice())?,
    });
    let peer = run.peer(PEER, "faiss_range.py", threads, &load, &mut findings).map(RefCell::new);

    let pool = pool(threads)?;
    let options = NearDuplicateOptions { threshold: task.threshold, ..NearDuplicateOptions::default() };
    let join = || -> Result<NearDuplicates, BenchError> {
        Ok(pool.install(|| near_duplicates(&vectors, &options, &CancelToken::new(), &NoProgress))?)
    };
    let found = join()?;
    let mut ours = Contender::new(ANSER, |_| {
        let started = Instant::now();
        join()?;
        Ok(vec![count as f64 / started.elapsed().as_secs_f64()])
    });
    let mut contenders = Vec::new();
    if let Some(peer) = &peer {
        let ask = || -> Result<Pairs, BenchError> {
            peer.borrow_mut().ask(&json!({ "op": "pairs", "threshold": task.threshold }))
        };
        let truth = groups(&ask()?.pairs);
        let same = truth.iter().filter(|group| found.groups.contains(group)).count();
        ours.quality = vec![Quality::new("groups", same as f64 / truth.len().max(1) as f64)];
        contenders.push(Contender::new(PEER, move |_| Ok(vec![count as f64 / ask()?.seconds])));
    }
    contenders.insert(0, ours);
    let figures = [Figure::new(format!("cosine at least {}", task.threshold), "vectors/s")];
    findings.rows = alternate(&workload.name, workload.repeats.at(run.scale), &figures, contenders, limits)?;
    findings.notes.push(format!(
        "{count} unit vectors of {} dimensions, threads: {threads}. Anser found {} groups, {}, comparing {} of {} pairs in \
         full; the quality is the share of the peer's groups that came out the same.",
        task.shape.dimension,
        found.groups.len(),
        if found.exact { "exactly" } else { "approximately" },
        found.compared,
        count as u64 * (count as u64 - 1) / 2
    ));
    Ok(findings)
}

/// Clustered vectors; every so many of them is a copy of the one before it with a little noise.
fn vectors(task: &DuplicatesTask, count: usize, seed: u64) -> Result<Vectors, BenchError> {
    let drawn = corpus::clustered(task.shape, count, seed)?;
    let dimension = task.shape.dimension.get();
    let mut values: Vec<f32> = drawn.iter().flat_map(|v| v.as_slice().iter().copied()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 1);
    let scale = task.copy_noise / (dimension as f32).sqrt();
    for at in (task.copied.get()..count).step_by(task.copied.get()) {
        let (before, copy) = values.split_at_mut(at * dimension);
        let (original, copy) = (&before[(at - 1) * dimension..], &mut copy[..dimension]);
        for (copy, original) in copy.iter_mut().zip(original) {
            let noise: f32 = rng.sample(StandardNormal);
            *copy = original + scale * noise;
        }
        let norm = copy.iter().map(|v| v * v).sum::<f32>().sqrt();
        for value in copy.iter_mut() {
            *value /= norm;
        }
    }
    Ok(Vectors::new(values, dimension)?)
}

/// The connected components of pairs, each in rising order, in the form of [`NearDuplicates::groups`].
fn groups(pairs: &[(u32, u32)]) -> Vec<Vec<u32>> {
    let mut parents: HashMap<u32, u32> = HashMap::new();
    for &(a, b) in pairs {
        let (a, b) = (root(&parents, a), root(&parents, b));
        parents.insert(a.max(b), a.min(b));
        parents.entry(a.min(b)).or_insert(a.min(b));
    }
    let mut groups: HashMap<u32, Vec<u32>> = HashMap::new();
    for &member in parents.keys() {
        groups.entry(root(&parents, member)).or_default().push(member);
    }
    let mut groups: Vec<Vec<u32>> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_unstable();
    }
    groups
}

/// The first of those that are linked with `at`; it is its own parent, or has none yet.
fn root(parents: &HashMap<u32, u32>, mut at: u32) -> u32 {
    while let Some(&parent) = parents.get(&at).filter(|parent| **parent != at) {
        at = parent;
    }
    at
}
