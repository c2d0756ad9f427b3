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
use super::codes::Codes;
use super::graph::Adjacency;
use super::top::Scored;
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

/// Scores by the code of a row.
struct ByRow<'a> {
    codes: &'a Codes,
    row: u32,
}

impl Scorer for ByRow<'_> {
    #[inline]
    fn score(&self, rows: &[u32], out: &mut Vec<f32>) {
        self.codes.compare(self.row, rows, out);
    }
}

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
    /// Where the links of the row it starts at stand in its layer.
    at: u32,
    to: u32,
}

/// What is linked so far.
struct Growing<'a> {
    codes: &'a Codes,
    /// Rows in the order in which they are linked: those of many layers come first.
    order: &'a [u32],
    /// The place of a row in `order`, which is where its links stand in the layers above the lowest.
    places: &'a [u32],
    layers: Vec<Layer>,
}

/// Links `nodes` (ascending rows); returns where searches begin and each layer's links, the lowest first.
pub(crate) fn link(
    codes: &Codes,
    nodes: &[u32],
    params: &HnswParams,
    cancel: &CancelToken,
) -> Result<(u32, Vec<Adjacency>)> {
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
        let (count, most) = if layer == 0 { (codes.len(), 2 * params.m) } else { (count, params.m) };
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
            let scorer = ByRow { codes: self.codes, row };
            let mut found = vec![Vec::new(); upper + 1];
            let entry = self.order[0];
            scorer.score(&[entry], &mut scratch.scores);
            let mut starts = vec![Scored { row: entry, score: scratch.scores[0] }];
            for (at, layer) in self.layers.iter().enumerate().rev() {
                let near = |row: u32| [layer.of(self.place(at, row)), &[][..]];
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

    /// Where the links of `row` stand in a layer: in the lowest, where all rows are, row after row.
    #[inline]
    fn place(&self, layer: usize, row: u32) -> u32 {
        if layer == 0 { row } else { self.places[row as usize] }
    }

    /// Adds the links that the rows from place `start` on have `found`, and links back.
    fn add(&mut self, start: usize, found: &[Vec<Vec<u32>>]) {
        for at in 0..self.layers.len() {
            let mut back = Vec::new();
            for (row, rows) in self.order[start..].iter().zip(found) {
                let Some(rows) = rows.get(at) else { continue };
                let from = self.place(at, *row) as usize * self.layers[at].places;
                self.layers[at].links[from..from + rows.len()].copy_from_slice(rows);
                back.extend(rows.iter().map(|other| Link { at: self.place(at, *other), to: *row }));
            }
            back.par_sort_unstable();
            let groups: Vec<&[Link]> = back.chunk_by(|a, b| a.at == b.at).collect();
            let rows = if at == 0 { &[] } else { self.order };
            let layer = &mut self.layers[at];
            add_back((self.codes, rows, layer.most, layer.places), &mut layer.links, 0, &groups);
        }
    }

    /// Chooses from what piled up.
    fn finish(mut self) -> Vec<Adjacency> {
        let (codes, order) = (self.codes, self.order);
        let mut all = Vec::with_capacity(self.layers.len());
        for (at, layer) in self.layers.iter_mut().enumerate() {
            let rows = order.iter().take_while(|row| at == 0 || (self.places[**row as usize] as usize) < layer.rows());
            let mut nodes: Adjacency = rows.map(|row| (*row, Vec::new())).collect();
            nodes.par_sort_unstable_by_key(|(row, _)| *row);
            let place = |row: u32| if at == 0 { row } else { self.places[row as usize] };
            nodes.par_iter_mut().for_each(|(row, links)| {
                links.extend(layer.of(place(*row)).iter().take_while(|row| **row != NOBODY));
                WORK.with_borrow_mut(|work| work.choice.shrink(codes, *row, links, layer.most));
            });
            all.push(nodes);
        }
        all
    }
}

impl Layer {
    /// The links in `place`, with [`NOBODY`] where there are fewer.
    #[inline]
    fn of(&self, place: u32) -> &[u32] {
        let start = place as usize * self.places;
        self.links.get(start..start + self.places).unwrap_or(&[])
    }

    fn rows(&self) -> usize {
        self.links.len() / self.places
    }
}

/// Adds `groups`, which ascend, to `links`, which begin with those in place `first`. `order` has the rows of the places; when
/// it is empty they are the places themselves.
fn add_back(shared: (&Codes, &[u32], usize, usize), links: &mut [u32], first: usize, groups: &[&[Link]]) {
    let (codes, order, most, places) = shared;
    if groups.len() > TASK_TARGETS {
        let (left, right) = groups.split_at(groups.len() / 2);
        let middle = right[0][0].at as usize;
        let (low, high) = links.split_at_mut((middle - first) * places);
        rayon::join(|| add_back(shared, low, first, left), || add_back(shared, high, middle, right));
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
                let row = order.get(place).copied().unwrap_or(place as u32);
                choice.replace(codes, row, (&all, links), most);
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
    scores: Vec<f32>,
    ranked: Vec<Scored>,
}

impl Choice {
    /// At most `most` of `candidates`, which fall: each is nearer to the row that they are neighbours of than to any of
    /// those chosen before it (Malkov and Yashunin, algorithm 4). Of rows with equal codes one is enough, so that a crowd of
    /// them does not fill all places.
    fn choose(&mut self, codes: &Codes, candidates: &[Scored], most: usize) -> impl Iterator<Item = u32> + '_ {
        self.chosen.clear();
        for candidate in candidates {
            if self.chosen.len() >= most {
                break;
            }
            let mut apart = true;
            for chosen in self.chosen.chunks(4) {
                codes.compare(candidate.row, chosen, &mut self.scores);
                if self.scores.iter().any(|score| *score >= candidate.score) {
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
        codes.compare(row, all, &mut self.scores);
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
    fn shrink(&mut self, codes: &Codes, row: u32, links: &mut Vec<u32>, most: usize) {
        if links.len() > most {
            let all = links.clone();
            self.replace(codes, row, (&all, links), most);
            links.truncate(linked(links).len());
        }
    }
}

/// The highest layer of a row: a random number from the exponential distribution that Malkov and Yashunin give, 1 / ln m.
fn level(random: u64, m: usize) -> usize {
    let uniform = ((random >> 11) + 1) as f64 / (1u64 << 53) as f64;
    ((-uniform.ln() / (m as f64).ln()) as usize).min(MAX_UPPER)
}

/// The next number of Steele, Lea and Flood's `SplitMix64` generator ("Fast splittable pseudorandom number generators",
/// 2014) after `state`.
fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
