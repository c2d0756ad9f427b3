//! What Anser does, independent of how it is asked: read files into collections, search them, answer from them with
//! citations, analyse them and learn from their labels, and measure how well all that works.
//!
//! The engine knows models only through the traits of [`anser_core`]; whoever composes the program hands it a
//! [`ModelLoader`]. Every call is blocking.

mod analysis;
mod answer;
mod chart;
pub mod classify;
pub mod cluster;
mod compaction;
mod control;
mod deletion;
pub mod diversity;
pub mod duplicates;
mod embedding_cache;
mod engine;
mod error;
mod evaluate;
mod export;
mod files;
mod ingest;
mod jobs;
#[cfg(test)]
mod letters;
mod map;
mod moderation;
pub mod outliers;
mod page;
pub mod predictors;
pub mod projection;
pub mod recommend;
pub mod reembed;
pub mod regress;
mod replace;
mod retrieve;
mod scan;
mod served;
mod table;
mod tuning;

pub use analysis::{Analysis, AnalysisFigures, AnalysisRequest, AnalysisSource, JobResult, ResultFormat};
pub use anser_index::{Collection, CollectionInfo, Compaction, IndexOptions, Overlap, SearchExplain, SearchMethod};
pub use anser_index::{Filter, FilterExplain, FilterPlace, UnknownKey};
pub use anser_index::{Fusion, FusionMethod, SearchMode, SearchSettings};
pub use answer::{AnswerEvent, AnswerRequest, TrainingContext, abstention_text, grounded_messages, numbered_passages};
pub use embedding_cache::EmbeddingCacheStatistics;
pub use engine::{Engine, EngineOptions};
pub use error::EngineError;
pub use evaluate::metrics;
pub use evaluate::{
    AnswerEvaluation, AnswerMiss, ClusterEvaluation, ClusterEvaluationOptions, ClusterEvaluationRun, LabelledQuestion,
    MissKind, TextMeans,
};
pub use evaluate::{
    Arm, ArmAnswer, ArmSummary, Comparison, EvaluatedExample, HeldOutExample, HeldOutPrompt, Measure, Outcome,
    TunedEvaluation, TunedEvaluationRequest,
};
pub use evaluate::{
    Estimate, PairedTest, RESAMPLES, SIGNIFICANCE_LEVEL, TestKind, bootstrap_mean, detectable_difference,
    exact_binomial, mcnemar, paired_bootstrap,
};
pub use evaluate::{GeneralAnswer, GeneralComparison, PromotionReport};
pub use evaluate::{
    JudgedQuery, MethodFigures, Remark, RetrievalComparison, RetrievalEvaluation, RetrievalMethod, RetrievalMiss,
    RetrievalOptions, RetrievalQuery, RetrievalTestSet, RetrievalTuning, TestSetRemarks, TunedChoice, TuningPoint,
};
pub use export::{Export, ExportOptions, ExportReport};
pub use files::{FilePurpose, FileStatus, FileUpload, StoredFile};
pub use ingest::{
    AttributeField, ExternalVectors, FieldMapping, FileFormat, IngestOptions, IngestReport, LISTED_ROW_ERRORS,
    ResolvedField, ResolvedFields, RowError,
};
pub(crate) use jobs::Jobs;
pub use jobs::{
    EventLevel, Job, JobEvent, JobFailure, JobFilter, JobProgress, JobRunner, JobState, JobWish, RunnerOptions,
};
pub use moderation::{
    DetectionScores, MODERATION_CATEGORIES, Moderation, ModerationEvaluation, ModerationExample, ModerationModel,
};
pub use page::{Page, PageRequest};
pub use replace::replace_file;
pub use retrieve::{FusionChange, SearchSettingsChange};
pub use retrieve::{HitGroup, RerankStep, SearchReply, SearchRequest, SearchSteps, SearchTimings};
pub use served::{ModelLoader, ServedModel, ServedModels, ServedRole};
pub use tuning::{FineTuningCheckpoint, FineTuningJob, FineTuningRequest, FineTuningStatus, Promotion, TunedModel};
