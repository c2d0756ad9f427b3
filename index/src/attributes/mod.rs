//! Typed columns of all documents' attributes, so that a condition is worked out for a million documents at once.
//!
//! Documents are numbered in the order of their keys and lie in blocks of some thousand rows. A block has a column for each
//! attribute, with one part for each type that the attribute has there: [`draft`] reads them from the stored JSON,
//! [`values`] encodes and compares them. A filter becomes a [`plan`] of ranges, evaluated block by block into bits, one
//! for each row, and [`chunks`] turns rows into chunk ids. Blocks never change: whoever catches up with the database makes new
//! ones of those that are touched ([`live`]), while others go on reading the old ones. [`file`] keeps them on disk.

mod block;
mod chunks;
mod columns;
mod draft;
mod file;
mod live;
mod packed;
mod plan;
mod rows;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod tests;
mod texts;
mod values;

pub(crate) use columns::{Columns, attributes_of, id_of};
pub(crate) use live::LiveColumns;
