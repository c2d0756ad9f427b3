//! Training data: reading it strictly, making it out of whatever people have, and finding what is wrong with it.

mod example;
mod fields;
mod json;
mod lines;
mod strict;

pub use example::{MINIMUM_EXAMPLES, TrainingExample, TrainingFormat};
pub use strict::{LocatedExamples, check_training_file, read_training_file, read_validation_file};
