//! Tests of the workspace as a whole and of this crate's contracts.

mod architecture;
mod words;
