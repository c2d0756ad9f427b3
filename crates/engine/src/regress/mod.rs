//! Predicting a number from a text: ridge regression on the documents' vectors, measured on documents that were not learnt
//! from.
//!
//! The results of the analysis `train_regressor` are
//! - `report.json`: a [`RegressorReport`];
//! - the table `documents`, one row for each document with a number, in order of id: `id`; `value` (float, the true one);
//!   `predicted` (float); `residual` (float, true minus predicted); `fold` (integer, from 0: the fold in which it was
//!   predicted, from the documents outside); then `title`, `text` and the attributes. Of documents that are only learnt
//!   from, and never predicted, the three are missing;
//! - `predicted.svg`: true against predicted.

mod options;
mod report;
mod run;

pub use anser_index::analysis::AlphaScore;
pub use options::RegressorOptions;
pub use report::{MeanBaseline, RegressorEvaluation, RegressorReport, ValueFigures};
