//! `anser search`: the passages nearest to a query.

use anser_core::CancelToken;
use anser_engine::{FilterExplain, SearchRequest};
use clap::Args;

use super::analysis::parse_condition;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, snippet};

/// Characters of a hit's text in the table.
const SNIPPET: usize = 160;

/// Arguments of `anser search`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser search reviews \"battery does not last\"\n  anser search faq \"can I send it back?\" --rerank --limit 3 --json\n  anser search reviews \"too sweet\" --where 'score <= 2 and product in [\"tea\", \"coffee\"]'"
)]
pub(crate) struct SearchArgs {
    /// Collection to search
    collection: String,
    /// What to look for
    query: String,
    /// How many hits
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// Reorder the hits with the cross-encoder: slower, better
    #[arg(long)]
    rerank: bool,
    /// Compare with every vector instead of using the graph
    #[arg(long)]
    exact: bool,
    /// Leave out hits with a cosine below this
    #[arg(long, value_name = "COSINE")]
    min_score: Option<f32>,
    /// Only documents for which this holds, such as `score <= 2 and lang = "en"`
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
}

impl SearchArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let request = SearchRequest {
            query: self.query.clone(),
            vector: None,
            limit: usize::from(self.limit),
            rerank: self.rerank,
            exact: self.exact.then_some(true),
            min_score: self.min_score,
            filter: self.condition.as_deref().map(parse_condition).transpose()?,
        };
        let engine = compose::engine(settings, terminal.progress())?;
        let reply = engine.search(&self.collection, &request, &CancelToken::new())?;
        if terminal.is_json() {
            return terminal.json(&reply);
        }
        note_unknown_keys(terminal, reply.explain.filter.as_ref());
        if reply.hits.is_empty() {
            return terminal.line("nothing found");
        }
        let rows = reply.hits.iter().enumerate().map(|(rank, hit)| {
            let title = hit.title.as_deref().map(|t| format!("{}\n", terminal.bold(t))).unwrap_or_default();
            [
                (rank + 1).to_string(),
                format!("{:.3}", hit.score),
                hit.rerank_score.map_or_else(String::new, |s| format!("{s:.2}")),
                hit.chunk.document_id.to_string(),
                format!("{title}{}", snippet(&hit.chunk.text, SNIPPET)),
            ]
        });
        terminal.table(["#", "cosine", "rerank", "document", "text"], rows.collect())
    }
}

/// Tells of attributes in the condition that no document has: most likely they are misspelt.
pub(super) fn note_unknown_keys(terminal: &Terminal, filter: Option<&FilterExplain>) {
    for unknown in filter.iter().flat_map(|filter| &filter.unknown_keys) {
        terminal.progress().note(&unknown.to_string());
    }
}
