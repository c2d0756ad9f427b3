//! An embedder for tests that counts letters, and the models of an engine that has nothing else.

use std::sync::Arc;

use anser_core::{
    CancelToken, EmbedPurpose, Embedded, Embedder, EmbedderInfo, Embedding, Error, Generator, Reranker, Result,
};

use crate::{ModelLoader, TunedModel};

/// Counts letters into as many directions as its dimension says.
struct Letters(EmbedderInfo);

impl Embedder for Letters {
    fn info(&self) -> &EmbedderInfo {
        &self.0
    }

    fn embed(&self, texts: &[String], _: EmbedPurpose, cancel: &CancelToken) -> Result<Vec<Embedded>> {
        let one = |text: &String| {
            cancel.check()?;
            let mut counts = vec![0.01_f32; self.0.dimension];
            text.bytes().for_each(|byte| counts[usize::from(byte) % self.0.dimension] += 1.0);
            Ok(Embedded { embedding: Embedding::normalize(counts)?, tokens: 1, truncated: false })
        };
        texts.iter().map(one).collect()
    }

    fn count_tokens(&self, _: &str) -> Result<usize> {
        Ok(1)
    }
}

/// Loads a counter of letters of so many dimensions.
pub(crate) struct LettersLoader(pub(crate) usize);

impl ModelLoader for LettersLoader {
    fn embedder_name(&self) -> &'static str {
        "letters"
    }

    fn reranker_name(&self) -> Option<&str> {
        None
    }

    fn generator_name(&self) -> &'static str {
        "none"
    }

    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        let name = format!("letters-{}", self.0);
        let info = EmbedderInfo { model: name.clone(), dimension: self.0, max_tokens: 512, fingerprint: name };
        Ok(Arc::new(Letters(info)))
    }

    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Err(Error::internal("there is no reranker"))
    }

    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Err(Error::internal("there is no chat model"))
    }

    fn tuned(&self, _: &TunedModel) -> Result<Arc<dyn Generator>> {
        Err(Error::internal("there is no chat model"))
    }
}
