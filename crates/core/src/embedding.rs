//! Vectors of text and who made them.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How far a stored or received vector's norm may be from 1.
const NORM_TOLERANCE: f32 = 1e-3;

/// A unit-norm, finite, non-empty vector, f32. The dot product of two is their cosine.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Embedding(Vec<f32>);

impl Embedding {
    /// Scales `values` to unit norm. Fails on an empty, zero or non-finite vector.
    pub fn normalize(mut values: Vec<f32>) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::invalid("an embedding needs at least one dimension, this vector has none"));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::invalid(format!("an embedding must be finite, but position {at} holds {}", values[at])));
        }
        let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if norm < 1e-12 {
            return Err(Error::invalid("an all-zero vector has no direction and cannot be an embedding"));
        }
        for v in &mut values {
            *v = (f64::from(*v) / norm) as f32;
        }
        Ok(Self(values))
    }

    /// Accepts a vector that already has unit norm (within 0.001); fails otherwise.
    pub fn from_unit(values: Vec<f32>) -> Result<Self> {
        let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        if values.is_empty() || !norm.is_finite() || (norm - 1.0).abs() > NORM_TOLERANCE {
            return Err(Error::new(
                crate::ErrorKind::Corrupt,
                format!("a stored embedding must have unit norm, this one of {} dimensions has {norm}", values.len()),
            ));
        }
        Ok(Self(values))
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The numbers, owned.
    pub fn into_vec(self) -> Vec<f32> {
        self.0
    }

    /// How many dimensions.
    pub fn dimension(&self) -> usize {
        self.0.len()
    }

    /// Its first `dimension` numbers, scaled to unit norm again: an embedding of its own where the model was trained for
    /// that length. A length that it does not have is refused.
    pub fn shortened(mut self, dimension: usize) -> Result<Self> {
        if dimension > self.0.len() {
            return Err(Error::invalid(format!(
                "an embedding of {} dimensions cannot be cut to {dimension}",
                self.0.len()
            )));
        }
        self.0.truncate(dimension);
        Self::normalize(self.0)
    }

    /// Cosine similarity in [-1, 1]; fails when the dimensions differ.
    pub fn cosine(&self, other: &Self) -> Result<f32> {
        if self.0.len() != other.0.len() {
            return Err(Error::invalid(format!(
                "cannot compare an embedding of {} dimensions with one of {}",
                self.0.len(),
                other.0.len()
            )));
        }
        let dot: f32 = self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum();
        Ok(dot.clamp(-1.0, 1.0))
    }
}

/// What an embedder returns for one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// The vector.
    pub embedding: Embedding,
    /// Tokens that were read, special tokens included.
    pub tokens: usize,
    /// Whether the text was longer than the model reads, so that its end was ignored.
    pub truncated: bool,
}

/// Identity and limits of an embedder. Two embedders with the same fingerprint give the same vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbedderInfo {
    /// Name in the catalogue.
    pub model: String,
    /// Dimensions of its vectors.
    pub dimension: usize,
    /// Tokens it reads of one text, special tokens included.
    pub max_tokens: usize,
    /// Hash over model bytes, pooling, prefixes and dimension, in hexadecimal.
    pub fingerprint: String,
}

/// Begins the fingerprint of vectors that their owner makes.
const EXTERNAL: &str = "external:";

impl EmbedderInfo {
    /// Vectors that the user brings along, of `dimension` numbers: no model of ours makes them. Collections whose vectors
    /// bear the same `name` and dimension understand each other's.
    pub fn external(name: impl Into<String>, dimension: usize) -> Self {
        let model = name.into();
        let fingerprint = format!("{EXTERNAL}{dimension}:{model}");
        Self { model, dimension, max_tokens: 0, fingerprint }
    }

    /// Whether the user brings these vectors along.
    pub fn is_external(&self) -> bool {
        self.fingerprint.starts_with(EXTERNAL)
    }
}
