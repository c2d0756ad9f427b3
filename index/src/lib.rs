//! Collections of documents and their vectors: what is stored, how it is searched, and what can be computed over it.
//!
//! SQLite is the only truth; vector files and graphs are caches that are rebuilt from it when missing or damaged.

pub mod analysis;
mod ann;
mod attributes;
mod cache;
mod collection;
mod database;
mod error;
mod filter;
mod keyword;
mod options;
mod search;
mod store;
mod upkeep;

pub use ann::{GraphBuilder, SearchMethod};
pub use collection::{Collection, CollectionInfo, Compaction, IndexMemory, Overlap, Reembedding};
pub use collection::{FilterExplain, FilterStrategy, RankOutcome, RankParams, RankQuery, RankedDocument, UnknownKey};
pub use database::{
    ChunkText, DatabaseCheck, EmbeddedChunks, Generation, GenerationState, NewChunk, NewDocument, Salvage,
    ScannedDocument, UpsertOutcome,
};
pub use error::{IndexError, Result};
pub use filter::{ComparedType, Filter, FilterPlace, MismatchedKey};
pub use options::IndexOptions;
pub use search::{Fusion, FusionMethod, KeywordExplain, SearchMode, SearchSettings};
pub use search::{SearchExplain, SearchOutcome, SearchParams, SearchQuery};
pub use store::Store;
