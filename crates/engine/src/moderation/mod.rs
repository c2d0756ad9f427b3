//! The content filter: is a text harassment, hate, a threat, a call for help, or none of it?
//!
//! It reads the embedder's vectors with one logistic regression for each category, learnt from a few hundred sentences that
//! were written for this project, so it is small, fast and limited: it knows kinds of sentences, not words, and with the
//! default embedder it reads English only. `examples/data/README.md` states what it finds and misses on held-out examples.

mod category;
mod evaluation;
mod examples;
mod model;
mod pieces;
mod threshold;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::{CancelToken, EmbedPurpose, Embedder};
use parking_lot::Mutex;
use serde::Serialize;

pub use category::MODERATION_CATEGORIES;
pub use evaluation::{DetectionScores, ModerationEvaluation};
pub use examples::ModerationExample;
pub use model::ModerationModel;

use crate::{Engine, EngineError};

/// What the content filter found in one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moderation {
    /// Whether any score is 0.5 or more.
    pub flagged: bool,
    /// Each of [`MODERATION_CATEGORIES`], in that order, with its score in [0, 1]; 0.5 and more is flagged. Scores rank
    /// texts; they are not probabilities.
    pub scores: Vec<(&'static str, f32)>,
}

impl Moderation {
    fn from_scores(scores: [f32; MODERATION_CATEGORIES.len()]) -> Self {
        let scores: Vec<(&'static str, f32)> = MODERATION_CATEGORIES.into_iter().zip(scores).collect();
        Self { flagged: scores.iter().any(|(_, score)| *score >= model::FLAGGED_FROM), scores }
    }

    /// Whether it was flagged with this category.
    pub fn flags(&self, category: &str) -> bool {
        self.scores.iter().any(|(name, score)| *name == category && *score >= model::FLAGGED_FROM)
    }

    /// The categories it was flagged with.
    pub fn flagged_categories(&self) -> Vec<&'static str> {
        self.scores.iter().filter(|(_, score)| *score >= model::FLAGGED_FROM).map(|(name, _)| *name).collect()
    }
}

/// The content filter in use, loaded or learnt when first needed.
pub(crate) struct ModerationFilter {
    /// Where a model of the user's own lies.
    path: PathBuf,
    model: Mutex<Option<Arc<ModerationModel>>>,
}

impl ModerationFilter {
    /// `root` is the data folder.
    pub(crate) fn new(root: &Path) -> Self {
        Self { path: root.join("moderation.json"), model: Mutex::new(None) }
    }

    /// The user's own model when there is one for this embedder, else the shipped one or one learnt like it.
    fn model(&self, embedder: &dyn Embedder, cancel: &CancelToken) -> Result<Arc<ModerationModel>, EngineError> {
        let mut slot = self.model.lock();
        if let Some(model) = slot.as_ref().filter(|model| model.fits(embedder.info())) {
            return Ok(Arc::clone(model));
        }
        let own = if self.path.is_file() { Some(ModerationModel::read(&self.path)?) } else { None };
        let model = match own {
            Some(own) if own.fits(embedder.info()) => own,
            Some(own) => {
                tracing::warn!(
                    path = %self.path.display(),
                    "this content filter was trained with {} and is not used with {}; train it again",
                    own.embedder(),
                    embedder.info().model
                );
                ModerationModel::shipped_or_trained(embedder, cancel)?
            }
            None => ModerationModel::shipped_or_trained(embedder, cancel)?,
        };
        Ok(Arc::clone(slot.insert(Arc::new(model))))
    }
}

impl Engine {
    /// Looks for harm in each text. A long text is read in pieces, and each score is the highest of any piece; a blank text
    /// scores 0.
    pub fn moderate(&self, texts: &[String], cancel: &CancelToken) -> Result<Vec<Moderation>, EngineError> {
        let embedder = self.models().embedder()?;
        let model = self.moderation.model(embedder.as_ref(), cancel)?;
        moderate(&model, embedder.as_ref(), texts, cancel)
    }

    /// How offensive each text is: the highest score of any category but the illicit ones, which ask for something
    /// forbidden in words that need not hurt anybody. What the preparation of training data asks for.
    pub fn offensive_scores(&self, texts: &[String], cancel: &CancelToken) -> Result<Vec<f32>, EngineError> {
        let offensive = |(category, _): &&(&str, f32)| !category.starts_with("illicit");
        let highest =
            |found: &Moderation| found.scores.iter().filter(offensive).map(|(_, score)| *score).fold(0.0, f32::max);
        Ok(self.moderate(texts, cancel)?.iter().map(highest).collect())
    }

    /// Learns a content filter from a JSONL file of [`ModerationExample`]s with the engine's embedder, stores it in the data
    /// folder and uses it from now on.
    pub fn train_moderation(&self, file: &Path, cancel: &CancelToken) -> Result<ModerationModel, EngineError> {
        let examples = ModerationExample::read_jsonl(file)?;
        let embedder = self.models().embedder()?;
        let model = ModerationModel::train(&examples, embedder.as_ref(), cancel)?;
        model.write(&self.moderation.path)?;
        *self.moderation.model.lock() = Some(Arc::new(model.clone()));
        Ok(model)
    }

    /// Measures the content filter in use on examples it was not made of.
    pub fn evaluate_moderation(
        &self,
        examples: &[ModerationExample],
        cancel: &CancelToken,
    ) -> Result<ModerationEvaluation, EngineError> {
        let texts: Vec<String> = examples.iter().map(|example| example.text.clone()).collect();
        let found = self.moderate(&texts, cancel)?;
        Ok(ModerationEvaluation::of(&self.models().embedder()?.info().model, examples, &found))
    }
}

fn moderate(
    model: &ModerationModel,
    embedder: &dyn Embedder,
    texts: &[String],
    cancel: &CancelToken,
) -> Result<Vec<Moderation>, EngineError> {
    let mut pieces = Vec::new();
    let mut owners = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        for piece in pieces::pieces(text) {
            pieces.push(piece);
            owners.push(at);
        }
    }
    let mut highest = vec![[0.0_f32; MODERATION_CATEGORIES.len()]; texts.len()];
    if !pieces.is_empty() {
        let embedded = embedder.embed(&pieces, EmbedPurpose::Passage, cancel)?;
        for (embedded, owner) in embedded.iter().zip(owners) {
            for (kept, score) in highest[owner].iter_mut().zip(model.scores(&embedded.embedding)?) {
                *kept = kept.max(score);
            }
        }
    }
    Ok(highest.into_iter().map(Moderation::from_scores).collect())
}
