//! Grounded examples: a question with the passages that retrieval finds for it, so that the tuned model learns to read
//! them and to decline when they do not hold the answer.

use std::collections::BTreeSet;

use anser_core::{ChatMessage, ContextPassage, DocumentId, Role};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::checks::is_refusal;
use super::dataset::{normalised, words};
use super::dialogue::{Finding, Severity, count};
use super::example::TrainingExample;
use super::prepared::PreparedDataset;
use super::tokens::TokenCounter;
use crate::TuneError;

/// Share of an answer's words that a passage must hold to support it.
const SUPPORT: f64 = 0.5;

/// What retrieval found for a question.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroundedContext {
    /// Candidates, best first. Their numbers do not matter.
    pub passages: Vec<ContextPassage>,
    /// Documents that are known to hold the answer; empty decides by the words that a passage shares with the answer.
    pub supporting: Vec<DocumentId>,
    /// What the answer path says when it declines this question, in the question's language; `None` is
    /// [`GroundOptions::refusal`].
    pub refusal: Option<String>,
}

/// How examples are grounded.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundOptions {
    /// Passages beside the supporting one.
    pub distractors: usize,
    /// Share of the examples whose supporting passage is left out and whose answer is `refusal`, in [0, 1).
    pub missing_share: f64,
    /// What the model answers then.
    pub refusal: String,
    /// Draws places and the examples without support.
    pub seed: u64,
}

impl Default for GroundOptions {
    fn default() -> Self {
        Self {
            distractors: 3,
            missing_share: 0.2,
            refusal: "I cannot answer that from the given passages.".to_owned(),
            seed: 42,
        }
    }
}

/// Grounded examples and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Grounded {
    /// The examples, in the order of those given.
    pub examples: Vec<TrainingExample>,
    /// Those that show the supporting passage.
    pub supported: usize,
    /// Those that lack it and decline.
    pub missing: usize,
    /// Places in the list given of examples that were left out, because no passage supports their answer.
    pub unsupported: Vec<usize>,
}

/// Finds candidates for a question.
pub type FindContext<'a> = dyn FnMut(&str) -> anser_core::Result<GroundedContext> + 'a;

/// Lays a question and its numbered passages out as messages, as the answer path does.
pub type LayOut<'a> = dyn Fn(&str, &[ContextPassage]) -> Vec<ChatMessage> + 'a;

/// Turns examples into grounded ones: the messages before the answer become those that `lay_out` makes of the last
/// question and its passages. Of a longer conversation the earlier turns are left out, as the answer path has none.
///
/// # Errors
///
/// `InvalidInput` when an option is out of range; what `context` fails with.
pub fn ground(
    examples: &[TrainingExample],
    context: &mut FindContext<'_>,
    lay_out: &LayOut<'_>,
    options: &GroundOptions,
) -> Result<Grounded, TuneError> {
    if !(0.0..1.0).contains(&options.missing_share) {
        return Err(TuneError::hyperparameter("missing_share", "must be at least 0 and below 1"));
    }
    if options.refusal.trim().is_empty() {
        return Err(TuneError::hyperparameter("refusal", "must be a sentence that declines"));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut found = Vec::with_capacity(examples.len());
    for example in examples {
        let (question, answer) = (last_question(example), answer_of(example));
        let candidates = context(&question)?;
        let supporting = supporting(&candidates, answer);
        let refusal = candidates.refusal.unwrap_or_else(|| options.refusal.clone());
        found.push(Candidate { example, question, passages: candidates.passages, supporting, refusal });
    }
    let missing = draw_missing(&found, options, &mut rng);
    let mut grounded = Grounded { examples: Vec::new(), supported: 0, missing: 0, unsupported: Vec::new() };
    for (at, candidate) in found.into_iter().enumerate() {
        let Candidate { example, question, passages, supporting, refusal } = candidate;
        let others = others(&passages, &supporting);
        let declines = is_refusal(answer_of(example));
        if missing.contains(&at) || (declines && supporting.is_empty()) {
            let shown = numbered(others.into_iter().take(options.distractors + 1).cloned().collect());
            let answer = if declines { answer_of(example) } else { &refusal };
            grounded.examples.push(with_answer(lay_out(&question, &shown), answer));
            grounded.missing += 1;
            continue;
        }
        let Some(best) = supporting.first().and_then(|best| passages.get(*best)) else {
            grounded.unsupported.push(at);
            continue;
        };
        let mut shown: Vec<ContextPassage> = others.into_iter().take(options.distractors).cloned().collect();
        let place = rng.random_range(0..=shown.len());
        shown.insert(place, best.clone());
        grounded.examples.push(with_prompt(example, lay_out(&question, &numbered(shown))));
        grounded.supported += 1;
    }
    Ok(grounded)
}

/// An example with what was found for it.
struct Candidate<'a> {
    example: &'a TrainingExample,
    question: String,
    /// In the order of their rank.
    passages: Vec<ContextPassage>,
    /// Places of those that support the answer, the best first.
    supporting: Vec<usize>,
    refusal: String,
}

/// Which examples lose their supporting passage: a drawn share of those that have one, and others to show instead.
fn draw_missing(found: &[Candidate<'_>], options: &GroundOptions, rng: &mut ChaCha8Rng) -> BTreeSet<usize> {
    let supported = found.iter().filter(|candidate| !candidate.supporting.is_empty()).count();
    let can_miss = |candidate: &Candidate<'_>| {
        let plain = !matches!(candidate.example, TrainingExample::Preference { .. });
        let supported = !candidate.supporting.is_empty();
        plain && supported && !others(&candidate.passages, &candidate.supporting).is_empty()
    };
    let mut places: Vec<usize> = (0..found.len()).filter(|at| can_miss(&found[*at])).collect();
    places.shuffle(rng);
    places.into_iter().take((supported as f64 * options.missing_share).round() as usize).collect()
}

