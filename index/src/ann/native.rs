//! Anser's own builder of HNSW graphs.
//!
//! Rows are linked by the rule of Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
//! Hierarchical Navigable Small World graphs" (2016), algorithms 1 and 4, over codes. Threads never wait for one another:
//! as Dobson and others describe in "Scaling Graph-Based ANNS Algorithms to Billion-Size Datasets" (2023), the rows of a
//! batch search the graph as it was before the batch, then all links to them are sorted by the row they start at and
//! added row by row. So the graph is the same, to the byte, on any number of threads.

use std::cell::RefCell;

use anser_core::CancelToken;
use rayon::prelude::*;

use super::beam::{Scorer, Scratch};
use super::builder::HnswParams;
use super::codes::{CodedQuery, Codes};
use super::graph::Adjacency;
use super::top::Scored;
use super::walk::ByCodes;
use crate::Result;

/// A place without a link.
const NOBODY: u32 = u32::MAX;
/// A batch is this part of the rows that are linked already: its rows do not see one another.
const BATCH_PART: usize = 32;
/// Most rows of a batch, so that what it found needs little memory.
const BATCH_ROWS: usize = 8192;
/// Links of a layer whose new ones one task adds.
const TASK_TARGETS: usize = 64;
/// Most layers above the lowest.
const MAX_UPPER: usize = 15;

/// The links of one layer while it grows: the same number of places for each row in it.
struct Layer {
    /// Rows keep at most so many links.
    most: usize,
    /// Places of a row: links may pile up beyond `most` until they are chosen from.
    places: usize,
    links: Vec<u32>,
}

/// A new link from `from` to `to`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    /// Place of the row it starts at in its layer.
    at: u32,
    to: u32,
}

/// What is linked so far.
struct Growing<'a> {
    codes: &'a Codes,
    /// Rows in the order in which they are linked: those of many layers come first.
    order: &'a [u32],
    /// The place of a row in `order`, which is its place in every layer too.
    places: &'a [u32],
    layers: Vec<Layer>,
}

/// Links `nodes` (ascending rows); returns where searches begin and each layer's links, the lowest first.
pub(crate) fn link(codes: &Codes, nodes: &[u32], params: &HnswParams, cancel: &CancelToken) -> Result<(u32, Vec<Adjacency>)> {
    let mut order: Vec<(usize, u64, u32)> = nodes
        .iter()
        .map(|row| {
            let random = mixed(u64::from(*row));
            (MAX_UPPER - level(random, params.m), mixed(random), *row)
        })
        .collect();
    order.par_sort_unstable();
    let upper_of = |at: usize| MAX_UPPER - order[at].0;
    let rows: Vec<u32> = order.iter().map(|(.., row)| *row).collect();
    let mut places = vec![NOBODY; codes.len()];
    for (place, row) in rows.iter().enumerate() {
        places[*row as usize] = place as u32;
    }
    let layers = (0..=upper_of(0)).map(|layer| {
        let count = order.partition_point(|(under, ..)| MAX_UPPER - under >= layer);
        let most = if layer == 0 { 2 * params.m } else { params.m };
        let places = most + most / 2;
        Layer { most, places, links: vec![NOBODY; count * places] }
    });
    let mut growing = Growing { codes, order: &rows, places: &places, layers: layers.collect() };
    let mut done = 1;
    while done < rows.len() {
        cancel.check()?;
        let batch = (done / BATCH_PART).clamp(1, BATCH_ROWS).min(rows.len() - done);
        let found: Vec<Vec<Vec<u32>>> = (done..done + batch)
            .into_par_iter()
            .map(|place| growing.neighbours(rows[place], upper_of(place), params))
            .collect();
        growing.add(done, &found);
        done += batch;
    }
    cancel.check()?;
    Ok((rows[0], growing.finish()))
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

/// Memory of a thread.
#[derive(Default)]
struct Work {
    scratch: Scratch,
    choice: Choice,
}

impl Growing<'_> {
    /// The neighbours that `row` gets in each of its layers, the lowest first.
    fn neighbours(&self, row: u32, upper: usize, params: &HnswParams) -> Vec<Vec<u32>> {
        WORK.with_borrow_mut(|Work { scratch, choice }| {
            let scorer = ByCodes { codes: self.codes, query: self.codes.query_of(row) };
            let mut found = vec![Vec::new(); upper + 1];
            let entry = self.order[0];
            scorer.score(&[entry], &mut scratch.scores);
            let mut starts = vec![Scored { row: entry, score: scratch.scores[0] }];
            for (at, layer) in self.layers.iter().enumerate().rev() {
                let near = |row: u32| [layer.of(self.places[row as usize]), &[][..]];
                scratch.begin(self.codes.len());
                let beam = if at > upper { 1 } else { params.ef_construction };
                starts = scratch.nearest(&scorer, near, &starts, beam).collect();
                if let Some(found) = found.get_mut(at) {
                    found.extend(choice.choose(self.codes, &starts, params.m));
                }
            }
            found
        })
    }

    /// Adds the links that the rows from place `start` on have `found`, and links back.
    fn add(&mut self, start: usize, found: &[Vec<Vec<u32>>]) {
        let (codes, order) = (self.codes, self.order);
        for (at, layer) in self.layers.iter_mut().enumerate() {
            let mut back = Vec::new();
            for (place, rows) in (start..).zip(found) {
                let Some(rows) = rows.get(at) else { continue };
                let from = layer.places * place;
                layer.links[from..from + rows.len()].copy_from_slice(rows);
                back.extend(rows.iter().map(|row| Link { at: self.places[*row as usize], to: order[place] }));
            }
            back.par_sort_unstable();
            let groups: Vec<&[Link]> = back.chunk_by(|a, b| a.at == b.at).collect();
            layer.add_back(codes, order, &groups);
        }
    }

    /// Chooses from what piled up.
    fn finish(mut self) -> Vec<Adjacency> {
        let (codes, order) = (self.codes, self.order);
        let layers = self.layers.iter_mut().map(|layer| {
            let (most, places) = (layer.most, layer.places);
            let rows = layer.links.par_chunks_mut(places).zip(order);
            let mut nodes: Adjacency = rows
                .map(|(links, row)| {
                    WORK.with_borrow_mut(|work| work.choice.shrink(codes, *row, links, most));
                    (*row, linked(links).to_vec())
                })
                .collect();
            nodes.par_sort_unstable_by_key(|(row, _)| *row);
            nodes
        });
        layers.collect()
    }
}

