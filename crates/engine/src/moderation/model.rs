//! The classifier: for each category a logistic regression on the embedder's vectors, shifted so that a score of one half
//! is where it flags.

use anser_core::storage::write_atomic;
use anser_core::{CancelToken, EmbedPurpose, Embedder, EmbedderInfo, Embedding};
use anser_index::analysis::{LogisticModel, LogisticOptions, Vectors};
use serde::{Deserialize, Serialize};
use std::path::Path;

use super::category::{MODERATION_CATEGORIES, parent, position};
use super::examples::{ModerationExample, fingerprint};
use super::threshold::threshold;
use crate::EngineError;

/// The model made from the shipped examples with the default embedder.
const SHIPPED: &str = include_str!("default_model.json");

/// Weak regularisation: in cross-validation on the shipped examples C = 10, 30 and 100 did equally well, 1 and 3 a little worse.
const INVERSE_REGULARIZATION: f64 = 30.0;

/// Parts into which examples are split to choose thresholds.
const FOLDS: usize = 5;

/// Fewest examples of a category, and beside it, that a classifier can be made of: one in each fold.
const MIN_EXAMPLES: usize = FOLDS;

/// A score from which a text is flagged.
pub(super) const FLAGGED_FROM: f32 = 0.5;

/// A trained content filter, bound to the embedder whose vectors it reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModerationModel {
    /// Name of the embedder.
    embedder: String,
    /// Its fingerprint.
    embedder_fingerprint: String,
    /// SHA-256 of the examples it was made of.
    examples_sha256: String,
    /// One for each of [`MODERATION_CATEGORIES`], in that order.
    categories: Vec<CategoryModel>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CategoryModel {
    name: String,
    intercept: f32,
    weights: Vec<f32>,
}

impl ModerationModel {
    /// Learns from examples with the vectors of `embedder`. For each category the threshold is the one with the highest
    /// F (precision counting √2 times as much as recall) on examples that the classifier had not seen, in 5 folds.
    ///
    /// `InvalidInput` when a category has fewer than 5 examples.
    pub fn train(
        examples: &[ModerationExample],
        embedder: &dyn Embedder,
        cancel: &CancelToken,
    ) -> Result<Self, EngineError> {
        let texts: Vec<String> = examples.iter().map(|example| example.text.clone()).collect();
        let embedded = embedder.embed(&texts, EmbedPurpose::Passage, cancel)?;
        let vectors = Vectors::from_embeddings(embedded.iter().map(|embedded| &embedded.embedding))?;
        let train_category = |name: &&str| {
            let labels: Vec<bool> = examples.iter().map(|example| example.is(name)).collect();
            let positive = labels.iter().filter(|label| **label).count();
            if positive < MIN_EXAMPLES || labels.len() - positive < MIN_EXAMPLES {
                let message = format!(
                    "the category \"{name}\" has {positive} of {} examples, but needs at least {MIN_EXAMPLES} and as many beside it",
                    labels.len()
                );
                return Err(EngineError::invalid("file", message));
            }
            let threshold = threshold(&unseen_scores(&vectors, &labels, cancel)?, &labels);
            let (weights, intercept) = fit(&vectors, &labels, cancel)?;
            // Moves the threshold's log odds to 0, so that the score is 0.5 there.
            let shift = (threshold / (1.0 - threshold)).ln();
            Ok(CategoryModel { name: (*name).to_owned(), intercept: intercept - shift as f32, weights })
        };
        let info = embedder.info();
        Ok(Self {
            embedder: info.model.clone(),
            embedder_fingerprint: info.fingerprint.clone(),
            examples_sha256: fingerprint(examples),
            categories: MODERATION_CATEGORIES.iter().map(train_category).collect::<Result<_, _>>()?,
        })
    }

    /// The shipped model when `embedder` made its vectors, else one learnt now from the shipped examples, in seconds.
    pub fn shipped_or_trained(embedder: &dyn Embedder, cancel: &CancelToken) -> Result<Self, EngineError> {
        match Self::shipped() {
            Some(model) if model.fits(embedder.info()) => Ok(model),
            _ => {
                tracing::info!(embedder = embedder.info().model, "the content filter is learnt for this embedder");
                Self::train(&ModerationExample::shipped_training(), embedder, cancel)
            }
        }
    }