/// Places of the candidates that support the answer, the best first.
fn supporting(context: &GroundedContext, answer: &str) -> Vec<usize> {
    let passages = context.passages.iter().enumerate();
    if !context.supporting.is_empty() {
        return passages.filter(|(_, p)| context.supporting.contains(&p.document_id)).map(|(at, _)| at).collect();
    }
    let mut scored: Vec<(usize, f64)> = passages
        .map(|(at, passage)| (at, held_share(answer, passage)))
        .filter(|(_, share)| *share >= SUPPORT)
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scored.into_iter().map(|(at, _)| at).collect()
}

/// Share of the answer's distinct words that stand in the passage or its title. Words of one or two letters say little and
/// do not count, unless the answer has no others.
fn held_share(answer: &str, passage: &ContextPassage) -> f64 {
    let answer = normalised(answer);
    let all: BTreeSet<&str> = words(&answer).into_iter().collect();
    let telling =
        |word: &&str| word.chars().count() > 2 || word.chars().any(|c| c.is_numeric() || (c as u32) >= 0x2e80);
    let mut wanted: BTreeSet<&str> = all.iter().copied().filter(telling).collect();
    if wanted.is_empty() {
        wanted = all;
    }
    let text = normalised(&format!("{} {}", passage.title.as_deref().unwrap_or_default(), passage.text));
    let held: BTreeSet<&str> = words(&text).into_iter().collect();
    if wanted.is_empty() { 0.0 } else { wanted.intersection(&held).count() as f64 / wanted.len() as f64 }
}

/// The candidates that support nothing, in their order.
fn others<'a>(passages: &'a [ContextPassage], supporting: &[usize]) -> Vec<&'a ContextPassage> {
    passages.iter().enumerate().filter(|(at, _)| !supporting.contains(at)).map(|(_, passage)| passage).collect()
}

/// Numbers passages from 1, as the answer path does.
fn numbered(mut passages: Vec<ContextPassage>) -> Vec<ContextPassage> {
    for (at, passage) in passages.iter_mut().enumerate() {
        passage.number = at + 1;
    }
    passages
}

fn last_question(example: &TrainingExample) -> String {
    let last_user = |messages: &mut dyn DoubleEndedIterator<Item = &ChatMessage>| {
        messages.rev().find(|message| message.role == Role::User).map_or_else(String::new, |m| m.content.clone())
    };
    match example {
        TrainingExample::Chat { turns } => last_user(&mut turns.iter().map(|(turn, _)| turn)),
        TrainingExample::Preference { prompt, .. } => last_user(&mut prompt.iter()),
        TrainingExample::PromptCompletion { prompt, .. } => prompt.trim().to_owned(),
    }
}

fn answer_of(example: &TrainingExample) -> &str {
    match example {
        TrainingExample::Chat { turns } => turns.last().map_or("", |(turn, _)| &turn.content),
        TrainingExample::Preference { preferred, .. } => preferred.last().map_or("", |message| &message.content),
        TrainingExample::PromptCompletion { completion, .. } => completion.trim(),
    }
}

fn with_answer(messages: Vec<ChatMessage>, answer: &str) -> TrainingExample {
    let before = messages.into_iter().map(|message| (message, false));
    let answer = (ChatMessage::new(Role::Assistant, answer), true);
    TrainingExample::Chat { turns: before.chain([answer]).collect() }
}

fn with_prompt(example: &TrainingExample, messages: Vec<ChatMessage>) -> TrainingExample {
    match example {
        TrainingExample::Preference { preferred, other, .. } => {
            TrainingExample::Preference { prompt: messages, preferred: preferred.clone(), other: other.clone() }
        }
        _ => with_answer(messages, answer_of(example)),
    }
}

impl PreparedDataset {
    /// The same data with all examples grounded, training and validation each on its own, and the report brought up to
    /// date.
    ///
    /// # Errors
    ///
    /// As [`ground`]; `InvalidInput` when fewer than ten training examples are left.
    pub fn grounded(
        mut self,
        context: &mut FindContext<'_>,
        lay_out: &LayOut<'_>,
        options: &GroundOptions,
        tokens: Option<&dyn TokenCounter>,
    ) -> Result<Self, TuneError> {
        let training = ground(&self.training, context, lay_out, options)?;
        let validation = ground(&self.validation, context, lay_out, options)?;
        let unsupported = training.unsupported.len() + validation.unsupported.len();
        if training.examples.len() < super::MINIMUM_EXAMPLES {
            let message = format!(
                "only {} of {} training examples find a passage that supports their answer, but at least {} are needed; \
                 ingest the documents that hold the answers, or prepare without context",
                training.examples.len(),
                self.training.len(),
                super::MINIMUM_EXAMPLES
            );
            return Err(anser_core::Error::invalid(message).with_param("context").into());
        }
        let explanation = format!(
            "{} with retrieved passages: {} show one that holds the answer, and {} show none and decline.",
            count(training.examples.len() + validation.examples.len(), "example"),
            training.supported + validation.supported,
            training.missing + validation.missing
        );
        self.report.findings.push(Finding::new("grounded", Severity::Note, explanation));
        if unsupported > 0 {
            let explanation = format!(
                "{} left out, because no retrieved passage holds the answer; the collection may lack the documents.",
                if unsupported == 1 { "1 example was".to_owned() } else { format!("{unsupported} examples were") }
            );
            let mut finding = Finding::new("unsupported_answers", Severity::Warning, explanation);
            finding.count = unsupported;
            self.report.findings.push(finding);
        }
        (self.training, self.validation) = (training.examples, validation.examples);
        self.measure(tokens)?;
        Ok(self)
    }
}
