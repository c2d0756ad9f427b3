//! A tuned model against its base on held-out examples, each with and without retrieval: four arms, paired tests, and a
//! verdict that can be read without knowing them.

mod arms;
mod held_out;
mod render;
mod summary;

use anser_core::{CancelToken, Generator, Progress, ProgressUnit};
use regex::Regex;
use serde::Serialize;

pub use arms::{Arm, ArmAnswer};
pub use held_out::{HeldOutExample, HeldOutPrompt};
pub use summary::{ArmSummary, Comparison, Measure, Outcome};

use super::metrics::Labels;
use crate::answer::{abstention_text, grounded_messages};
use crate::{Engine, EngineError};
use arms::{Grounded, Questioner};

/// Longest output when the request does not say: longer than nearly all answers of support desks.
const DEFAULT_MAX_TOKENS: usize = 256;

/// What to compare, and on what.
#[derive(Debug, Clone, PartialEq)]
pub struct TunedEvaluationRequest {
    /// Name of the tuned model.
    pub tuned: String,
    /// Name of the model to compare with; `None` is the one it was tuned from.
    pub base: Option<String>,
    /// Examples that it was not trained on.
    pub examples: Vec<HeldOutExample>,
    /// Retrieve from this collection in two further arms.
    pub collection: Option<String>,
    /// Longest output in tokens.
    pub max_tokens: usize,
    /// Seed of the resampling. Decoding is greedy.
    pub seed: u64,
    /// Regular expression that a reply in the wanted style matches somewhere; its share is compared too.
    pub pattern: Option<String>,
    /// What the verdict is about; `None` is the pattern if there is one, exact match for labels, else token F1.
    pub primary: Option<Measure>,
}

impl TunedEvaluationRequest {
    /// A request with default settings.
    pub fn new(tuned: impl Into<String>, examples: Vec<HeldOutExample>) -> Self {
        Self {
            tuned: tuned.into(),
            base: None,
            examples,
            collection: None,
            max_tokens: DEFAULT_MAX_TOKENS,
            seed: 0,
            pattern: None,
            primary: None,
        }
    }
}

/// One question with the answers of all arms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluatedExample {
    /// Its line in the file, from 1.
    pub line: u64,
    /// The person's last turn.
    pub question: String,
    /// What should have been said.
    pub reference: String,
    /// One for each of [`TunedEvaluation::arms`].
    pub answers: Vec<ArmAnswer>,
}

/// A tuned model measured against its base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TunedEvaluation {
    /// Name of the base model.
    pub base: String,
    /// Name of the tuned model.
    pub tuned: String,
    /// The collection retrieved from.
    pub collection: Option<String>,
    /// Questions asked.
    pub questions: usize,
    /// Longest output in tokens.
    pub max_tokens: usize,
    /// Seed of the resampling.
    pub seed: u64,
    /// The wanted pattern.
    pub pattern: Option<String>,
    /// What the verdict is about.
    pub primary: Measure,
    /// Base and tuned, then, with a collection, both with retrieval.
    pub arms: Vec<ArmSummary>,
    /// Tuned against base on every measure.
    pub comparisons: Vec<Comparison>,
    /// What a manager reads.
    pub verdict: String,
    /// Every question.
    pub examples: Vec<EvaluatedExample>,
}

impl TunedEvaluation {
    /// The comparison that the verdict is about: on the primary measure, without retrieval.
    pub fn primary_comparison(&self) -> Option<&Comparison> {
        self.comparisons.iter().find(|c| c.measure == self.primary && !c.retrieval)
    }
}

