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
        let rows =
            [node.row].into_iter().chain(twins).filter(|row| (*row as usize) < graph.rows() && query.counts(*row));
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
        if query.allowed.is_none() {
            let near = |row| [graph.near(row), graph.more(row)];
            let removed = query.removed.len() as usize;
            // Usually the removed rows are spread as the others are, so that a beam as much wider holds `ef` that count.
            let wider = (ef * graph.rows()).div_ceil(graph.rows().saturating_sub(removed).max(1)).min(2 * ef);
            let nodes = scratch.nearest(scorer, near, &starts, wider);
            let live: Vec<Scored> = match removed {
                0 => nodes.collect(),
                _ => nodes.filter(|node| counts(graph, query, node.row)).take(ef).collect(),
            };
            if removed == 0 || live.len() + ef / 8 >= ef {
                return live;
            }
            scratch.begin(graph.rows());
        }
        nearest_that_count(graph, scorer, scratch, (starts, ef), query)
    })
}

/// Whether `node` or one of its twins counts.
fn counts(graph: &Graph, query: &GraphQuery<'_>, node: u32) -> bool {
    query.counts(node) || graph.twins().of(node).iter().any(|twin| query.counts(*twin))
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
    let counts = |row| counts(graph, query, row);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roaring::RoaringBitmap;

    use super::*;
    use crate::ann::builder::GraphBuilder;
    use crate::ann::made;
    use crate::ann::row_set::RowSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_beam_over_all_rows_finds_what_comparing_all_finds(
            count in 1usize..160,
            dimension in 2usize..70,
            clusters in 1usize..40,
            spread in 0.0f32..1.0,
            removed in prop::collection::vec(0u32..160, 0..60),
            allowed in prop::option::of(prop::collection::vec(0u32..160, 0..160)),
            seed: u64,
        ) {
            // With many clusters and no spread many rows are equal.
            let spread = if spread < 0.3 { 0.0 } else { spread };
            let rows = made::clustered(count, dimension, (clusters, spread), seed);
            let vectors = made::vectors(&rows);
            let codes = made::codes(&vectors);
            let removed: RoaringBitmap = removed.into_iter().filter(|row| (*row as usize) < count).collect();
            let allowed = allowed.map(|rows| RowSet::new(count, rows));
            let vector = &made::clustered(1, dimension, (1, 0.0), seed ^ 1)[0];
            let query = GraphQuery { vector, top: count, ef: count, removed: &removed, allowed: allowed.as_ref() };
            let expected = made::nearest(&vectors, vector, count, |row| query.counts(row));
            for builder in made::BUILDERS {
                let found = made::graph(&vectors, builder).search(&vectors, &codes, &query);
                prop_assert_eq!(&found, &expected, "{:?}", builder);
            }
        }
    }

    #[test]
    fn most_of_the_nearest_are_found_by_either_builder_whatever_counts() {
        let rows = made::clustered(4040, 48, (50, 0.9), 7);
        let (queries, rows) = rows.split_at(40);
        let vectors = made::vectors(rows);
        let codes = made::codes(&vectors);
        let some: RoaringBitmap = (0..4000).filter(|row| row % 10 == 3).collect();
        // The removed lie around the queries: whole clusters.
        let near: RoaringBitmap = (0..4000).filter(|row| row % 50 < 10).collect();
        let half = RowSet::new(4000, (0..4000).filter(|row| row % 2 == 0));
        let cases = [(RoaringBitmap::new(), None), (some, None), (near, None), (RoaringBitmap::new(), Some(&half))];
        for builder in made::BUILDERS {
            let graph = made::graph(&vectors, builder);
            for (removed, allowed) in &cases {
                let mut hits = 0;
                for vector in queries {
                    let query = GraphQuery { vector, top: 10, ef: 80, removed, allowed: *allowed };
                    let found = graph.search(&vectors, &codes, &query);
                    assert!(found.iter().all(|hit| query.counts(hit.row)) && found.is_sorted_by(|a, b| a >= b));
                    let nearest = made::nearest(&vectors, vector, 10, |row| query.counts(row));
                    hits += found.iter().take(10).filter(|hit| nearest.contains(hit)).count();
                }
                assert!(hits >= 380, "{hits} of 400 with {builder:?} and {} removed", removed.len());
            }
        }
    }

    #[test]
    fn a_row_that_is_passed_over_is_not_found_and_others_are() {
        let rows = made::clustered(2000, 16, (20, 0.7), 3);
        let vectors = made::vectors(&rows);
        let codes = made::codes(&vectors);
        let graph = made::graph(&vectors, GraphBuilder::Native);
        let removed = RoaringBitmap::new();
        let mut hits = 0;
        for row in (0..2000u32).step_by(50) {
            let vector = vectors.row(row as usize);
            let query = GraphQuery { vector, top: 10, ef: 100, removed: &removed, allowed: None };
            let found = search_without(&graph, (&vectors, &codes), &query, row);
            let nearest = made::nearest(&vectors, vector, 10, |other| other != row);
            assert!(found.iter().all(|hit| hit.row != row));
            hits += found.iter().take(10).filter(|hit| nearest.contains(hit)).count();
        }
        assert!(hits >= 380, "{hits} of 400");
    }
}
