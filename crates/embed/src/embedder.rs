//! Embedders on ONNX Runtime through fastembed: the only file that names its embedding API.

use std::path::Path;
use std::sync::Arc;

use anser_core::{CancelToken, EmbedPurpose, Embedded, Embedder, EmbedderInfo, Embedding};
use anser_models::{ModelFiles, ModelRole, Pooling};
use fastembed::{InitOptionsUserDefined, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel};
use ort::environment::Environment;

use crate::options::Sessions;
use crate::panics::caught;
use crate::schedule::Entry;
use crate::source::{ModelSource, unfit};
use crate::tokens::TextReader;
use crate::worker::{MakeModel, Model, Worker};
use crate::{EmbedError, EmbedOptions, runtime};

/// A text embedder that runs a BERT-family ONNX graph on its own threads.
pub struct OnnxEmbedder {
    info: EmbedderInfo,
    query_prefix: String,
    passage_prefix: String,
    reader: TextReader,
    worker: Worker<EmbeddingModel>,
}

impl OnnxEmbedder {
    /// Loads the embedder in `files` on the ONNX Runtime library at `runtime`, and embeds one word to see that it works
    /// and has the dimension that its catalogue entry says.
    pub fn load(files: &ModelFiles, runtime: &Path, options: &EmbedOptions) -> Result<Self, EmbedError> {
        const ROLE: &str = "an embedder";
        options.check()?;
        let source = ModelSource::new(files, ModelRole::Embedder, ROLE)?;
        let spec = &files.spec;
        let dimension = spec.dimension.ok_or_else(|| unfit(spec, ROLE, "dimension is missing".into()))?;
        let pooling = spec.pooling.ok_or_else(|| unfit(spec, ROLE, "pooling is missing".into()))?;
        let environment = runtime::environment(runtime)?;
        let (reader, tokenizer) = source.tokenizer()?;
        let sessions = Sessions::of(options.threads);
        let parts = Arc::new(Parts {
            onnx: source.onnx()?,
            tokenizer,
            pooling: match pooling {
                Pooling::Cls => fastembed::Pooling::Cls,
                Pooling::Mean => fastembed::Pooling::Mean,
            },
            max_tokens: source.max_tokens,
            threads: sessions.threads_each,
            environment,
            source,
        });
        let mut model = parts.load()?;
        parts.check_dimension(&mut model, dimension)?;
        let further = (1..sessions.count)
            .map(|_| {
                let parts = Arc::clone(&parts);
                Box::new(move || parts.load()) as MakeModel<EmbeddingModel>
            })
            .collect();
        Ok(Self {
            info: EmbedderInfo {
                model: spec.name.clone(),
                dimension,
                max_tokens: reader.max_tokens(),
                fingerprint: files.fingerprint(),
            },
            query_prefix: spec.query_prefix.clone(),
            passage_prefix: spec.passage_prefix.clone(),
            worker: Worker::spawn(&spec.name, options, model, further)?,
            reader,
        })
    }

    fn embed_texts(
        &self,
        texts: &[String],
        purpose: EmbedPurpose,
        cancel: &CancelToken,
    ) -> Result<Vec<Embedded>, EmbedError> {
        let prefix = match purpose {
            EmbedPurpose::Query => &self.query_prefix,
            EmbedPurpose::Passage => &self.passage_prefix,
        };
        if let Some(index) = texts.iter().position(|text| text.trim().is_empty()) {
            return Err(EmbedError::EmptyText { index });
        }
        let mut lengths = Vec::with_capacity(texts.len());
        let mut entries = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            if cancel.is_cancelled() {
                return Err(EmbedError::Cancelled);
            }
            let input = format!("{prefix}{text}");
            let reading = self.reader.read(&input).map_err(|reason| self.failed(reason))?;
            lengths.push((reading.tokens, reading.truncated));
            entries.push(Entry { index, tokens: reading.tokens, item: reading.text.to_owned() });
        }
        let vectors = self.worker.submit(entries, cancel)?;
        vectors
            .into_iter()
            .zip(lengths)
            .map(|(vector, (tokens, truncated))| {
                let embedding = self.checked(vector)?;
                Ok(Embedded { embedding, tokens, truncated })
            })
            .collect()
    }

    fn checked(&self, vector: Vec<f32>) -> Result<Embedding, EmbedError> {
        if vector.len() != self.info.dimension {
            return Err(self.failed(format!("a vector has {} dimensions, not {}", vector.len(), self.info.dimension)));
        }
        Embedding::normalize(vector).map_err(|error| self.failed(error.to_string()))
    }

    fn failed(&self, reason: String) -> EmbedError {
        EmbedError::Run { model: self.info.model.clone(), reason }
    }
}

impl Embedder for OnnxEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn embed(
        &self,
        texts: &[String],
        purpose: EmbedPurpose,
        cancel: &CancelToken,
    ) -> anser_core::Result<Vec<Embedded>> {
        Ok(self.embed_texts(texts, purpose, cancel)?)
    }

    fn count_tokens(&self, text: &str) -> anser_core::Result<usize> {
        Ok(self.reader.count(text).map_err(|reason| self.failed(reason))?)
    }
}

/// What a copy of the model is made from.
struct Parts {
    source: ModelSource,
    onnx: Vec<u8>,
    tokenizer: TokenizerFiles,
    pooling: fastembed::Pooling,
    max_tokens: usize,
    threads: usize,
    environment: Environment,
}

impl Parts {
    fn load(&self) -> Result<EmbeddingModel, EmbedError> {
        let model = UserDefinedEmbeddingModel::new(self.onnx.clone(), self.tokenizer.clone())
            .with_pooling(self.pooling.clone());
        let options = InitOptionsUserDefined::new()
            .with_environment(self.environment.clone())
            .with_max_length(self.max_tokens)
            .with_intra_threads(self.threads)
            // Spinning threads take the cores away from whoever else works on this machine.
            .with_session_config("session.intra_op.allow_spinning", "0");
        caught(|| TextEmbedding::try_new_from_user_defined(model, options))
            .and_then(|loaded| loaded.map_err(|e| e.to_string()))
            .map(EmbeddingModel)
            .map_err(|reason| self.source.bad_file(&self.source.onnx, reason))
    }

    /// Embeds one word: a graph with other inputs or outputs shows itself now, not at the first request.
    fn check_dimension(&self, model: &mut EmbeddingModel, dimension: usize) -> Result<(), EmbedError> {
        let vectors = caught(|| model.run(&["word".to_owned()])).and_then(|vectors| vectors);
        let reason = match vectors.as_deref() {
            Ok([vector]) if vector.len() == dimension => return Ok(()),
            Ok(vectors) => format!(
                "its vectors have {} dimensions where the catalogue says {dimension}",
                vectors.first().map_or(0, Vec::len)
            ),
            Err(reason) => reason.clone(),
        };
        Err(self.source.bad_file(&self.source.onnx, reason))
    }
}

/// The model on a worker's thread. It keeps nothing between two runs, so a panic in one leaves the next unharmed.
struct EmbeddingModel(TextEmbedding);

impl Model for EmbeddingModel {
    type Item = String;
    type Output = Vec<f32>;

    fn run(&mut self, batch: &[String]) -> Result<Vec<Vec<f32>>, String> {
        self.0.embed(batch, Some(batch.len())).map_err(|e| e.to_string())
    }
}
