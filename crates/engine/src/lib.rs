//! What Anser does, independent of how it is asked: read files into collections, search them, answer from them with
//! citations, cluster them, and measure how well all that works.
//!
//! The engine knows models only through the traits of [`anser_core`]; whoever composes the program hands it a
//! [`ModelLoader`]. Every call is blocking.

mod answer;
pub mod cluster;
mod engine;
mod error;
mod evaluate;
mod ingest;
mod retrieve;
mod served;

pub use anser_index::analysis::ClusterCount;
pub use anser_index::{Collection, CollectionInfo, IndexOptions, SearchExplain, SearchMethod};
pub use answer::{AnswerEvent, AnswerRequest};
pub use engine::{Engine, EngineOptions};
pub use error::EngineError;
pub use evaluate::metrics;
pub use evaluate::{
    Estimate, PairedTest, RESAMPLES, SIGNIFICANCE_LEVEL, TestKind, bootstrap_mean, detectable_difference, exact_binomial,
    mcnemar, paired_bootstrap,
};
pub use evaluate::{AnswerEvaluation, AnswerMiss, LabelledQuestion, MissKind, RetrievalEvaluation, RetrievalMiss};
pub use ingest::{
    AttributeField, FieldMapping, FileFormat, IngestOptions, IngestReport, LISTED_ROW_ERRORS, ResolvedField,
    ResolvedFields, RowError,
};
pub use retrieve::{SearchReply, SearchRequest};
pub use served::{ModelLoader, ServedModel, ServedModels, ServedRole};