    /// The model that comes with the program, for the default embedder.
    pub fn shipped() -> Option<Self> {
        Self::from_json(SHIPPED).ok()
    }

    /// Whether this embedder made the vectors it was learnt from.
    pub fn fits(&self, embedder: &EmbedderInfo) -> bool {
        self.embedder_fingerprint == embedder.fingerprint
    }

    /// Name of the embedder whose vectors it reads.
    pub fn embedder(&self) -> &str {
        &self.embedder
    }

    /// Whether exactly these examples made it.
    pub fn made_of(&self, examples: &[ModerationExample]) -> bool {
        self.examples_sha256 == fingerprint(examples)
    }

    /// One score in [0, 1] for each of [`MODERATION_CATEGORIES`]; 0.5 and more is flagged. A category scores at least as
    /// high as its worse forms.
    pub fn scores(&self, vector: &Embedding) -> Result<[f32; MODERATION_CATEGORIES.len()], EngineError> {
        let mut scores = [0.0; MODERATION_CATEGORIES.len()];
        for (at, (score, category)) in scores.iter_mut().zip(&self.categories).enumerate() {
            if category.weights.len() != vector.dimension() {
                return Err(anser_core::Error::invalid(format!(
                    "the content filter reads vectors of {} dimensions, not of {}; train it with this embedder",
                    category.weights.len(),
                    vector.dimension()
                ))
                .into());
            }
            debug_assert_eq!(position(&category.name), Some(at));
            let products = category.weights.iter().zip(vector.as_slice()).map(|(w, x)| f64::from(*w) * f64::from(*x));
            let log_odds = f64::from(category.intercept) + products.sum::<f64>();
            *score = (1.0 / (1.0 + (-log_odds).exp())) as f32;
        }
        for at in 0..scores.len() {
            if let Some(parent) = parent(at) {
                scores[parent] = scores[parent].max(scores[at]);
            }
        }
        Ok(scores)
    }

    /// Writes the model as JSON.
    pub fn write(&self, path: &Path) -> Result<(), EngineError> {
        Ok(write_atomic(path, self.to_json()?.as_bytes())?)
    }

    /// Reads a model that [`ModerationModel::write`] wrote. `BadFile` when it is not one.
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        let text = std::fs::read_to_string(path).map_err(|e| EngineError::io("read", path, e))?;
        Self::from_json(&text).map_err(|message| EngineError::BadFile { path: path.to_path_buf(), message })
    }

    fn to_json(&self) -> Result<String, EngineError> {
        serde_json::to_string(self)
            .map(|json| json.replace("},{", "},\n{") + "\n")
            .map_err(|e| anser_core::Error::internal(format!("cannot write the content filter as JSON: {e}")).into())
    }

    fn from_json(json: &str) -> Result<Self, String> {
        let retrain = "train the content filter again";
        let model: Self = serde_json::from_str(json).map_err(|e| format!("it is no content filter: {e}; {retrain}"))?;
        let names = model.categories.iter().map(|category| category.name.as_str());
        if !names.eq(MODERATION_CATEGORIES) {
            return Err(format!("its categories are not the known ones in their order; {retrain}"));
        }
        let dimension = model.categories.first().map_or(0, |category| category.weights.len());
        let usable = |category: &CategoryModel| {
            category.weights.len() == dimension
                && category.weights.iter().chain([&category.intercept]).all(|value| value.is_finite())
        };
        if dimension == 0 || !model.categories.iter().all(usable) {
            return Err(format!("its weights are not finite rows of one length; {retrain}"));
        }
        Ok(model)
    }
}

fn fit(vectors: &Vectors, labels: &[bool], cancel: &CancelToken) -> Result<(Vec<f32>, f32), EngineError> {
    let classes: Vec<usize> = labels.iter().map(|label| usize::from(*label)).collect();
    let options = LogisticOptions { inverse_regularization: INVERSE_REGULARIZATION, ..LogisticOptions::default() };
    let model = LogisticModel::fit(vectors, &classes, 2, &options, cancel)?;
    let intercept = model.intercepts().first().copied().unwrap_or_default();
    Ok((model.weights().to_vec(), intercept))
}

