//! Embedders on ONNX Runtime through fastembed: the only file that names its embedding API.

use std::path::Path;

use anser_models::Pooling;
use fastembed::{InitOptionsUserDefined, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel};
use ort::environment::Environment;

use crate::backend::{Backend, Batching, Input, Session};
use crate::panics::caught;
use crate::source::ModelSource;
use crate::{EmbedError, runtime};

/// A graph in memory, from which sessions are made.
pub(crate) struct OnnxBackend {
    source: ModelSource,
    onnx: Vec<u8>,
    tokenizer: TokenizerFiles,
    pooling: fastembed::Pooling,
    environment: Environment,
}

impl OnnxBackend {
    /// Reads the graph of `source`, to be run by the ONNX Runtime library at `runtime`.
    pub(crate) fn load(source: &ModelSource, pooling: Pooling, runtime: &Path) -> Result<Self, EmbedError> {
        let environment = runtime::environment(runtime)?;
        let (_, tokenizer) = source.tokenizer()?;
        let pooling = match pooling {
            Pooling::Cls => fastembed::Pooling::Cls,
            Pooling::Mean => fastembed::Pooling::Mean,
            Pooling::LastToken => {
                return Err(
                    source.bad_file(&source.weights, "it pools the last token, which ONNX graphs are not run with")
                );
            }
        };
        Ok(Self { onnx: source.onnx()?, source: source.clone(), tokenizer, pooling, environment })
    }
}

impl Backend for OnnxBackend {
    fn name(&self) -> String {
        "onnx".to_owned()
    }

    fn batching(&self) -> Batching {
        Batching::Padded
    }

    fn session(&self, threads: usize) -> Result<Box<dyn Session>, EmbedError> {
        let model = UserDefinedEmbeddingModel::new(self.onnx.clone(), self.tokenizer.clone())
            .with_pooling(self.pooling.clone());
        let options = InitOptionsUserDefined::new()
            .with_environment(self.environment.clone())
            .with_max_length(self.source.max_tokens)
            .with_intra_threads(threads)
            // Spinning threads take the cores away from whoever else works on this machine.
            .with_session_config("session.intra_op.allow_spinning", "0");
        caught(|| TextEmbedding::try_new_from_user_defined(model, options))
            .and_then(|loaded| loaded.map_err(|e| e.to_string()))
            .map(|session| Box::new(OnnxSession(session)) as Box<dyn Session>)
            .map_err(|reason| self.source.bad_file(&self.source.weights, reason))
    }
}

struct OnnxSession(TextEmbedding);

impl Session for OnnxSession {
    fn run(&mut self, batch: &[Input]) -> Result<Vec<Vec<f32>>, String> {
        let texts: Vec<&str> = batch.iter().map(|input| input.text.as_str()).collect();
        self.0.embed(texts, Some(batch.len())).map_err(|e| e.to_string())
    }
}
