//! Saved predictors, and what they say of texts and documents.

use anser_core::DocumentId;
use anser_engine::predictors::{SavedPredictor, TextPredictions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult, excerpt};
use crate::wire::json_type;

/// Body of `POST /v1/collections/{name}/classify` and `/regress`: a predictor, and texts or ids.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PredictBody {
    /// `NAME`, or `NAME@VERSION` for an earlier version.
    model: String,
    /// One text or several.
    #[serde(default)]
    input: Option<Value>,
    /// Documents of the collection.
    #[serde(default)]
    ids: Option<Vec<String>>,
}

/// What is to be predicted.
#[derive(Debug)]
pub(crate) enum PredictInput {
    Texts(Vec<String>),
    Documents(Vec<DocumentId>),
}

impl PredictBody {
    /// The predictor's name and version.
    pub(crate) fn predictor(&self) -> ApiResult<(String, Option<u32>)> {
        let Some((name, version)) = self.model.rsplit_once('@') else { return Ok((self.model.clone(), None)) };
        let version = version.parse().ok().filter(|version| *version > 0).ok_or_else(|| {
            let model = excerpt(&self.model);
            ApiError::invalid("model", format!("model is \"{model}\"; send NAME, or NAME@VERSION from version 1 on"))
        })?;
        Ok((name.to_owned(), Some(version)))
    }

    /// The texts or documents.
    pub(crate) fn input(self) -> ApiResult<PredictInput> {
        match (self.input, self.ids) {
            (Some(Value::String(text)), None) => Ok(PredictInput::Texts(vec![text])),
            (Some(Value::Array(items)), None) => {
                let text = |(at, item): (usize, Value)| match item {
                    Value::String(text) => Ok(text),
                    other => {
                        let param = format!("input[{at}]");
                        let message = format!("{param} must be a string, not {}", json_type(&other));
                        Err(ApiError::invalid(param, message))
                    }
                };
                items.into_iter().enumerate().map(text).collect::<ApiResult<_>>().map(PredictInput::Texts)
            }
            (Some(other), None) => {
                let message = format!("input must be a string or a list of strings, not {}", json_type(&other));
                Err(ApiError::invalid("input", message))
            }
            (None, Some(ids)) => {
                let id = |(at, id): (usize, String)| {
                    DocumentId::new(id).map_err(|error| ApiError::invalid(format!("ids[{at}]"), error.to_string()))
                };
                ids.into_iter().enumerate().map(id).collect::<ApiResult<_>>().map(PredictInput::Documents)
            }
            (Some(_), Some(_)) => Err(ApiError::invalid("ids", "send either input or ids, not both")),
            (None, None) => Err(ApiError::invalid("input", "send texts as input, or document ids as ids")),
        }
    }
}

/// The answer to a [`PredictBody`].
#[derive(Debug, Serialize)]
pub(crate) struct PredictReply {
    /// Always `list`.
    object: &'static str,
    /// The predictor's name.
    model: String,
    /// Its version.
    version: u32,
    /// One for each text or id, in their order.
    data: Vec<WirePrediction>,
}

#[derive(Debug, Serialize)]
struct WirePrediction {
    index: usize,
    /// `null` when the classifier abstained; not there for a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<Value>,
    /// The number of a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    /// The probability of the most probable label.
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    /// The probability of each label.
    #[serde(skip_serializing_if = "Map::is_empty")]
    scores: Map<String, Value>,
}

impl From<TextPredictions> for PredictReply {
    fn from(found: TextPredictions) -> Self {
        let TextPredictions { predictor, labels, predictions } = found;
        let classifies = predictor.kind.classifies();
        let one = |(index, prediction): (usize, anser_engine::predictors::Prediction)| WirePrediction {
            index,
            label: classifies.then(|| prediction.label.into()),
            value: prediction.value,
            probability: prediction.probability,
            scores: labels.iter().cloned().zip(prediction.scores.into_iter().map(Value::from)).collect(),
        };
        Self {
            object: "list",
            model: predictor.name,
            version: predictor.version,
            data: predictions.into_iter().enumerate().map(one).collect(),
        }
    }
}

/// A saved predictor as it is listed.
#[derive(Debug, Serialize)]
pub(crate) struct WirePredictor {
    /// Always `predictor`.
    object: &'static str,
    #[serde(flatten)]
    saved: SavedPredictor,
}

impl From<SavedPredictor> for WirePredictor {
    fn from(saved: SavedPredictor) -> Self {
        Self { object: "predictor", saved }
    }
}
