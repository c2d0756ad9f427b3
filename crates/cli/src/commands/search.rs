//! `anser search`: the passages that suit a query best.

mod hit_text;
mod report;
mod vector;

pub(super) use self::report::word;
use std::path::PathBuf;

use anser_core::CancelToken;
use anser_engine::{FilterExplain, FusionChange, FusionMethod, SearchMode, SearchRequest};
use clap::{Args, ValueEnum};

use super::analysis::parse_condition;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Arguments of `anser search`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser search reviews \"battery does not last\"\n  anser search faq \"can I send it back?\" --rerank --limit 3 --json\n  anser search reviews '\"too sweet\" coffee' --mode keyword\n  anser search reviews \"too sweet\" --where 'score <= 2 and product in [\"tea\", \"coffee\"]'\n  anser search reviews \"a gift for a gardener\" --group-by product --mmr 0.7 --explain\n  anser search mine --vector query.json"
)]
pub(crate) struct SearchArgs {
    /// Collection to search
    collection: String,
    /// What to look for; in searches of words, texts in quotation marks are phrases
    #[arg(required_unless_present = "vector", default_value = "", hide_default_value = true)]
    query: String,
    /// Compare with the vector in this file, a JSON array of numbers, instead of the query's own; - is standard input
    #[arg(long, value_name = "FILE")]
    vector: Option<PathBuf>,
    /// How many hits
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// What is compared: meaning by vectors, words, or both [default: the collection's setting]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// How the rankings of a hybrid search become one [default: the collection's setting]
    #[arg(long, value_enum, value_name = "METHOD")]
    fusion: Option<Method>,
    /// Share of meaning in a hybrid search; words have the rest [default: the collection's setting]
    #[arg(long, value_name = "0..1")]
    vector_weight: Option<f32>,
    /// Reorder the first hits with the cross-encoder: slower, better
    #[arg(long)]
    rerank: bool,
    /// Reorder this many of the first hits [default: the collection's setting]
    #[arg(long, value_name = "N")]
    rerank_depth: Option<usize>,
    /// Hits that differ: 1 orders by relevance alone, 0 by difference alone
    #[arg(long, value_name = "0..1")]
    mmr: Option<f32>,
    /// One hit for each value of this attribute
    #[arg(long, value_name = "ATTRIBUTE")]
    group_by: Option<String>,
    /// Compare with every vector instead of using the graph
    #[arg(long)]
    exact: bool,
    /// Beam width in the graph: more is slower and misses less
    #[arg(long, value_name = "N", conflicts_with = "exact")]
    ef_search: Option<usize>,
    /// Leave out hits with a score below this: a cosine, BM25, or the fused score, as the mode has it
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    min_score: Option<f32>,
    /// Only documents for which this holds, such as `score <= 2 and lang = "en"`
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// The page after the one that ended with this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Also say how the search was done and how long each step took
    #[arg(long)]
    explain: bool,
}

/// [`SearchMode`] on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Mode {
    Hybrid,
    Vector,
    Keyword,
}

/// [`FusionMethod`] on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Method {
    #[value(alias = "reciprocal_rank", alias = "rrf")]
    ReciprocalRank,
    #[value(alias = "weighted_scores")]
    WeightedScores,
}

impl From<Mode> for SearchMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Hybrid => Self::Hybrid,
            Mode::Vector => Self::Vector,
            Mode::Keyword => Self::Keyword,
        }
    }
}

impl From<Method> for FusionMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::ReciprocalRank => Self::ReciprocalRank,
            Method::WeightedScores => Self::WeightedScores,
        }
    }
}

/// What of a fusion the options change; `None` when they do not.
pub(super) fn fusion_change(method: Option<Method>, vector_weight: Option<f32>) -> Option<FusionChange> {
    let change = FusionChange { method: method.map(FusionMethod::from), vector_weight };
    (change != FusionChange::default()).then_some(change)
}

impl SearchArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let filter = self.condition.as_deref().map(parse_condition).transpose()?;
        let engine = compose::engine(settings, terminal.progress())?;
        let request = SearchRequest { filter, ..self.request()? };
        let reply = engine.search(&self.collection, &request, &CancelToken::new())?;
        if terminal.is_json() {
            return terminal.json(&reply);
        }
        note_unknown_keys(terminal, reply.explain.filter.as_ref());
        report::show(terminal, &reply, self.explain)
    }

    fn request(&self) -> Result<SearchRequest, Failure> {
        Ok(SearchRequest {
            query: self.query.clone(),
            vector: self.vector.as_deref().map(vector::read).transpose()?,
            limit: usize::from(self.limit),
            mode: self.mode.map(SearchMode::from),
            fusion: fusion_change(self.fusion, self.vector_weight),
            rerank: self.rerank || self.rerank_depth.is_some(),
            rerank_depth: self.rerank_depth,
            mmr_lambda: self.mmr,
            min_score: self.min_score,
            exact: self.exact.then_some(true),
            ef_search: self.ef_search,
            group_by: self.group_by.clone(),
            highlight: true,
            after: self.after.clone(),
            ..SearchRequest::default()
        })
    }
}

/// Tells of attributes in the condition that no document has, which are most likely misspelt, and of those that some
/// documents have with another type.
pub(super) fn note_unknown_keys(terminal: &Terminal, filter: Option<&FilterExplain>) {
    for unknown in filter.iter().flat_map(|filter| &filter.unknown_keys) {
        terminal.progress().note(&unknown.to_string());
    }
    for mismatched in filter.iter().flat_map(|filter| &filter.mismatched) {
        terminal.progress().note(&mismatched.to_string());
    }
}
