//! The embedder that the rest of the program sees: reads texts, hands them to a worker, checks what comes back.

use std::sync::Arc;

use anser_core::{CancelToken, EmbedPurpose, Embedded, Embedder, EmbedderInfo, Embedding};
use anser_models::{GraphInputs, ModelFiles, ModelRole};

use crate::backend::{Backend, Input, Session};
use crate::choose::{Chosen, Measuring, PROBES};
use crate::engines::Engines;
use crate::measurements::Key;
use crate::options::Sessions;
use crate::panics::caught;
use crate::pipeline;
use crate::schedule::{Entry, RunLimit};
use crate::source::{ModelSource, unfit};
use crate::tokens::TextReader;
use crate::worker::{MakeModel, Worker};
use crate::{EmbedError, EmbedOptions, EngineChoice, RuntimeLibrary};

/// A text embedder that runs its model on threads of its own.
pub struct TextEmbedder {
    info: EmbedderInfo,
    query_prefix: String,
    passage_prefix: String,
    reader: TextReader,
    /// Threads that tokenise a large request.
    readers: usize,
    worker: Worker<Box<dyn Session>>,
    backend: String,
    choice: EngineChoice,
    shorter_dimensions: Vec<usize>,
}

impl TextEmbedder {
    /// Loads the embedder in `files` and embeds one word to see that it works and has the dimension that its catalogue
    /// entry says. `runtime` is asked for the ONNX Runtime library only when the model needs it.
    pub fn load(files: &ModelFiles, runtime: &dyn RuntimeLibrary, options: &EmbedOptions) -> Result<Self, EmbedError> {
        const ROLE: &str = "an embedder";
        options.check()?;
        let source = ModelSource::new(files, ModelRole::Embedder, ROLE)?;
        let spec = &files.spec;
        let dimension = spec.dimension.ok_or_else(|| unfit(spec, ROLE, "dimension is missing".into()))?;
        let pooling = match spec.graph {
            Some(GraphInputs::Ragged) => None,
            None => Some(spec.pooling.ok_or_else(|| unfit(spec, ROLE, "pooling is missing".into()))?),
        };
        let (reader, _) = source.tokenizer()?;
        let engines = Engines { files, source: &source, pooling, runtime, options };
        let session = |backend: &dyn Backend| {
            let sessions = Sessions::of(options.threads, backend);
            let mut session = backend.session(sessions.threads_each)?;
            check_dimension(session.as_mut(), &source, &reader, dimension)?;
            Ok(session)
        };
        let measuring = Measuring {
            probes: &|| probes(&reader).map_err(|reason| source.bad_file(&source.tokenizer, reason)),
            key: Key::new(files, options),
            file: options.measurements.as_deref(),
            session: &session,
            failed: &|reason| EmbedError::Run { model: spec.name.clone(), reason },
        };
        let Chosen { backend, session: first, choice } = measuring.choose(&engines.candidates()?)?;
        let sessions = Sessions::of(options.threads, backend.as_ref());
        let further = (1..sessions.count)
            .map(|_| {
                let backend = Arc::clone(&backend);
                Box::new(move || backend.session(sessions.threads_each)) as MakeModel<Box<dyn Session>>
            })
            .collect();
        let limit = RunLimit {
            batching: backend.batching(),
            tokens: options.batch_tokens.unwrap_or_else(|| backend.run_tokens()),
        };
        Ok(Self {
            info: EmbedderInfo {
                model: spec.name.clone(),
                dimension,
                max_tokens: reader.max_tokens(),
                fingerprint: files.fingerprint(),
            },
            query_prefix: spec.query_prefix.clone(),
            passage_prefix: spec.passage_prefix.clone(),
            worker: Worker::spawn(&spec.name, options.queue, limit, first, further)?,
            backend: backend.name(),
            choice,
            shorter_dimensions: spec.dimensions.clone(),
            readers: options.readers(),
            reader,
        })
    }

    /// Which engine and number format run the model, and out of which they were chosen.
    pub fn choice(&self) -> &EngineChoice {
        &self.choice
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
        let read = |index: usize| {
            let input = format!("{prefix}{}", texts.get(index).map_or("", String::as_str));
            let reading = self.reader.read(&input).map_err(|reason| self.failed(reason))?;
            let (tokens, truncated) = (reading.tokens(), reading.truncated);
            let item = Input { text: reading.text.to_owned(), ids: reading.ids };
            Ok((Entry { index, tokens, item }, (tokens, truncated)))
        };
        pipeline::run(&self.worker, texts.len(), self.readers, &read, cancel)?
            .into_iter()
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

impl Embedder for TextEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn backend(&self) -> &str {
        &self.backend
    }

    fn shorter_dimensions(&self) -> &[usize] {
        &self.shorter_dimensions
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

/// The texts to measure engines with, as the model reads them.
fn probes(reader: &TextReader) -> Result<Vec<Input>, String> {
    let read = |text: &&str| reader.read(text).map(|reading| Input { ids: reading.ids, text: (*text).to_owned() });
    PROBES.iter().map(read).collect()
}

/// Embeds one word: a model with other inputs or outputs shows itself now, not at the first request.
fn check_dimension(
    session: &mut dyn Session,
    source: &ModelSource,
    reader: &TextReader,
    dimension: usize,
) -> Result<(), EmbedError> {
    let word = reader.read("word").map(|reading| Input { ids: reading.ids, text: "word".to_owned() });
    let vectors = word.and_then(|word| caught(|| session.run(&[word])).and_then(|vectors| vectors));
    let reason = match vectors.as_deref() {
        Ok([vector]) if vector.len() == dimension => return Ok(()),
        Ok(vectors) => format!(
            "its vectors have {} dimensions where the catalogue says {dimension}",
            vectors.first().map_or(0, Vec::len)
        ),
        Err(reason) => reason.clone(),
    };
    Err(source.bad_file(&source.weights, reason))
}
