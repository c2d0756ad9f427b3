//! Writing a table of some of the documents, in any order: by rank, group by group, or those that have a label.

use std::ops::Range;

use anser_core::ProgressUnit;
use arrow::array::ArrayRef;
use arrow::datatypes::Field;

use super::DocumentTable;
use crate::EngineError;
use crate::analysis::Work;

/// Bytes of text that may be in memory at a time.
const HELD_BYTES: usize = 64 << 20;

/// Documents of the first batch; the following are as many as fit.
const FIRST_BATCH: usize = 1024;

/// Fewest and most documents of the following batches. Every batch reads much of the subject's file, so they are large.
const BATCHES: Range<usize> = 256..65_536;

/// Writes the documents at `places`, in that order, as the table `name`. `values` gives the analysis's own columns for a
/// range of positions in `places`.
pub(crate) fn write_ordered(
    work: &Work<'_>,
    name: &str,
    own: Vec<Field>,
    places: &[usize],
    values: &mut dyn FnMut(Range<usize>) -> Vec<ArrayRef>,
) -> Result<(), EngineError> {
    work.progress.start("writing the table", Some(places.len() as u64), ProgressUnit::Items);
    let mut table = DocumentTable::create(work, name, own)?;
    let (mut written, mut batch) = (0, FIRST_BATCH);
    while written < places.len() {
        work.cancel.check()?;
        let end = places.len().min(written + batch);
        let documents = work.subject.some(&places[written..end])?;
        table.write(&documents, values(written..end))?;
        let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
        batch = (HELD_BYTES / (bytes / documents.len().max(1)).max(1)).clamp(BATCHES.start, BATCHES.end);
        written = end;
        work.progress.set(written as u64);
    }
    table.finish()?;
    work.progress.finish();
    Ok(())
}
