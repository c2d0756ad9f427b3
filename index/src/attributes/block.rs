//! Some thousand documents: their keys, and a column for each attribute. Immutable; a change makes a new block.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::Draft;
use super::packed::Packed;
use super::plan::{Comparison, Plan};
use super::rows::{BLOCK_ROWS, RowBits};
use super::values::Part;

/// The attributes of up to [`BLOCK_ROWS`] documents.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    /// The key of the first row.
    pub(super) low: i64,
    /// How far each row's key is above it, ascending.
    pub(super) offsets: Packed,
    /// Rows whose document is there. The others had one that was deleted.
    pub(super) live: RowBits,
    /// For each attribute what there is of each type. A row has at most one value of an attribute.
    pub(super) columns: BTreeMap<Arc<str>, Vec<Part>>,
}

/// What becomes of a document: its attributes as JSON, or `None` where it was deleted.
pub(super) type Edit<'a> = (i64, Option<&'a str>);

impl Block {
    /// A block of documents with ascending keys, none of them deleted, at most [`BLOCK_ROWS`].
    pub(super) fn new(keys: &[i64], draft: Draft) -> Self {
        let low = keys.first().copied().unwrap_or(0);
        Self { low, offsets: pack(low, keys), live: RowBits::first(keys.len()), columns: draft.finish() }
    }

    /// Rows, those of deleted documents included.
    pub(super) fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// The key of the document in `row`.
    pub(super) fn key(&self, row: usize) -> i64 {
        self.low.wrapping_add_unsigned(self.offsets.get(row))
    }

    /// The last row's key.
    pub(super) fn last_key(&self) -> i64 {
        self.key(self.rows().saturating_sub(1))
    }

    /// The row of a document, which may be deleted.
    pub(super) fn row(&self, key: i64) -> Option<usize> {
        let offset = key.checked_sub(self.low).and_then(|offset| u64::try_from(offset).ok())?;
        let row = self.offsets.lower_bound(offset);
        (row < self.rows() && self.offsets.get(row) == offset).then_some(row)
    }

    /// This block after `edits` of documents in it, and with the documents `new` behind it, whose keys ascend.
    ///
    /// # Errors
    /// The key of the document whose attributes cannot be read, and why.
    pub(super) fn changed(&self, edits: &[Edit<'_>], new: &[(i64, &str)]) -> Result<Self, (i64, serde_json::Error)> {
        let (mut touched, mut live) = (RowBits::none(), self.live.clone());
        let edits: Vec<(usize, Edit<'_>)> =
            edits.iter().filter_map(|(key, json)| Some((self.row(*key)?, (*key, *json)))).collect();
        for (row, _) in &edits {
            touched.set(*row);
        }
        let mut draft = Draft::of_parts(self.columns.iter(), &touched);
        for (row, (key, json)) in &edits {
            match json {
                Some(json) => {
                    live.set(*row);
                    draft.push(*row as u16, json).map_err(|e| (*key, e))?;
                }
                None => live.unset(*row),
            }
        }
        let mut keys: Vec<i64> = (0..self.rows()).map(|row| self.key(row)).collect();
        for (key, json) in new.iter().take(BLOCK_ROWS - self.rows()) {
            live.set(keys.len());
            draft.push(keys.len() as u16, json).map_err(|e| (*key, e))?;
            keys.push(*key);
        }
        let low = keys.first().copied().unwrap_or(0);
        Ok(Self { low, offsets: pack(low, &keys), live, columns: draft.finish() })
    }

    /// The rows that pass. Those where that must be worked out from the document itself are added to `open`.
    pub(super) fn passing(&self, plan: &Plan, open: &mut RowBits) -> RowBits {
        if self.live.is_empty() {
            return RowBits::none();
        }
        let mut passing = self.evaluate(plan, open);
        passing.and(&self.live);
        passing
    }

    fn evaluate(&self, plan: &Plan, open: &mut RowBits) -> RowBits {
        match plan {
            Plan::Compare(comparison, negated) => {
                let mut passing = self.compare(comparison, open);
                if *negated {
                    passing.invert();
                }
                passing
            }
            // Every row is looked at by every condition, so that none that is open is missed.
            Plan::And(plans) => plans.iter().fold(RowBits::all(), |mut passing, plan| {
                passing.and(&self.evaluate(plan, open));
                passing
            }),
            Plan::Or(plans) => plans.iter().fold(RowBits::none(), |mut passing, plan| {
                passing.or(&self.evaluate(plan, open));
                passing
            }),
            Plan::Not(plan) => {
                let mut passing = self.evaluate(plan, open);
                passing.invert();
                passing
            }
        }
    }

    fn compare(&self, comparison: &Comparison, open: &mut RowBits) -> RowBits {
        let mut passing = RowBits::none();
        for part in self.columns.get(comparison.key.as_str()).into_iter().flatten() {
            passing.or(&part.passing(comparison, open));
        }
        passing
    }

    /// Bytes it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let part = |part: &Part| size_of::<Part>() + part.rows.bytes() + part.values.bytes();
        let columns = self.columns.iter().map(|(key, parts)| key.len() + parts.iter().map(part).sum::<usize>());
        size_of::<Self>() + self.offsets.bytes() + BLOCK_ROWS / 8 + columns.sum::<usize>()
    }
}

fn pack(low: i64, keys: &[i64]) -> Packed {
    let offsets: Vec<u64> = keys.iter().map(|key| key.wrapping_sub(low) as u64).collect();
    Packed::new(&offsets)
}
