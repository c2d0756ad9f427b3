//! Proofs about the differentiable model on tiny models.

use anser_generate::LlamaConfig;

/// Two blocks, two heads for each key and value head, odd widths where they are allowed.
pub(crate) fn tiny_config() -> LlamaConfig {
    LlamaConfig {
        blocks: 2,
        hidden: 20,
        feed_forward: 27,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        vocabulary: 61,
        context: 96,
        norm_epsilon: 1e-5,
        rope_base: 10_000.0,
        tied_embeddings: true,
    }
}
