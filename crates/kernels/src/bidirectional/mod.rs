//! Attention of one sequence in which every token looks at all of them: what the encoders of the BERT family do.
//!
//! Queries, keys and values lie beside each other in one row per token, as the one product that makes them leaves them.
//! Head after head, keys are turned so that a vector register holds one number of sixteen of them; then some rows of
//! queries at a time go all the way to the result, so that scores and probabilities never leave the first-level cache.
//! All runs on the calling thread.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::element::{Element, Rows, RowsMut};
use crate::instructions::InstructionSet;

/// Numbers of a vector register.
const LANES: usize = 16;

/// Sixteen 32-bit numbers, aligned to a cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line([u32; LANES]);

/// Memory that calls of [`attend_to_all`] reuse.
#[derive(Debug, Default)]
pub struct HeadScratch {
    /// One head's keys: lines of sixteen tokens, for each step of the depth.
    keys: Vec<Line>,
    /// One head's values.
    values: Vec<Line>,
    /// Scores of some queries.
    scores: Vec<Line>,
    /// What the scores become in the format of the values.
    probabilities: Vec<Line>,
}

/// Where one head's operands lie in the rows of all.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// Columns of the head.
    width: usize,
    /// First column of its queries; of the result, too.
    queries: usize,
    /// First column of its keys.
    keys: usize,
    /// First column of its values.
    values: usize,
}

/// softmax(q·kᵀ / √width)·v for each head of one sequence. `input` is [tokens, 3 · hidden]: a row holds the queries of all
/// heads, then their keys, then their values; `out` is [tokens, hidden], with hidden = heads · width.
///
/// Panics when the shapes do not fit.
pub fn attend_to_all<E: Element>(
    set: InstructionSet,
    input: Rows<'_, E>,
    heads: usize,
    mut out: RowsMut<'_, E>,
    scratch: &mut HeadScratch,
) {
    let hidden = out.columns;
    assert!(
        heads > 0 && hidden.is_multiple_of(heads) && input.columns == 3 * hidden && input.rows == out.rows,
        "operands of attention do not fit"
    );
    if input.rows == 0 || hidden == 0 {
        return;
    }
    let width = hidden / heads;
    for head in 0..heads {
        let first = head * width;
        let head = Head { width, queries: first, keys: hidden + first, values: 2 * hidden + first };
        #[cfg(target_arch = "x86_64")]
        if avx512::takes::<E>(set, width) {
            avx512::attend_head(&input, head, &mut out, scratch);
            continue;
        }
        portable::attend_head(set, &input, head, &mut out, scratch);
    }
}
