//! Questions that mean nearly the same, found by the cosine of their embeddings.

use std::collections::BTreeMap;

use anser_core::{EmbedPurpose, Embedder, ProgressUnit};
use rayon::prelude::*;

use super::super::dataset::{Dataset, Row, normalised};
use super::super::prepare::PrepareTools;
use super::prefixes::{common_prefix, common_suffix};
use crate::TuneError;

/// Cosine from which two questions count as the same one in other words.
pub(in crate::data) const NEAR: f32 = 0.95;

/// Texts embedded between two looks at the progress.
const BATCH: usize = 64;

/// Rows compared at once, so that both blocks of vectors stay in the cache.
const BLOCK: usize = 256;

/// Which rows ask nearly the same, by row id.
#[derive(Debug, Default)]
pub(in crate::data) struct Neighbours {
    /// Pairs with their cosine, the smaller id first.
    pairs: Vec<(usize, usize, f32)>,
    /// Embeddings of the questions by row id; empty without an embedder.
    vectors: BTreeMap<usize, Vec<f32>>,
}

impl Neighbours {
    /// Embeds the questions of all rows and compares each with each. Text that all questions begin or end with is left
    /// out, since it would make everything alike.
    pub(in crate::data) fn find(
        data: &Dataset,
        embedder: &dyn Embedder,
        tools: &PrepareTools<'_>,
    ) -> Result<Self, TuneError> {
        let questions: Vec<String> = data.rows.iter().map(Row::question).collect();
        let texts: Vec<&str> = questions.iter().map(String::as_str).collect();
        let (front, back) = (common_prefix(&texts).len(), common_suffix(&texts).len());
        let own = |text: &&str| -> String {
            let own = text.get(front..text.len().saturating_sub(back)).unwrap_or(text).trim();
            if normalised(own).is_empty() { text.trim().to_owned() } else { own.to_owned() }
        };
        let own: Vec<String> = texts.iter().map(own).collect();
        // Preparation goes on while a row without any question is among them.
        let asked: Vec<usize> = (0..own.len()).filter(|at| !own[*at].trim().is_empty()).collect();
        let texts: Vec<String> = asked.iter().map(|at| own[*at].clone()).collect();
        let vectors = embed(&texts, "Comparing questions", embedder, tools)?;
        let ids: Vec<usize> = asked.iter().map(|at| data.rows[*at].id).collect();
        let pairs = pairs_above(&vectors, NEAR, tools)?;
        let pairs = pairs.into_iter().map(|(a, b, cosine)| (ids[a].min(ids[b]), ids[a].max(ids[b]), cosine)).collect();
        Ok(Self { pairs, vectors: ids.into_iter().zip(vectors).collect() })
    }

    /// Pairs of rows whose cosine is at least `least`.
    pub(in crate::data) fn pairs(&self, least: f32) -> impl Iterator<Item = (usize, usize)> {
        self.pairs.iter().filter(move |(_, _, cosine)| *cosine >= least).map(|(a, b, _)| (*a, *b))
    }

    /// The embedding of a row's question.
    pub(in crate::data) fn vector(&self, id: usize) -> Option<&[f32]> {
        self.vectors.get(&id).map(Vec::as_slice)
    }
}

/// Embeds texts in batches.
pub(in crate::data) fn embed(
    texts: &[String],
    what: &str,
    embedder: &dyn Embedder,
    tools: &PrepareTools<'_>,
) -> Result<Vec<Vec<f32>>, TuneError> {
    tools.progress.start(what, Some(texts.len() as u64), ProgressUnit::Items);
    let mut vectors = Vec::with_capacity(texts.len());
    for batch in texts.chunks(BATCH) {
        let embedded = embedder.embed(batch, EmbedPurpose::Passage, tools.cancel)?;
        vectors.extend(embedded.into_iter().map(|e| e.embedding.into_vec()));
        tools.progress.set(vectors.len() as u64);
    }
    tools.progress.finish();
    Ok(vectors)
}

/// All pairs of unit vectors with at least this cosine, as (row, row, cosine).
fn pairs_above(
    vectors: &[Vec<f32>],
    least: f32,
    tools: &PrepareTools<'_>,
) -> Result<Vec<(usize, usize, f32)>, TuneError> {
    let blocks = vectors.len().div_ceil(BLOCK);
    let work: Vec<(usize, usize)> = (0..blocks).flat_map(|a| (a..blocks).map(move |b| (a, b))).collect();
    let found: Vec<Vec<(usize, usize, f32)>> = work
        .into_par_iter()
        .map(|(a, b)| if tools.cancel.is_cancelled() { Vec::new() } else { compare_blocks(vectors, a, b, least) })
        .collect();
    tools.cancel.check()?;
    let mut pairs: Vec<_> = found.into_iter().flatten().collect();
    pairs.sort_by_key(|(a, b, _)| (*a, *b));
    Ok(pairs)
}

fn compare_blocks(vectors: &[Vec<f32>], a: usize, b: usize, least: f32) -> Vec<(usize, usize, f32)> {
    let range = |block: usize| block * BLOCK..((block + 1) * BLOCK).min(vectors.len());
    let mut found = Vec::new();
    for i in range(a) {
        for j in range(b).filter(|j| *j > i) {
            let cosine = dot(&vectors[i], &vectors[j]);
            if cosine >= least {
                found.push((i, j, cosine));
            }
        }
    }
    found
}

/// The dot product, in lanes that the compiler turns into vector instructions.
pub(in crate::data) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in left.zip(right) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Groups of rows that are joined by pairs, directly or through others (union by the smallest id).
pub(in crate::data) struct Groups {
    parents: BTreeMap<usize, usize>,
}

impl Groups {
    pub(in crate::data) fn new(pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut groups = Self { parents: BTreeMap::new() };
        for (a, b) in pairs {
            groups.join(a, b);
        }
        groups
    }

    pub(in crate::data) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        if a != b {
            self.parents.insert(a.max(b), a.min(b));
        }
    }

    /// The smallest id of the row's group.
    pub(in crate::data) fn of(&mut self, id: usize) -> usize {
        let mut root = id;
        while let Some(parent) = self.parents.get(&root) {
            root = *parent;
        }
        let mut at = id;
        while at != root {
            at = self.parents.insert(at, root).unwrap_or(root);
        }
        root
    }
}
