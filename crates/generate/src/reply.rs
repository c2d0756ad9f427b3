//! A reply in the making: from logits to tokens to text, until something ends it.

use anser_core::{FinishReason, GenerateOptions};

use crate::GenerateError;
use crate::codec::ChatCodec;
use crate::sampling::Sampler;
use crate::text::{StopMatcher, Utf8Joiner};

/// A reply that is being written.
pub(crate) struct Reply {
    sampler: Sampler,
    characters: Utf8Joiner,
    stop: StopMatcher,
    tokens: usize,
    limit: usize,
}

/// What came next.
pub(crate) enum Said {
    /// This token; the reply goes on.
    Token(u32),
    /// The end.
    End(FinishReason),
}

impl Reply {
    /// A reply to `prompt` of at most `room` tokens.
    pub(crate) fn new(options: &GenerateOptions, prompt: &[u32], room: usize, codec: &ChatCodec) -> Self {
        Self {
            sampler: Sampler::new(options, prompt, codec.tokenizer().control_tokens().collect()),
            characters: Utf8Joiner::default(),
            stop: StopMatcher::new(options.stop.clone()),
            tokens: 0,
            limit: options.max_tokens.unwrap_or(usize::MAX).min(room),
        }
    }

    /// Tokens written, without the one that ended the turn.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Chooses the next token from `logits`, which are overwritten; returns it with the text that can be shown now.
    pub(crate) fn next(&mut self, logits: &mut [f32], codec: &ChatCodec) -> Result<(Said, String), GenerateError> {
        let token = self.sampler.next(logits)?;
        if codec.ends(token) {
            return Ok((Said::End(FinishReason::Stop), self.rest()));
        }
        self.tokens += 1;
        let (mut delta, stopped) = self.stop.push(&self.characters.push(codec.tokenizer().token_bytes(token)));
        if stopped {
            return Ok((Said::End(FinishReason::Stop), delta));
        }
        if self.tokens >= self.limit {
            delta.push_str(&self.rest());
            return Ok((Said::End(FinishReason::Length), delta));
        }
        Ok((Said::Token(token), delta))
    }

    /// Text that was held back because it could have become a stop text.
    pub(crate) fn rest(&mut self) -> String {
        self.stop.finish()
    }
}
