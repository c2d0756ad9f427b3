//! Best-first search of one layer with a beam, and the memory that it works in.

use anser_kernels::prefetch;

use super::top::Scored;

/// Scores rows against one query.
pub(super) trait Scorer {
    /// Scores `rows`, one after the other in `out`; a row that does not exist scores minus infinity.
    fn score(&self, rows: &[u32], out: &mut Vec<f32>);
}

/// Memory that the searches of a thread share.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// One bit per row.
    seen: Vec<u64>,
    rows: usize,
    /// Neighbours that were not seen before, and their scores.
    pub(super) fresh: Vec<u32>,
    pub(super) scores: Vec<f32>,
    beam: Vec<u64>,
}

impl Scratch {
    /// Forgets what was seen; there are `rows` rows.
    pub(super) fn begin(&mut self, rows: usize) {
        self.seen.clear();
        self.seen.resize(rows.div_ceil(64), 0);
        self.rows = rows;
    }

    /// Marks `row`; false when it was marked before or is no row.
    #[inline]
    pub(super) fn mark(&mut self, row: u32) -> bool {
        let (word, bit) = (row as usize / 64, 1u64 << (row % 64));
        match self.seen.get_mut(word) {
            Some(w) if *w & bit == 0 && (row as usize) < self.rows => {
                *w |= bit;
                true
            }
            _ => false,
        }
    }

    /// Collects those of `rows` that were not seen before.
    #[inline]
    pub(super) fn collect_fresh<'a>(&mut self, rows: impl Iterator<Item = &'a u32>) {
        self.fresh.clear();
        for row in rows {
            if self.mark(*row) {
                self.fresh.push(*row);
            }
        }
    }

    /// Scores what was collected.
    #[inline]
    pub(super) fn score_fresh(&mut self, scorer: &impl Scorer) {
        scorer.score(&self.fresh, &mut self.scores);
    }

    /// The `ef` best rows that a walk from `starts` meets, best first. It goes on from the best row whose links were not
    /// followed yet, as long as that is among the `ef` best. `near` gives the neighbours of a row, in one or two pieces.
    pub(super) fn nearest<'a>(
        &mut self,
        scorer: &impl Scorer,
        near: impl Fn(u32) -> [&'a [u32]; 2],
        starts: &[Scored],
        ef: usize,
    ) -> impl Iterator<Item = Scored> + '_ {
        self.beam.clear();
        for start in starts {
            if self.mark(start.row) {
                keep(&mut self.beam, key(*start), ef);
            }
        }
        let mut next = 0;
        while let Some(best) = self.beam.get_mut(next) {
            if *best & FOLLOWED != 0 {
                next += 1;
                continue;
            }
            *best |= FOLLOWED;
            let row = row_of(*best);
            // Most likely the row after this one.
            if let Some(after) = self.beam.get(next + 1) {
                prefetch(near(row_of(*after))[0]);
            }
            next += 1;
            let [first, second] = near(row);
            self.collect_fresh(first.iter().chain(second));
            self.score_fresh(scorer);
            for (row, score) in self.fresh.iter().zip(&self.scores) {
                let at = keep(&mut self.beam, key(Scored { score: *score, row: *row }), ef);
                next = next.min(at);
            }
        }
        self.beam.iter().map(|key| Scored { score: score_of(*key), row: row_of(*key) })
    }
}

/// The lowest bit of a beam's entry: its links were followed. Above it stands the row, above that the score, so that
/// entries order as they should.
const FOLLOWED: u64 = 1;

#[inline]
fn key(scored: Scored) -> u64 {
    let bits = scored.score.to_bits();
    // Floats order as their bits do, negative ones the other way round.
    let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(ordered) << 32 | u64::from(scored.row) << 1
}

#[inline]
fn row_of(key: u64) -> u32 {
    (key as u32) >> 1
}

#[inline]
fn score_of(key: u64) -> f32 {
    let ordered = (key >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// Puts `key` where it belongs among the `ef` best, which fall; returns its place, which is past the end when it is not
/// among them.
#[inline]
fn keep(beam: &mut Vec<u64>, key: u64, ef: usize) -> usize {
    if beam.len() < ef {
        let at = beam.partition_point(|kept| *kept > key);
        beam.insert(at, key);
        return at;
    }
    match beam.last() {
        Some(worst) if *worst < key => {
            let at = beam.partition_point(|kept| *kept > key);
            let last = beam.len() - 1;
            beam.copy_within(at..last, at + 1);
            if let Some(place) = beam.get_mut(at) {
                *place = key;
            }
            at
        }
        _ => usize::MAX,
    }
}
