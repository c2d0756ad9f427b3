//! The table that every analysis writes: one row a document, its attributes as typed columns.

mod columns;
mod documents;
mod ordered;

pub(crate) use columns::{AttributeColumns, AttributeKinds, number};
pub(crate) use documents::{DocumentTable, write_documents};
pub(crate) use ordered::write_ordered;
