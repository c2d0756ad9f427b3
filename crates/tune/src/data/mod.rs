//! Training data: reading it strictly, making it out of whatever people have, and finding what is wrong with it.

mod checks;
mod conversation;
mod dataset;
mod dialogue;
mod example;
mod fields;
mod ground;
mod json;
mod lines;
mod prepare;
mod prepared;
mod report;
mod shape;
mod source;
mod split;
mod strict;
mod tokens;

pub use dialogue::{AppliedMend, Finding, ProposedMend, Severity};
pub use example::{MINIMUM_EXAMPLES, TrainingExample, TrainingFormat};
pub use ground::{FindContext, GroundOptions, Grounded, GroundedContext, LayOut, ground};
pub use prepare::{OffensiveScores, OutputShape, PrepareOptions, PrepareTools, prepare};
pub use prepared::{PreparedDataset, PreparedFiles};
pub use report::{PrepareReport, RunEstimate, SplitReport};
pub use shape::ColumnNames;
pub use source::SourceFormat;
pub use strict::{LocatedExamples, check_training_file, read_training_file, read_validation_file};
pub use tokens::{ExampleTokens, TokenCounter, TokenStatistics};