impl Layer {
    /// The links of the row in `place`.
    #[inline]
    fn of(&self, place: u32) -> &[u32] {
        let start = place as usize * self.places;
        self.links.get(start..start + self.places).map_or(&[], linked)
    }

    /// Adds new links to rows that are linked already; groups ascend by the row's place.
    fn add_back(&mut self, codes: &Codes, order: &[u32], groups: &[&[Link]]) {
        add_within((codes, order, self.most, self.places), &mut self.links, 0, groups);
    }
}

/// Adds `groups` to `links`, which begin with those of the row in place `first`.
fn add_within(
    shared: (&Codes, &[u32], usize, usize),
    links: &mut [u32],
    first: usize,
    groups: &[&[Link]],
) {
    let (codes, order, most, places) = shared;
    if groups.len() > TASK_TARGETS {
        let (left, right) = groups.split_at(groups.len() / 2);
        let middle = right[0][0].at as usize;
        let (low, high) = links.split_at_mut((middle - first) * places);
        rayon::join(|| add_within(shared, low, first, left), || add_within(shared, high, middle, right));
        return;
    }
    WORK.with_borrow_mut(|Work { choice, .. }| {
        for group in groups {
            let place = group[0].at as usize;
            let start = (place - first) * places;
            let links = &mut links[start..start + places];
            let had = linked(links).len();
            if had + group.len() <= places {
                for (link, place) in group.iter().zip(&mut links[had..]) {
                    *place = link.to;
                }
            } else {
                let all: Vec<u32> = links[..had].iter().copied().chain(group.iter().map(|link| link.to)).collect();
                choice.replace(codes, order[place], (&all, links), most);
            }
        }
    });
}

/// The links before the first free place.
#[inline]
fn linked(links: &[u32]) -> &[u32] {
    let count = links.iter().position(|row| *row == NOBODY).unwrap_or(links.len());
    &links[..count]
}

/// Choosing neighbours, with the memory it needs.
#[derive(Default)]
struct Choice {
    chosen: Vec<u32>,
    query: Option<CodedQuery>,
    scores: Vec<f32>,
    ranked: Vec<Scored>,
}

impl Choice {
    /// At most `most` of `candidates`, which fall: each is nearer to the row that they are neighbours of than to any of
    /// those chosen before it (Malkov and Yashunin, algorithm 4).
    fn choose(&mut self, codes: &Codes, candidates: &[Scored], most: usize) -> impl Iterator<Item = u32> + '_ {
        self.chosen.clear();
        for candidate in candidates {
            if self.chosen.len() >= most {
                break;
            }
            let query = self.query.get_or_insert_with(|| codes.query_of(candidate.row));
            codes.assign(query, candidate.row);
            let mut apart = true;
            for chosen in self.chosen.chunks(4) {
                codes.score(query, chosen, &mut self.scores);
                if self.scores.iter().any(|score| *score > candidate.score) {
                    apart = false;
                    break;
                }
            }
            if apart {
                self.chosen.push(candidate.row);
            }
        }
        self.chosen.iter().copied()
    }

    /// Puts the choice of `all` neighbours of `row` in `links`.
    fn replace(&mut self, codes: &Codes, row: u32, (all, links): (&[u32], &mut [u32]), most: usize) {
        let query = codes.query_of(row);
        codes.score(&query, all, &mut self.scores);
        let mut ranked = std::mem::take(&mut self.ranked);
        ranked.clear();
        ranked.extend(all.iter().zip(&self.scores).map(|(row, score)| Scored { row: *row, score: *score }));
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        links.fill(NOBODY);
        for (link, row) in links.iter_mut().zip(self.choose(codes, &ranked, most)) {
            *link = row;
        }
        self.ranked = ranked;
    }

    /// Leaves at most `most` links of `row`.
    fn shrink(&mut self, codes: &Codes, row: u32, links: &mut [u32], most: usize) {
        let all = linked(links).to_vec();
        if all.len() > most {
            self.replace(codes, row, (&all, links), most);
        }
    }
}

/// The highest layer of a row: a random number from the exponential distribution that Malkov and Yashunin give, 1 / ln m.
fn level(random: u64, m: usize) -> usize {
    let uniform = ((random >> 11) + 1) as f64 / (1u64 << 53) as f64;
    ((-uniform.ln() / (m as f64).ln()) as usize).min(MAX_UPPER)
}

/// The next number of Steele, Lea and Flood's SplitMix64 generator ("Fast splittable pseudorandom number generators",
/// 2014) after `state`.
fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
