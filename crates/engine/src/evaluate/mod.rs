//! How well retrieval and answers work on labelled questions.

mod answers;
mod questions;
mod retrieval;

pub use answers::{AnswerEvaluation, AnswerMiss, MissKind};
pub use questions::LabelledQuestion;
pub use retrieval::{RetrievalEvaluation, RetrievalMiss};

/// `part / whole`, 0 for nothing of nothing.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
