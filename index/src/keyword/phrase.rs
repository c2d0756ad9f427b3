//! Where the terms of a phrase follow each other.

use tantivy::postings::{Postings, SegmentPostings, TermInfo};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, TERMINATED};

use super::part::{Part, TextField};
use super::query::Phrase;
use super::score::unreadable;
use crate::Result;

/// Shows `each` the rows that hold the phrase in `field`, ascending, with how often they do. `places` says where the
/// phrase's terms lie.
pub(super) fn each_occurrence(
    part: &Part,
    field: TextField,
    (phrase, places): (&Phrase, &[TermInfo]),
    each: &mut dyn FnMut(u32, u32),
) -> Result<()> {
    let mut terms: Vec<(SegmentPostings, u32)> = Vec::with_capacity(places.len());
    let option = IndexRecordOption::WithFreqsAndPositions;
    for (place, (_, offset)) in places.iter().zip(&phrase.0) {
        terms.push((part.postings(field).read_postings_from_terminfo(place, option).map_err(unreadable)?, *offset));
    }
    let (mut starts, mut positions) = (Vec::new(), Vec::new());
    let mut row = 0;
    while let Some(next) = next_common(&mut terms, row) {
        starts.clear();
        for (number, (postings, offset)) in terms.iter_mut().enumerate() {
            postings.positions(&mut positions);
            let starts_here = positions.iter().filter_map(|position| position.checked_sub(*offset));
            if number == 0 {
                starts.extend(starts_here);
            } else {
                let here: Vec<u32> = starts_here.collect();
                starts.retain(|start| here.binary_search(start).is_ok());
            }
        }
        if !starts.is_empty() {
            each(next, starts.len() as u32);
        }
        row = next + 1;
    }
    Ok(())
}

/// The first row from `row` on that all postings hold.
fn next_common(terms: &mut [(SegmentPostings, u32)], mut row: u32) -> Option<u32> {
    loop {
        let from = row;
        for (postings, _) in terms.iter_mut() {
            if postings.doc() < row {
                postings.seek(row);
            }
            row = row.max(postings.doc());
        }
        if row == TERMINATED {
            return None;
        }
        // Rows only rise, so once they stay all postings are there.
        if row == from && terms.iter().all(|(postings, _)| postings.doc() == row) {
            return Some(row);
        }
    }
}
