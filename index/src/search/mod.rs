//! Search of one collection: by vector, by words, or by both, fused into one ranking.

mod explain;
mod fusion;
mod params;
mod run;

pub use explain::{KeywordExplain, SearchExplain, SearchOutcome};
pub use fusion::{Fusion, FusionMethod};
pub use params::{SearchMode, SearchParams, SearchQuery, SearchSettings};
