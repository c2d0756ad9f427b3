//! The walk through a graph: greedy down to layer 0, then with a beam.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::codes::{CodedQuery, Codes};
use super::graph::{Graph, GraphQuery};
use super::top::Scored;
use super::vectors::{Vectors, dot};

/// Scores rows against one query.
pub(super) trait Scorer {
    /// Scores `rows`, one after the other in `out`; a row that does not exist scores minus infinity.
    fn score(&self, rows: &[u32], out: &mut Vec<f32>);
}

/// Scores by codes.
struct ByCodes<'a> {
    codes: &'a Codes,
    query: CodedQuery,
}

impl Scorer for ByCodes<'_> {
    fn score(&self, rows: &[u32], out: &mut Vec<f32>) {
        self.codes.score(&self.query, rows, out);
    }
}

/// Memory that a thread's searches share.
#[derive(Default)]
struct Scratch {
    /// One bit per row.
    seen: Vec<u64>,
    fresh: Vec<u32>,
    scores: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Walks by codes, then scores the hits by the vectors themselves.
pub(super) fn search_codes(graph: &Graph, vectors: &Vectors, codes: &Codes, query: &GraphQuery<'_>) -> Vec<Scored> {
    if codes.len() != graph.rows() || query.vector.len() != codes.dimension() {
        return Vec::new();
    }
    let scorer = ByCodes { codes, query: codes.query(query.vector) };
    let nodes = nearest_nodes(graph, &scorer, query);
    let mut found = Vec::with_capacity(nodes.len());
    for node in nodes {
        let score = dot(query.vector, vectors.row(node.row as usize));
        let twins = graph.twins().of(node.row).iter().copied();
        found.extend([node.row].into_iter().chain(twins).filter(|row| query.counts(*row)).map(|row| Scored { score, row }));
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

/// The nodes that a beam of `ef` finds, best first by `scorer`: those that count, or have a twin that does.
pub(super) fn nearest_nodes(graph: &Graph, scorer: &impl Scorer, query: &GraphQuery<'_>) -> Vec<Scored> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.seen.clear();
        scratch.seen.resize(graph.rows().div_ceil(64), 0);
        let ef = query.ef.max(query.top).clamp(1, graph.rows());
        let start = descend(graph, scorer, scratch);
        walk(graph, scorer, scratch, (start, ef), query)
    })
}

/// Walks greedily from the entry through the upper layers; returns the entry and where it ended.
fn descend(graph: &Graph, scorer: &impl Scorer, scratch: &mut Scratch) -> [Scored; 2] {
    scorer.score(&[graph.entry()], &mut scratch.scores);
    let entry = Scored { row: graph.entry(), score: scratch.scores.first().copied().unwrap_or(f32::NEG_INFINITY) };
    let mut best = entry;
    for layer in graph.upper().iter().rev() {
        loop {
            let near = layer.of(best.row);
            scorer.score(near, &mut scratch.scores);
            let scored = near.iter().zip(&scratch.scores).map(|(row, score)| Scored { row: *row, score: *score });
            match scored.max().filter(|next| *next > best && (next.row as usize) < graph.rows()) {
                Some(better) => best = better,
                None => break,
            }
        }
    }
    [best, entry]
}

fn walk(
    graph: &Graph,
    scorer: &impl Scorer,
    scratch: &mut Scratch,
    (starts, ef): ([Scored; 2], usize),
    query: &GraphQuery<'_>,
) -> Vec<Scored> {
    let counts = |row: u32| query.counts(row) || graph.twins().of(row).iter().any(|twin| query.counts(*twin));
    let mut candidates = BinaryHeap::new();
    let mut found: BinaryHeap<Reverse<Scored>> = BinaryHeap::new();
    // All nodes can be reached from the entry; where the descent ends may be a corner without a way out.
    for start in starts {
        if mark(&mut scratch.seen, start.row, graph.rows()) {
            candidates.push(start);
            if counts(start.row) {
                found.push(Reverse(start));
            }
        }
    }
    while let Some(candidate) = candidates.pop() {
        if found.len() >= ef && found.peek().is_some_and(|worst| candidate < worst.0) {
            break;
        }
        scratch.fresh.clear();
        for row in graph.near(candidate.row).iter().chain(graph.more(candidate.row)) {
            if mark(&mut scratch.seen, *row, graph.rows()) {
                scratch.fresh.push(*row);
            }
        }
        scorer.score(&scratch.fresh, &mut scratch.scores);
        for (row, score) in scratch.fresh.iter().zip(&scratch.scores) {
            let next = Scored { row: *row, score: *score };
            if found.len() >= ef && found.peek().is_some_and(|worst| next < worst.0) {
                continue;
            }
            candidates.push(next);
            if counts(next.row) {
                found.push(Reverse(next));
                if found.len() > ef {
                    found.pop();
                }
            }
        }
    }
    found.into_sorted_vec().into_iter().map(|r| r.0).collect()
}

/// Marks `row`; false when it was marked before or is no row.
fn mark(seen: &mut [u64], row: u32, rows: usize) -> bool {
    let (word, bit) = (row as usize / 64, 1u64 << (row % 64));
    match seen.get_mut(word) {
        Some(w) if *w & bit == 0 && (row as usize) < rows => {
            *w |= bit;
            true
        }
        _ => false,
    }
}
