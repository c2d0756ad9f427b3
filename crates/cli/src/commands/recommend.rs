//! `anser recommend`: documents like some and unlike others.

use anser_core::DocumentId;
use anser_engine::EngineError;
use anser_engine::recommend::{Example, ExampleKind, NearestExample, RecommendRequest, RecommendStrategy};
use clap::{Args, ValueEnum};

use super::analysis::parse_condition;
use super::search::note_unknown_keys;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{Terminal, snippet};

/// Characters of a document's text in the table.
const SNIPPET: usize = 160;
/// Characters of an example's text in the table.
const EXAMPLE: usize = 30;

/// Arguments of `anser recommend`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser recommend reviews --like review-17\n  anser recommend reviews --like-text \"strong dark coffee\" --unlike review-3 --where 'score >= 4'\n  anser recommend reviews --like review-17 --like review-40 --strategy best-score --diversity 0.4 --exclude review-8 --json\n\nIds are those that `anser search` shows."
)]
pub(crate) struct RecommendArgs {
    /// Collection to recommend from
    collection: String,
    /// Id of a document that others should be like; may be repeated
    #[arg(long, value_name = "ID")]
    like: Vec<String>,
    /// A text that documents should be like; may be repeated
    #[arg(long, value_name = "TEXT")]
    like_text: Vec<String>,
    /// Id of a document that others should be unlike; may be repeated
    #[arg(long, value_name = "ID")]
    unlike: Vec<String>,
    /// A text that documents should be unlike; may be repeated
    #[arg(long, value_name = "TEXT")]
    unlike_text: Vec<String>,
    /// How examples make a score: `average` searches near the mean of what is liked and away from the mean of what is
    /// not; `best-score` takes the best cosine with a liked example less the best with another
    #[arg(long, value_enum, default_value_t = Strategy::Average)]
    strategy: Strategy,
    /// Only documents for which this holds, such as `score >= 4 and lang = "en"`
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Id of a document to leave out, such as one already seen; may be repeated
    #[arg(long, value_name = "ID")]
    exclude: Vec<String>,
    /// How many documents
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// How much documents should differ from each other: 0 not at all, 1 as much as they can
    #[arg(long, value_name = "0..1")]
    diversity: Option<f32>,
    /// Leave out documents with a lower score
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    min_score: Option<f32>,
}

/// [`RecommendStrategy`] on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Strategy {
    #[value(alias = "average_vector")]
    Average,
    #[value(alias = "best_score")]
    BestScore,
}

impl RecommendArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let request = self.request()?;
        let engine = compose::engine(settings, terminal.progress())?;
        let reply = engine.recommend(&self.collection, &request, &interrupt::cancel_on_interrupt())?;
        note_unknown_keys(terminal, reply.explain.filter.as_ref());
        if terminal.is_json() {
            return terminal.json(&reply);
        }
        if reply.hits.is_empty() {
            return terminal.line("nothing found");
        }
        let rows = reply.hits.iter().enumerate().map(|(rank, hit)| {
            let title = hit.title.as_deref().map(|t| format!("{}\n", terminal.bold(t))).unwrap_or_default();
            [
                (rank + 1).to_string(),
                format!("{:.3}", hit.score),
                hit.id.to_string(),
                format!("{title}{}", snippet(&hit.text, SNIPPET)),
                self.describe(&hit.nearest),
            ]
        });
        terminal.table(["#", "score", "document", "text", "nearest example"], rows.collect())
    }

    fn request(&self) -> Result<RecommendRequest, Failure> {
        let ids = |ids: &[String]| -> Result<Vec<DocumentId>, Failure> {
            ids.iter().map(|id| Ok(DocumentId::new(id).map_err(EngineError::from)?)).collect()
        };
        let examples = |documents: &[String], texts: &[String]| -> Result<Vec<Example>, Failure> {
            let texts = texts.iter().cloned().map(Example::Text);
            Ok(ids(documents)?.into_iter().map(Example::Id).chain(texts).collect())
        };
        Ok(RecommendRequest {
            positive: examples(&self.like, &self.like_text)?,
            negative: examples(&self.unlike, &self.unlike_text)?,
            strategy: match self.strategy {
                Strategy::Average => RecommendStrategy::AverageVector,
                Strategy::BestScore => RecommendStrategy::BestScore,
            },
            filter: self.condition.as_deref().map(parse_condition).transpose()?,
            exclude: ids(&self.exclude)?,
            limit: usize::from(self.limit),
            min_score: self.min_score,
            diversity: self.diversity,
        })
    }

    /// An example in a few words: its id, or the beginning of its text.
    fn describe(&self, nearest: &NearestExample) -> String {
        let (documents, texts, sign) = match nearest.kind {
            ExampleKind::Positive => (self.like.len(), &self.like_text, "like"),
            ExampleKind::Negative => (self.unlike.len(), &self.unlike_text, "unlike"),
        };
        let text = nearest.index.checked_sub(documents).and_then(|at| texts.get(at));
        let what = match (&nearest.id, text) {
            (Some(id), _) => id.to_string(),
            (None, Some(text)) => format!("“{}”", snippet(text, EXAMPLE)),
            (None, None) => String::new(),
        };
        format!("{sign} {what} ({:.3})", nearest.similarity)
    }
}
