//! Saved predictors on texts.

use anser_core::{CancelToken, DocumentId, EmbedderInfo};
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

    /// What a saved predictor says of documents of a collection, by their stored vectors; no model is loaded. `classify`:
    /// whether labels are wanted, else numbers.
    ///
    /// `NotFound` names the collection, document or predictor that is not there, `Conflict` says that another embedder made
    /// the collection's vectors, `InvalidInput` is for no id, more than 2,048, or a predictor of the other kind.
    pub fn predict_documents(
        &self,
        collection: &str,
        (name, version): (&str, Option<u32>),
        ids: &[DocumentId],
        classify: bool,
        cancel: &CancelToken,
    ) -> Result<TextPredictions, EngineError> {
        check_count(ids.len(), "ids")?;
        self.check_kind(name, version, classify)?;
        let stored = self.collection(collection)?;
        let (predictor, model) = self.analyses.predictors.for_embedder(name, version, stored.embedder())?;
        let vector = |id: &DocumentId| {
            let missing = || {
                let id = anser_core::excerpt(id.as_str(), 80);
                EngineError::not_found(format!("the collection \"{collection}\" has no document \"{id}\""))
            };
            stored.vector(id)?.ok_or_else(missing)
        };
        let vectors = ids.iter().map(vector).collect::<Result<Vec<_>, EngineError>>()?;
        let predictions = model.predict(&Vectors::from_embeddings(&vectors)?, cancel)?;
        Ok(TextPredictions { predictor, labels: model.labels(), predictions })
    }

    /// `InvalidInput` for a predictor of the other kind.
    fn check_kind(&self, name: &str, version: Option<u32>, classify: bool) -> Result<(), EngineError> {
        if self.predictor(name, version)?.kind.classifies() == classify {
            return Ok(());
        }
        let (is, call) = if classify { ("a regression", "regress") } else { ("a classifier", "classify") };
        Err(EngineError::invalid("predictor", format!("the predictor \"{name}\" is {is}; use {call}")))
    }

    fn predict_texts(
        &self,
        name: &str,
        version: Option<u32>,
        texts: &[String],
        classify: bool,
        cancel: &CancelToken,
    ) -> Result<TextPredictions, EngineError> {
        check_count(texts.len(), "texts")?;
        if let Some(at) = texts.iter().position(|text| text.trim().is_empty()) {
            return Err(EngineError::invalid("texts", format!("text {at} is blank; leave it out")));
        }
        self.check_kind(name, version, classify)?;
        let embedder = self.models().embedder()?;
        let (predictor, model) = self.analyses.predictors.for_embedder(name, version, embedder.info())?;
        let vectors = Vectors::from_embeddings(&embed_whole(embedder.as_ref(), texts, cancel)?)?;
        Ok(TextPredictions { predictor, labels: model.labels(), predictions: model.predict(&vectors, cancel)? })
    }
}

fn check_count(count: usize, param: &'static str) -> Result<(), EngineError> {
    if (1..=MAX_TEXTS).contains(&count) {
        return Ok(());
    }
    Err(EngineError::invalid(param, format!("{count} {param} were sent; send 1 to {MAX_TEXTS}")))
}

/// What a saved predictor says of some texts or documents.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TextPredictions {
    /// The predictor.
    pub predictor: SavedPredictor,
    /// Its labels, in the order of [`Prediction::scores`]; none of a regression.
    pub labels: Vec<String>,
    /// One for each, in their order.
    pub predictions: Vec<Prediction>,
}
