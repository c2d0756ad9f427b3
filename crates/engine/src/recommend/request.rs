//! What may be asked of a recommendation.

use anser_core::DocumentId;
use anser_index::Filter;
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// Most documents of one recommendation.
const MAX_LIMIT: usize = 100;
/// Most examples of each kind.
const MAX_EXAMPLES: usize = 100;
/// Most documents that may be left out.
const MAX_EXCLUDED: usize = 10_000;

/// Something that recommended documents should be like, or unlike: `{"id": …}`, `{"text": …}` or `{"vector": […]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Example {
    /// A document of the collection. It is not recommended itself.
    Id(DocumentId),
    /// A text.
    Text(String),
    /// A vector of the collection's embedder; any length, as many dimensions as the collection has.
    Vector(Vec<f32>),
}

/// How examples make a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecommendStrategy {
    /// The cosine with one query, mean(positive) + (mean(positive) - mean(negative)), which is the formula that Qdrant
    /// documents for its `AverageVector` (docs.rs/qdrant-client, `RecommendStrategy`); without negative examples it is
    /// mean(positive). Scores lie in [-1, 1].
    #[default]
    AverageVector,
    /// The largest cosine with a positive example less the largest with a negative one, each 0 where there is none.
    /// Scores lie in [-2, 2]. Like Qdrant's `BestScore` it compares every candidate with every example, so that tastes
    /// of several kinds do not blur into one. Qdrant's rule (same page) keeps the larger of the two and squares and
    /// negates it if it is the negative one; the difference also sinks what is near to examples of both kinds.
    BestScore,
}

impl RecommendStrategy {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AverageVector => "average_vector",
            Self::BestScore => "best_score",
        }
    }
}

/// What to recommend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecommendRequest {
    /// What documents should be like. One document alone means "more like this".
    pub positive: Vec<Example>,
    /// What they should be unlike.
    pub negative: Vec<Example>,
    /// How the examples make a score.
    pub strategy: RecommendStrategy,
    /// Only documents that this lets through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Documents to leave out besides the examples, such as those already seen; unknown ids do no harm.
    pub exclude: Vec<DocumentId>,
    /// Most documents to recommend, 1 to 100.
    pub limit: usize,
    /// Documents with a lower score are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f32>,
    /// How much documents should differ from each other, from 0, the default, not at all, to 1, as much as they can.
    /// Documents are chosen by maximal marginal relevance with lambda = 1 - diversity from the 10 * limit best, at least
    /// 50 and at most 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diversity: Option<f32>,
}

impl Default for RecommendRequest {
    fn default() -> Self {
        Self {
            positive: Vec::new(),
            negative: Vec::new(),
            strategy: RecommendStrategy::default(),
            filter: None,
            exclude: Vec::new(),
            limit: 10,
            min_score: None,
            diversity: None,
        }
    }
}

impl RecommendRequest {
    /// More documents like one.
    pub fn like(id: DocumentId) -> Self {
        Self { positive: vec![Example::Id(id)], ..Self::default() }
    }

    /// Examples that are documents.
    pub(super) fn example_ids(&self) -> impl Iterator<Item = &DocumentId> {
        self.positive.iter().chain(&self.negative).filter_map(|example| match example {
            Example::Id(id) => Some(id),
            Example::Text(_) | Example::Vector(_) => None,
        })
    }

    /// Whether an example must be embedded.
    pub(super) fn has_text(&self) -> bool {
        self.positive.iter().chain(&self.negative).any(|example| matches!(example, Example::Text(_)))
    }

    /// `InvalidInput` for what cannot be, whatever the collection holds.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        for (name, examples) in [("positive", &self.positive), ("negative", &self.negative)] {
            if examples.len() > MAX_EXAMPLES {
                let message =
                    format!("{name} holds {} examples, but at most {MAX_EXAMPLES} are allowed", examples.len());
                return Err(EngineError::invalid(name, message));
            }
        }
        if self.positive.is_empty() && self.strategy == RecommendStrategy::AverageVector {
            let message = if self.negative.is_empty() {
                "there is no example; give at least one document, text or vector that others should be like"
            } else {
                "there is no positive example; give one, or use the strategy best_score, which can do with negative ones"
            };
            return Err(EngineError::invalid("positive", message));
        }
        if self.positive.is_empty() && self.negative.is_empty() {
            let message = "there is no example; give at least one document, text or vector";
            return Err(EngineError::invalid("positive", message));
        }
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            let message = format!("limit is {}, but must lie between 1 and {MAX_LIMIT}", self.limit);
            return Err(EngineError::invalid("limit", message));
        }
        if self.exclude.len() > MAX_EXCLUDED {
            let message = format!(
                "exclude holds {} ids, but at most {MAX_EXCLUDED} are allowed; mark seen documents by an attribute and use a filter",
                self.exclude.len()
            );
            return Err(EngineError::invalid("exclude", message));
        }
        if let Some(score) = self.min_score
            && !(-2.0..=2.0).contains(&score)
        {
            return Err(EngineError::invalid(
                "min_score",
                format!("min_score is {score}, but scores lie between -2 and 2"),
            ));
        }
        if let Some(diversity) = self.diversity
            && !(0.0..=1.0).contains(&diversity)
        {
            let message = format!("diversity is {diversity}, but must lie between 0 and 1");
            return Err(EngineError::invalid("diversity", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_out_of_range_name_their_field() {
        let text = |n: usize| vec![Example::Text("a".into()); n];
        let ok = RecommendRequest { positive: text(1), ..RecommendRequest::default() };
        assert!(ok.check().is_ok());
        let best = RecommendStrategy::BestScore;
        let negative = RecommendRequest { positive: vec![], negative: text(1), ..ok.clone() };
        assert!(RecommendRequest { strategy: best, ..negative.clone() }.check().is_ok());
        for (request, param) in [
            (RecommendRequest::default(), "positive"),
            (RecommendRequest { strategy: best, ..RecommendRequest::default() }, "positive"),
            (negative, "positive"),
            (RecommendRequest { negative: text(101), ..ok.clone() }, "negative"),
            (RecommendRequest { limit: 0, ..ok.clone() }, "limit"),
            (RecommendRequest { limit: 101, ..ok.clone() }, "limit"),
            (RecommendRequest { min_score: Some(f32::NAN), ..ok.clone() }, "min_score"),
            (RecommendRequest { diversity: Some(1.5), ..ok.clone() }, "diversity"),
            (RecommendRequest { diversity: Some(f32::NAN), ..ok.clone() }, "diversity"),
            (RecommendRequest { exclude: vec![DocumentId::new("x").unwrap(); 10_001], ..ok.clone() }, "exclude"),
        ] {
            assert_eq!(request.check().unwrap_err().param(), Some(param));
        }
    }
}
