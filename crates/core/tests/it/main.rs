//! Tests of the workspace as a whole and of this crate's contracts.

#![expect(clippy::expect_used, reason = "functions that tests share fail the test by panicking")]

mod architecture;
mod words;
