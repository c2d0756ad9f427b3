//! One model asked every question, with or without retrieval.

use std::time::Instant;

use anser_core::{CancelToken, ChatMessage, ErrorKind, FinishReason, GenerateOptions, Generator, Prompt};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::HeldOutExample;
use crate::EngineError;
use crate::evaluate::metrics::{Likelihood, TextScores};

/// Which model, and whether it was shown passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// The tuned model, not the base.
    pub tuned: bool,
    /// With passages of the collection, laid out as the answer path does.
    pub retrieval: bool,
}

impl Arm {
    /// In words for people: "base", "tuned with retrieval".
    pub fn name(self) -> &'static str {
        match (self.tuned, self.retrieval) {
            (false, false) => "base",
            (true, false) => "tuned",
            (false, true) => "base with retrieval",
            (true, true) => "tuned with retrieval",
        }
    }
}

/// What one arm said to one question, and what it is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmAnswer {
    /// The text.
    pub output: String,
    /// Whether it was cut off at the longest output.
    pub cut_off: bool,
    /// Compared with the reference.
    pub scores: TextScores,
    /// How likely the model finds the reference; `None` when both together are longer than its context.
    pub likelihood: Option<Likelihood>,
    /// Whether the wanted pattern occurs in it, white space around it taken off; `None` without a pattern.
    pub matches: Option<bool>,
    /// Seconds it took to write.
    pub seconds: f64,
}

/// What the answer path makes of a question before a model is asked.
pub(super) enum Grounded {
    /// It asks the model this.
    Ask(Vec<ChatMessage>),
    /// It says this without asking, since nothing found is near enough; the model's likelihoods follow the conversation.
    Decline(Vec<ChatMessage>, &'static str),
}

/// What all arms have in common.
pub(super) struct Questioner<'a> {
    pub(super) options: GenerateOptions,
    pub(super) pattern: Option<Regex>,
    pub(super) cancel: &'a CancelToken,
}

impl Questioner<'_> {
    /// Greedy, so that the same models give the same figures.
    pub(super) fn decoding(max_tokens: usize, seed: u64) -> GenerateOptions {
        GenerateOptions {
            max_tokens: Some(max_tokens),
            temperature: 0.0,
            seed: Some(seed),
            ..GenerateOptions::default()
        }
    }

    pub(super) fn ask(
        &self,
        generator: &dyn Generator,
        example: &HeldOutExample,
        grounded: Option<&Grounded>,
    ) -> Result<ArmAnswer, EngineError> {
        let (prompt, declined) = match grounded {
            None => (example.prompt(), None),
            Some(Grounded::Ask(messages)) => (Prompt::Chat(messages), None),
            Some(Grounded::Decline(messages, text)) => (Prompt::Chat(messages), Some(*text)),
        };
        let started = Instant::now();
        let (output, cut_off) = match declined {
            Some(text) => (text.to_owned(), false),
            None => self.generate(generator, prompt, example.line)?,
        };
        let seconds = started.elapsed().as_secs_f64();
        let likelihood = match generator.score(prompt, &example.reference, self.cancel) {
            Ok(scores) => Some(Likelihood::of(&scores)),
            Err(error) if error.kind() == ErrorKind::TooLarge => None,
            Err(error) => return Err(error.into()),
        };
        Ok(ArmAnswer {
            scores: TextScores::of(output.trim(), example.reference.trim()),
            likelihood,
            matches: self.pattern.as_ref().map(|pattern| pattern.is_match(output.trim())),
            output,
            cut_off,
            seconds,
        })
    }

    fn generate(
        &self,
        generator: &dyn Generator,
        prompt: Prompt<'_>,
        line: u64,
    ) -> Result<(String, bool), EngineError> {
        let generation = generator.generate(prompt, &self.options, self.cancel, &mut |_| {}).map_err(|error| {
            let message = format!("the example on line {line} cannot be asked: {error}; take it out of the file");
            anser_core::Error::new(error.kind(), message).with_source(error)
        })?;
        self.cancel.check()?;
        Ok((generation.text, generation.finish_reason == FinishReason::Length))
    }
}
