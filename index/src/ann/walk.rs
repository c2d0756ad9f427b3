//! The walk through a finished graph: greedy down to layer 0, then with a beam.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anser_kernels::prefetch;

use super::beam::{Scorer, Scratch};
use super::codes::{CodedQuery, Codes};
use super::graph::{Graph, GraphQuery};
use super::top::Scored;
use super::vectors::{Vectors, dot};

/// Scores by codes.
pub(super) struct ByCodes<'a> {
    pub(super) codes: &'a Codes,
    pub(super) query: CodedQuery,
}

impl Scorer for ByCodes<'_> {
    #[inline]
    fn score(&self, rows: &[u32], out: &mut Vec<f32>) {
        self.codes.score(&self.query, rows, out);
    }
}

/// Scores as another does, but for a row that is to be passed over.
struct Without<'a, S> {
    scorer: &'a S,
    row: u32,
}

impl<S: Scorer> Scorer for Without<'_, S> {
    fn score(&self, rows: &[u32], out: &mut Vec<f32>) {
        self.scorer.score(rows, out);
        if let Some(at) = rows.iter().position(|row| *row == self.row) {
            out[at] = f32::NEG_INFINITY;
        }
    }
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
    rescore(graph, vectors, query, nearest_nodes(graph, &scorer, query))
}

/// The same with `row` passed over, nearly as if it had never been linked: what a search with its vector as the query
/// would find without it.
pub(super) fn search_without(
    graph: &Graph,
    (vectors, codes): (&Vectors, &Codes),
    query: &GraphQuery<'_>,
    row: u32,
) -> Vec<Scored> {
    let scorer = ByCodes { codes, query: codes.query(query.vector) };
    let mut nodes = nearest_nodes(graph, &Without { scorer: &scorer, row }, query);
    nodes.retain(|node| node.row != row);
    rescore(graph, vectors, query, nodes)
}

fn rescore(graph: &Graph, vectors: &Vectors, query: &GraphQuery<'_>, mut nodes: Vec<Scored>) -> Vec<Scored> {
    nodes.truncate(rescored(query.top));
    let mut found = Vec::with_capacity(nodes.len());
    for node in nodes.iter().take(AHEAD) {
        prefetch(vectors.row(node.row as usize));
    }
    for (at, node) in nodes.iter().enumerate() {
        if let Some(next) = nodes.get(at + AHEAD) {
            prefetch(vectors.row(next.row as usize));
        }
        let score = dot(query.vector, vectors.row(node.row as usize));
        let twins = graph.twins().of(node.row).iter().copied();
        let rows = [node.row].into_iter().chain(twins).filter(|row| query.counts(*row));
        found.extend(rows.map(|row| Scored { score, row }));
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

/// Vectors that are fetched while another is compared.
const AHEAD: usize = 2;

/// How many of the best by codes are scored by their vectors, so that the best `top` are among them.
fn rescored(top: usize) -> usize {
    top.saturating_mul(2).saturating_add(10)
}

/// The nodes that a beam of `ef` finds, best first by `scorer`: those that count, or have a twin that does.
pub(super) fn nearest_nodes(graph: &Graph, scorer: &impl Scorer, query: &GraphQuery<'_>) -> Vec<Scored> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.begin(graph.rows());
        let ef = query.ef.max(query.top).clamp(1, graph.rows());
        // All nodes can be reached from the entry; where the descent ends may be a corner without a way out.
        let starts = descend(graph, scorer, scratch);
        if query.allowed.is_none() && query.removed.is_empty() {
            let near = |row| [graph.near(row), graph.more(row)];
            scratch.nearest(scorer, near, &starts, ef).collect()
        } else {
            nearest_that_count(graph, scorer, scratch, (starts, ef), query)
        }
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

/// The walk when some rows do not count: they are passed through, but take no place among the `ef` best.
fn nearest_that_count(
    graph: &Graph,
    scorer: &impl Scorer,
    scratch: &mut Scratch,
    (starts, ef): ([Scored; 2], usize),
    query: &GraphQuery<'_>,
) -> Vec<Scored> {
    let counts = |row: u32| query.counts(row) || graph.twins().of(row).iter().any(|twin| query.counts(*twin));
    let mut candidates = BinaryHeap::new();
    let mut found: BinaryHeap<Reverse<Scored>> = BinaryHeap::new();
    for start in starts {
        if scratch.mark(start.row) {
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
        scratch.collect_fresh([graph.near(candidate.row), graph.more(candidate.row)]);
        scratch.score_fresh(scorer);
        for next in scratch.scored() {
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
