//! `ranking_options` of a file search.

use anser_engine::FusionChange;
use serde_json::Value;

use crate::error::{ApiError, ApiResult, excerpt};
use crate::wire::json_type;

/// Where the options lie in the request.
const PLACE: &str = "tools[0].ranking_options";

/// How passages are ranked and chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Ranking {
    /// Least cosine of a passage, `score_threshold`.
    pub(crate) min_score: Option<f32>,
    /// What `hybrid_search` says of vectors and words.
    pub(crate) fusion: Option<FusionChange>,
}

impl Ranking {
    /// Reads the options; what this service does not implement is refused by name.
    pub(super) fn read(options: Option<&Value>) -> ApiResult<Self> {
        let options = match options {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(options)) => options,
            Some(other) => {
                let message = format!("{PLACE} must be an object, not {}", json_type(other));
                return Err(ApiError::invalid(PLACE, message));
            }
        };
        let mut ranking = Self::default();
        for (name, value) in options.iter().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                "ranker" if value == "auto" || value == "default-2024-11-15" => {}
                "score_threshold" => {
                    // 0 is OpenAI's default and lets everything through.
                    ranking.min_score = Some(number(name, value, 1.0)?).filter(|least| *least > 0.0);
                }
                "hybrid_search" => ranking.fusion = Some(hybrid_search(value)?),
                _ => {
                    let param = format!("{PLACE}.{}", excerpt(name));
                    let message =
                        format!("{param} is not supported here: hits are always reranked by the service; leave it out");
                    return Err(ApiError::unsupported(param, message));
                }
            }
        }
        Ok(ranking)
    }
}

/// The share of the vectors: the two weights count in their relation.
fn hybrid_search(value: &Value) -> ApiResult<FusionChange> {
    let weight = |name: &str| {
        let given = value.get(name).ok_or_else(|| {
            let param = format!("{PLACE}.hybrid_search.{name}");
            let message = format!("{param} is missing; send embedding_weight and text_weight");
            ApiError::invalid(param, message)
        })?;
        number(&format!("hybrid_search.{name}"), given, f32::MAX / 4.0)
    };
    let (embedding, text) = (weight("embedding_weight")?, weight("text_weight")?);
    if embedding + text <= 0.0 {
        let param = format!("{PLACE}.hybrid_search");
        let message = format!("both weights of {param} are 0, but one must be above");
        return Err(ApiError::invalid(param, message));
    }
    Ok(FusionChange { vector_weight: Some(embedding / (embedding + text)), ..FusionChange::default() })
}

/// A number from 0 to `most`.
fn number(name: &str, value: &Value, most: f32) -> ApiResult<f32> {
    let given = value.as_f64().map(|number| number as f32).filter(|number| (0.0..=most).contains(number));
    given.ok_or_else(|| {
        let param = format!("{PLACE}.{}", excerpt(name));
        let range = if most <= 1.0 { "a number from 0 to 1" } else { "a number from 0 on" };
        let message = format!("{param} is {}, but must be {range}", excerpt(&value.to_string()));
        ApiError::invalid(param, message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thresholds_and_weights_are_read() {
        let read = |options: Value| Ranking::read(Some(&options)).unwrap();
        assert_eq!(Ranking::read(None).unwrap(), Ranking::default());
        assert_eq!(read(json!({"ranker": "auto", "score_threshold": 0.0})), Ranking::default());
        assert_eq!(read(json!({"score_threshold": 0.5})).min_score, Some(0.5));
        let fusion = read(json!({"hybrid_search": {"embedding_weight": 3, "text_weight": 1}})).fusion.unwrap();
        assert_eq!((fusion.vector_weight, fusion.method), (Some(0.75), None));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (options, param) in [
            (json!({"ranker": "none"}), "tools[0].ranking_options.ranker"),
            (json!({"score_threshold": 1.5}), "tools[0].ranking_options.score_threshold"),
            (json!({"score_threshold": "high"}), "tools[0].ranking_options.score_threshold"),
            (json!({"hybrid_search": {"embedding_weight": 1}}), "tools[0].ranking_options.hybrid_search.text_weight"),
            (
                json!({"hybrid_search": {"embedding_weight": 0, "text_weight": 0}}),
                "tools[0].ranking_options.hybrid_search",
            ),
            (json!({"colour": 1}), "tools[0].ranking_options.colour"),
            (json!([]), "tools[0].ranking_options"),
        ] {
            let error = Ranking::read(Some(&options)).unwrap_err().body().error;
            assert_eq!(error.param.as_deref(), Some(param), "{options}");
        }
    }
}
