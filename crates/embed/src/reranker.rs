//! Cross-encoders on ONNX Runtime through fastembed: the only file that names its reranking API.

use std::path::Path;
use std::sync::Arc;

use anser_core::{CancelToken, Reranker};
use anser_models::{ModelFiles, ModelRole};
use fastembed::{RerankInitOptionsUserDefined, TextRerank, TokenizerFiles, UserDefinedRerankingModel};
use ort::environment::Environment;

use crate::backend::Batching;
use crate::options::Sessions;
use crate::panics::caught;
use crate::pipeline;
use crate::schedule::{Entry, RunLimit};
use crate::source::ModelSource;
use crate::tokens::TextReader;
use crate::worker::{MakeModel, Model, Worker};
use crate::{EmbedError, EmbedOptions, runtime};

/// A cross-encoder that reads a query and a passage together and gives one logit.
pub struct OnnxReranker {
    name: String,
    reader: TextReader,
    /// Threads that tokenise a large request.
    readers: usize,
    worker: Worker<CrossEncoder>,
}

impl OnnxReranker {
    /// Loads the reranker in `files` on the ONNX Runtime library at `runtime`, and scores one pair to see that it works.
    pub fn load(files: &ModelFiles, runtime: &Path, options: &EmbedOptions) -> Result<Self, EmbedError> {
        options.check()?;
        let source = ModelSource::new(files, ModelRole::Reranker, "a reranker")?;
        let environment = runtime::environment(runtime)?;
        let (reader, tokenizer) = source.tokenizer()?;
        let sessions = Sessions::copies(options.threads);
        let parts =
            Arc::new(Parts { onnx: source.onnx()?, tokenizer, threads: sessions.threads_each, environment, source });
        let mut model = parts.load()?;
        parts.check(&mut model)?;
        let further = (1..sessions.count)
            .map(|_| {
                let parts = Arc::clone(&parts);
                Box::new(move || parts.load()) as MakeModel<CrossEncoder>
            })
            .collect();
        let name = parts.source.name.clone();
        let limit = RunLimit { batching: Batching::Padded, tokens: options.batch_tokens.unwrap_or(0) };
        let worker = Worker::spawn(&name, options.queue, limit, model, further)?;
        Ok(Self { name, reader, readers: options.readers(), worker })
    }

    fn score(&self, query: &str, passages: &[String], cancel: &CancelToken) -> Result<Vec<f32>, EmbedError> {
        if query.trim().is_empty() {
            return Err(EmbedError::EmptyQuery);
        }
        if let Some(index) = passages.iter().position(|passage| passage.trim().is_empty()) {
            return Err(EmbedError::EmptyText { index });
        }
        let asked = self.reader.read(query).map_err(|reason| self.failed(reason))?;
        let query: Arc<str> = asked.text.into();
        let read = |index: usize| {
            let passage = passages.get(index).map_or("", String::as_str);
            let reading = self.reader.read(passage).map_err(|reason| self.failed(reason))?;
            let tokens = (asked.tokens() + reading.tokens()).min(self.reader.max_tokens());
            let item = Pair { query: Arc::clone(&query), passage: reading.text.to_owned() };
            Ok((Entry { index, tokens, item }, ()))
        };
        let scores = pipeline::run(&self.worker, passages.len(), self.readers, &read, cancel)?;
        let scores: Vec<f32> = scores.into_iter().map(|(score, ())| score).collect();
        match scores.iter().position(|score| !score.is_finite()) {
            Some(index) => Err(self.failed(format!("the score of passage {index} is not a number"))),
            None => Ok(scores),
        }
    }

    fn failed(&self, reason: String) -> EmbedError {
        EmbedError::Run { model: self.name.clone(), reason }
    }
}

impl Reranker for OnnxReranker {
    fn model(&self) -> &str {
        &self.name
    }

    fn rerank(&self, query: &str, passages: &[String], cancel: &CancelToken) -> anser_core::Result<Vec<f32>> {
        Ok(self.score(query, passages, cancel)?)
    }
}

/// What a copy of the model is made from.
struct Parts {
    source: ModelSource,
    onnx: Vec<u8>,
    tokenizer: TokenizerFiles,
    threads: usize,
    environment: Environment,
}

impl Parts {
    fn load(&self) -> Result<CrossEncoder, EmbedError> {
        let model = UserDefinedRerankingModel::new(self.onnx.clone(), self.tokenizer.clone());
        let options = RerankInitOptionsUserDefined::new()
            .with_environment(self.environment.clone())
            .with_max_length(self.source.max_tokens)
            .with_intra_threads(self.threads)
            // Spinning threads take the cores away from whoever else works on this machine.
            .with_session_config("session.intra_op.allow_spinning", "0");
        caught(|| TextRerank::try_new_from_user_defined(model, options))
            .and_then(|loaded| loaded.map_err(|e| e.to_string()))
            .map(CrossEncoder)
            .map_err(|reason| self.source.bad_file(&self.source.weights, reason))
    }

    /// Scores one pair: a graph with other inputs or outputs shows itself now, not at the first request.
    fn check(&self, model: &mut CrossEncoder) -> Result<(), EmbedError> {
        let pair = Pair { query: "word".into(), passage: "word".to_owned() };
        match caught(|| model.run(&[pair])).and_then(|scores| scores) {
            Ok(_) => Ok(()),
            Err(reason) => Err(self.source.bad_file(&self.source.weights, reason)),
        }
    }
}

/// A query and the passage to score against it.
struct Pair {
    query: Arc<str>,
    passage: String,
}

/// The model on a worker's thread. It keeps nothing between two runs, so a panic in one leaves the next unharmed.
struct CrossEncoder(TextRerank);

impl Model for CrossEncoder {
    type Item = Pair;
    type Output = f32;

    /// fastembed scores passages against one query, so a run that mixes requests is split where the query changes.
    fn run(&mut self, batch: &[Pair]) -> Result<Vec<f32>, String> {
        let mut scores = Vec::with_capacity(batch.len());
        for same_query in batch.chunk_by(|a, b| Arc::ptr_eq(&a.query, &b.query)) {
            let passages: Vec<&str> = same_query.iter().map(|pair| pair.passage.as_str()).collect();
            let query: &str = same_query.first().map_or("", |pair| &pair.query);
            let mut ranked = self.0.rerank(query, &passages, false, Some(passages.len())).map_err(|e| e.to_string())?;
            // They come best first.
            ranked.sort_unstable_by_key(|result| result.index);
            scores.extend(ranked.into_iter().map(|result| result.score));
        }
        Ok(scores)
    }
}