/// The probability of each example from a classifier that was made of the other folds. Examples of either kind go round
/// the folds in turn, so that each fold has its share of both.
fn unseen_scores(vectors: &Vectors, labels: &[bool], cancel: &CancelToken) -> Result<Vec<f64>, EngineError> {
    let mut turns = [0_usize; 2];
    let folds: Vec<usize> = labels
        .iter()
        .map(|label| {
            let turn = &mut turns[usize::from(*label)];
            *turn += 1;
            (*turn - 1) % FOLDS
        })
        .collect();
    let mut scores = vec![0.0; labels.len()];
    for fold in 0..FOLDS {
        let seen = |at: &usize| folds[*at] != fold;
        let (known, known_labels): (Vec<usize>, Vec<usize>) =
            (0..labels.len()).filter(seen).map(|at| (at, usize::from(labels[at]))).unzip();
        let options = LogisticOptions { inverse_regularization: INVERSE_REGULARIZATION, ..LogisticOptions::default() };
        let model = LogisticModel::fit(&vectors.gather(&known), &known_labels, 2, &options, cancel)?;
        for at in (0..labels.len()).filter(|at| !seen(at)) {
            scores[at] = model.probabilities(vectors.row(at))?.last().copied().unwrap_or_default();
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::fixtures::BagOfWords;

    fn embed(text: &str) -> Embedding {
        let embedded = BagOfWords::default().embed(&[text.to_owned()], EmbedPurpose::Passage, &CancelToken::new());
        embedded.unwrap().remove(0).embedding
    }

    #[test]
    fn a_model_learns_its_examples_and_survives_the_disk() {
        let examples = ModerationExample::shipped_training();
        let embedder = BagOfWords::default();
        let model = ModerationModel::train(&examples, &embedder, &CancelToken::new()).unwrap();
        assert!(model.fits(embedder.info()) && model.made_of(&examples) && !model.made_of(&examples[1..]));
        let threat = model.scores(&embed("I will kill you, you stupid liar")).unwrap();
        let harmless = model.scores(&embed("Please send the invoice and the parcel to Vienna")).unwrap();
        assert!(threat[0] > harmless[0] && threat[1] > harmless[1]);
        assert!(threat[0] >= threat[1], "the plain form scores at least as high");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.json");
        model.write(&path).unwrap();
        assert_eq!(ModerationModel::read(&path).unwrap(), model);
        let other = Embedding::normalize(vec![1.0; 3]).unwrap();
        assert!(model.scores(&other).unwrap_err().to_string().contains("64 dimensions"));
    }

    #[test]
    fn the_shipped_model_is_made_of_the_shipped_examples() {
        let model = ModerationModel::shipped().unwrap();
        assert!(model.made_of(&ModerationExample::shipped_training()), "make it again, see examples/data/README.md");
        let trained = ModerationModel::shipped_or_trained(&BagOfWords::default(), &CancelToken::new()).unwrap();
        assert_eq!(trained.embedder(), "bag-of-words", "another embedder gets a model of its own");
    }

    #[test]
    fn files_that_are_no_model_are_refused() {
        let good = ModerationModel::shipped().unwrap().to_json().unwrap();
        assert!(ModerationModel::from_json(&good).is_ok());
        for bad in [
            "nonsense".to_owned(),
            good.replace("\"hate\"", "\"hatred\""),
            good.replacen("\"weights\":[", "\"weights\":[1.0,", 1),
            good.replacen("\"weights\":[", "\"weights\":[1e300,", 13),
        ] {
            assert!(ModerationModel::from_json(&bad).is_err());
        }
    }

    #[test]
    fn too_few_examples_name_the_category() {
        let mut examples = ModerationExample::shipped_training();
        examples.retain(|example| !example.is("sexual/minors"));
        let error = ModerationModel::train(&examples, &BagOfWords::default(), &CancelToken::new()).unwrap_err();
        assert!(error.to_string().contains("\"sexual/minors\" has 0 of"), "{error}");
    }
}