impl Engine {
    /// Asks base and tuned model every held-out question, with and without retrieval, and compares them. Decoding is
    /// greedy, so that the same models give the same figures.
    ///
    /// `InvalidInput` for no examples, a bad pattern or a primary measure that cannot be measured; `NotFound` for an
    /// unknown model or collection.
    pub fn evaluate_tuned(
        &self,
        request: &TunedEvaluationRequest,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<TunedEvaluation, EngineError> {
        let questioner = questioner(request, cancel)?;
        let base = self.evaluation_base(request)?;
        if let Some(collection) = &request.collection {
            self.collection(collection)?;
        }
        let labels = Labels::recognize(request.examples.iter().map(|example| example.reference.as_str()));
        let primary = request.primary.unwrap_or(match (&request.pattern, &labels) {
            (Some(_), _) => Measure::Match,
            (None, Some(_)) => Measure::ExactMatch,
            (None, None) => Measure::TokenF1,
        });
        if primary == Measure::Match && request.pattern.is_none() {
            return Err(EngineError::invalid("pattern", "give the pattern whose share is to be compared"));
        }
        let grounded = self.ground(request, progress, cancel)?;
        let arms = arms_of(&grounded);
        let mut examples: Vec<EvaluatedExample> = request.examples.iter().map(unanswered).collect();
        for arm in &arms {
            let name = if arm.tuned { &request.tuned } else { &base };
            let generator = self.models().chat(Some(name))?;
            let shown = arm.retrieval.then_some(grounded.as_slice());
            ask_all(&questioner, (arm.name(), generator.as_ref()), request, shown, &mut examples, progress)?;
        }
        let summary = |(at, arm): (usize, &Arm)| {
            let model = if arm.tuned { &request.tuned } else { &base };
            summary::summarize(*arm, model, (&examples, at), labels.as_ref(), request.seed)
        };
        let summaries = arms.iter().enumerate().map(summary).collect();
        let comparisons = summary::compare(&examples, &arms, request.seed);
        Ok(TunedEvaluation {
            verdict: summary::verdict(&comparisons, primary, examples.len(), request.collection.as_deref()),
            base,
            tuned: request.tuned.clone(),
            collection: request.collection.clone(),
            questions: examples.len(),
            max_tokens: request.max_tokens,
            seed: request.seed,
            pattern: request.pattern.clone(),
            primary,
            arms: summaries,
            comparisons,
            examples,
        })
    }

    /// The model to compare with.
    pub(super) fn evaluation_base(&self, request: &TunedEvaluationRequest) -> Result<String, EngineError> {
        let base = match &request.base {
            Some(base) => base.clone(),
            None => self.tuned_model(&request.tuned)?.base,
        };
        if base == request.tuned {
            return Err(EngineError::invalid("base", format!("{base} cannot be compared with itself")));
        }
        Ok(base)
    }

    /// What the answer path finds for each question; nothing without a collection.
    fn ground(
        &self,
        request: &TunedEvaluationRequest,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<Vec<Grounded>, EngineError> {
        let Some(collection) = &request.collection else { return Ok(Vec::new()) };
        progress.start("retrieving", Some(request.examples.len() as u64), ProgressUnit::Items);
        let mut grounded = Vec::with_capacity(request.examples.len());
        for (done, example) in (1..).zip(&request.examples) {
            let question = example.question();
            let context = self.training_context(collection, question, cancel)?;
            let messages = grounded_messages(question, &context.shown);
            grounded.push(if context.declined || context.shown.is_empty() {
                Grounded::Decline(messages, abstention_text(question))
            } else {
                Grounded::Ask(messages)
            });
            progress.set(done);
        }
        progress.finish();
        Ok(grounded)
    }
}

fn questioner<'a>(request: &TunedEvaluationRequest, cancel: &'a CancelToken) -> Result<Questioner<'a>, EngineError> {
    if request.examples.is_empty() {
        return Err(EngineError::invalid("examples", "there are no held-out examples to ask"));
    }
    if request.max_tokens == 0 {
        return Err(EngineError::invalid("max_tokens", "max_tokens is 0, but an answer needs at least one token"));
    }
    let compile = |pattern: &String| {
        Regex::new(pattern)
            .map_err(|e| EngineError::invalid("pattern", format!("\"{pattern}\" is not a regular expression: {e}")))
    };
    let pattern = request.pattern.as_ref().map(compile).transpose()?;
    Ok(Questioner { options: Questioner::decoding(request.max_tokens, request.seed), pattern, cancel })
}

fn arms_of(grounded: &[Grounded]) -> Vec<Arm> {
    let retrieval: &[bool] = if grounded.is_empty() { &[false] } else { &[false, true] };
    let both = |&retrieval: &bool| [Arm { tuned: false, retrieval }, Arm { tuned: true, retrieval }];
    retrieval.iter().flat_map(both).collect()
}

fn unanswered(example: &HeldOutExample) -> EvaluatedExample {
    EvaluatedExample {
        line: example.line,
        question: example.question().to_owned(),
        reference: example.reference.clone(),
        answers: Vec::new(),
    }
}

/// Adds one arm's answer to every example.
fn ask_all(
    questioner: &Questioner<'_>,
    (name, generator): (&str, &dyn Generator),
    request: &TunedEvaluationRequest,
    grounded: Option<&[Grounded]>,
    examples: &mut [EvaluatedExample],
    progress: &dyn Progress,
) -> Result<(), EngineError> {
    progress.start(&format!("asking: {name}"), Some(examples.len() as u64), ProgressUnit::Items);
    for (at, (example, asked)) in examples.iter_mut().zip(&request.examples).enumerate() {
        questioner.cancel.check()?;
        let shown = grounded.and_then(|grounded| grounded.get(at));
        example.answers.push(questioner.ask(generator, asked, shown)?);
        progress.set(at as u64 + 1);
    }
    progress.finish();
    Ok(())
}
