//! Saved predictors on texts.

use anser_core::{CancelToken, EmbedderInfo};
use anser_index::analysis::Vectors;

use super::{Prediction, Predictor, PredictorStore, SavedPredictor};
use crate::ingest::embed_whole;
use crate::{Engine, EngineError};

/// Most texts of one call.
const MAX_TEXTS: usize = 2048;

impl PredictorStore {
    /// A predictor that reads the vectors of `embedder`. `NotFound` when there is none of that name and version,
    /// `Conflict` when it was learnt from another embedder's vectors.
    pub(crate) fn for_embedder(
        &self,
        name: &str,
        version: Option<u32>,
        embedder: &EmbedderInfo,
    ) -> Result<(SavedPredictor, Predictor), EngineError> {
        let (saved, predictor) = self.load(name, version)?;
        if saved.embedder.fingerprint == embedder.fingerprint {
            return Ok((saved, predictor));
        }
        let message = format!(
            "the predictor \"{name}\" was learnt from vectors of {}, not of {}; train it again with this embedder",
            saved.embedder.model, embedder.model
        );
        Err(EngineError::Core(anser_core::Error::new(anser_core::ErrorKind::Conflict, message)))
    }
}

impl Engine {
    /// The labels that a saved classifier gives to texts, in their order; `version` is the latest for `None`. A long text is
    /// read in chunks, as when it is ingested.
    ///
    /// `InvalidInput` for no text, more than 2,048, a blank one, or a predictor that is a regression; `NotFound` and
    /// `Conflict` as said by the message.
    pub fn classify_texts(
        &self,
        name: &str,
        version: Option<u32>,
        texts: &[String],
        cancel: &CancelToken,
    ) -> Result<TextPredictions, EngineError> {
        self.predict_texts(name, version, texts, true, cancel)
    }

    /// The numbers that a saved regression gives to texts; see [`Engine::classify_texts`].
    pub fn regress_texts(
        &self,
        name: &str,
        version: Option<u32>,
        texts: &[String],
        cancel: &CancelToken,
    ) -> Result<TextPredictions, EngineError> {
        self.predict_texts(name, version, texts, false, cancel)
    }

    fn predict_texts(
        &self,
        name: &str,
        version: Option<u32>,
        texts: &[String],
        classify: bool,
        cancel: &CancelToken,
    ) -> Result<TextPredictions, EngineError> {
        if texts.is_empty() || texts.len() > MAX_TEXTS {
            let message = format!("{} texts were sent; send 1 to {MAX_TEXTS}", texts.len());
            return Err(EngineError::invalid("texts", message));
        }
        if let Some(at) = texts.iter().position(|text| text.trim().is_empty()) {
            return Err(EngineError::invalid("texts", format!("text {at} is blank; leave it out")));
        }
        let kind = self.predictor(name, version)?.kind;
        if kind.classifies() != classify {
            let (is, call) = if classify { ("a regression", "regress") } else { ("a classifier", "classify") };
            return Err(EngineError::invalid("predictor", format!("the predictor \"{name}\" is {is}; use {call}")));
        }
        let embedder = self.models().embedder()?;
        let (predictor, model) = self.analyses.predictors.for_embedder(name, version, embedder.info())?;
        let vectors = Vectors::from_embeddings(&embed_whole(embedder.as_ref(), texts, cancel)?)?;
        let labels = match &model {
            Predictor::Classifier(classifier) => classifier.labels.clone(),
            Predictor::Regressor(_) => Vec::new(),
        };
        Ok(TextPredictions { predictor, labels, predictions: model.predict(&vectors, cancel)? })
    }
}

/// What a saved predictor says of some texts.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TextPredictions {
    /// The predictor.
    pub predictor: SavedPredictor,
    /// Its labels, in the order of [`Prediction::scores`]; none of a regression.
    pub labels: Vec<String>,
    /// One for each text, in their order.
    pub predictions: Vec<Prediction>,
}
