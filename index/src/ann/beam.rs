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
    rows: u32,
    /// The first `count` are the rows collected last; the others are left from before.
    fresh: Vec<u32>,
    count: usize,
    /// Scores of the rows collected last.
    pub(super) scores: Vec<f32>,
    beam: Vec<u64>,
}

impl Scratch {
    /// Forgets what was seen; there are `rows` rows.
    pub(super) fn begin(&mut self, rows: usize) {
        self.seen.clear();
        self.seen.resize(rows.div_ceil(64), 0);
        self.rows = rows.min(u32::MAX as usize) as u32;
    }

    /// Marks `row`; false when it was marked before or is no row.
    #[inline]
    pub(super) fn mark(&mut self, row: u32) -> bool {
        let (word, bit) = (row as usize / 64, 1u64 << (row % 64));
        match self.seen.get_mut(word) {
            Some(w) if *w & bit == 0 && row < self.rows => {
                *w |= bit;
                true
            }
            _ => false,
        }
    }

    /// Collects those of the rows in `pieces` that were not seen before; each piece ends at the first number of no row.
    #[inline]
    pub(super) fn collect_fresh(&mut self, pieces: [&[u32]; 2]) {
        let room = pieces[0].len() + pieces[1].len();
        if self.fresh.len() < room {
            self.fresh.resize(room, 0);
        }
        self.count = 0;
        for piece in pieces {
            for row in piece {
                let (word, bit) = (row / 64, row % 64);
                let Some(seen) = self.seen.get_mut(word as usize).filter(|_| *row < self.rows) else { break };
                // Whether a row was seen cannot be foretold, so nothing depends on it but where the next one goes.
                let new = !(*seen >> bit) & 1;
                *seen |= 1 << bit;
                if let Some(place) = self.fresh.get_mut(self.count) {
                    *place = *row;
                }
                self.count += new as usize;
            }
        }
    }

    /// Scores what was collected.
    #[inline]
    pub(super) fn score_fresh(&mut self, scorer: &impl Scorer) {
        scorer.score(self.fresh.get(..self.count).unwrap_or(&[]), &mut self.scores);
    }

    /// The rows collected last, with their scores.
    pub(super) fn scored(&self) -> impl Iterator<Item = Scored> + '_ {
        self.fresh.iter().zip(&self.scores).map(|(row, score)| Scored { score: *score, row: *row })
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
            self.collect_fresh(near(row));
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
