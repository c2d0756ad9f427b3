//! How well retrieval and answers work on labelled questions.

mod answers;
mod clusters;
pub mod metrics;
mod promotion;
mod questions;
mod retrieval;
mod significance;
mod tuned;

pub use answers::{AnswerEvaluation, AnswerMiss, MissKind, TextMeans};
pub use clusters::{ClusterEvaluation, ClusterEvaluationOptions, ClusterEvaluationRun};
pub use promotion::{GeneralAnswer, GeneralComparison, PromotionReport};
pub use questions::LabelledQuestion;
pub use retrieval::{
    JudgedQuery, MethodFigures, Remark, RetrievalComparison, RetrievalEvaluation, RetrievalMethod, RetrievalMiss,
    RetrievalOptions, RetrievalQuery, RetrievalTestSet, RetrievalTuning, TestSetRemarks, TunedChoice, TuningPoint,
};
pub(crate) use significance::interval;
pub use significance::{
    Estimate, PairedTest, RESAMPLES, SIGNIFICANCE_LEVEL, TestKind, bootstrap_mean, detectable_difference,
    exact_binomial, mcnemar, paired_bootstrap,
};
pub use tuned::{
    Arm, ArmAnswer, ArmSummary, Comparison, EvaluatedExample, HeldOutExample, HeldOutPrompt, Measure, Outcome,
    TunedEvaluation, TunedEvaluationRequest,
};

/// `part / whole`, 0 for nothing of nothing.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
