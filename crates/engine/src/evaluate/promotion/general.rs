//! Thirty questions that any chat model may be asked, to notice when tuning has made one forget what it knew.

use anser_core::{CancelToken, ChatMessage, GenerateOptions, Generator, Progress, ProgressUnit, Prompt, Role};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::evaluate::metrics::normalize_answer;
use crate::evaluate::significance::{PairedTest, mcnemar};

/// The questions, with words of which a right answer holds at least one.
const QUESTIONS: &str = include_str!("general.jsonl");

/// Enough for a sentence or two.
const MAX_TOKENS: usize = 64;

/// Share of right answers that may be lost, in points, when the loss is not significant.
const TOLERATED_LOSS: f64 = 0.10;

/// A question that any chat model may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct GeneralQuestion {
    question: String,
    accept: Vec<String>,
}

/// What both models said to a general question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GeneralAnswer {
    /// The question.
    pub question: String,
    /// Words of which a right answer holds at least one.
    pub accept: Vec<String>,
    /// What the base model said.
    pub base: String,
    /// What the tuned model said.
    pub tuned: String,
    /// Whether the base model was right.
    pub base_right: bool,
    /// Whether the tuned model was right.
    pub tuned_right: bool,
}

/// Base and tuned model on the general set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GeneralComparison {
    /// Share of right answers of the base model.
    pub base: f64,
    /// Share of right answers of the tuned model.
    pub tuned: f64,
    /// McNemar's test.
    pub test: PairedTest,
    /// Whether the tuned model is no worse: no significant loss, and at most 10 points lost.
    pub holds: bool,
    /// Every question.
    pub answers: Vec<GeneralAnswer>,
}

impl GeneralComparison {
    pub(super) fn of(answers: Vec<GeneralAnswer>, seed: u64) -> Self {
        let base: Vec<bool> = answers.iter().map(|answer| answer.base_right).collect();
        let tuned: Vec<bool> = answers.iter().map(|answer| answer.tuned_right).collect();
        let share = |right: &[bool]| right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64;
        let test = mcnemar(&base, &tuned, seed);
        let lost = -test.difference.mean;
        // Rounding must not decide about a loss of exactly 10 points.
        let holds = !(test.significant() && lost > 0.0) && lost <= TOLERATED_LOSS + 1e-9;
        Self { base: share(&base), tuned: share(&tuned), test, holds, answers }
    }
}

/// Asks both models every general question, greedily.
pub(super) fn ask_both(
    base: &dyn Generator,
    tuned: &dyn Generator,
    progress: &dyn Progress,
    cancel: &CancelToken,
) -> Result<Vec<GeneralAnswer>, EngineError> {
    let questions = questions();
    progress.start("asking general questions", Some(questions.len() as u64), ProgressUnit::Items);
    let mut answers = Vec::with_capacity(questions.len());
    for (done, GeneralQuestion { question, accept }) in (1..).zip(questions) {
        let (base, tuned) = (ask(base, &question, cancel)?, ask(tuned, &question, cancel)?);
        answers.push(GeneralAnswer {
            base_right: holds_any(&base, &accept),
            tuned_right: holds_any(&tuned, &accept),
            question,
            accept,
            base,
            tuned,
        });
        progress.set(done);
    }
    progress.finish();
    Ok(answers)
}

fn ask(generator: &dyn Generator, question: &str, cancel: &CancelToken) -> Result<String, EngineError> {
    let messages = [ChatMessage::new(Role::User, question)];
    let options = GenerateOptions { max_tokens: Some(MAX_TOKENS), ..GenerateOptions::default() };
    let generation = generator.generate(Prompt::Chat(&messages), &options, cancel, &mut |_| {})?;
    cancel.check()?;
    Ok(generation.text)
}

fn questions() -> Vec<GeneralQuestion> {
    QUESTIONS.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Whether one of the accepted texts stands in `output`, as whole words.
fn holds_any(output: &str, accept: &[String]) -> bool {
    let output = format!(" {} ", normalize_answer(output));
    accept.iter().any(|accepted| output.contains(&format!(" {} ", normalize_answer(accepted))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(lost: usize, won: usize) -> Vec<GeneralAnswer> {
        let answer = |at: usize| GeneralAnswer {
            question: String::new(),
            accept: Vec::new(),
            base: String::new(),
            tuned: String::new(),
            base_right: at >= won,
            tuned_right: at < won.max(30 - lost),
        };
        (0..30).map(answer).collect()
    }

    #[test]
    fn there_are_thirty_different_questions_each_with_an_answer() {
        let questions = questions();
        assert_eq!((questions.len(), QUESTIONS.lines().count()), (30, 30));
        let different: std::collections::HashSet<&str> = questions.iter().map(|q| q.question.as_str()).collect();
        assert_eq!(different.len(), 30);
        for question in &questions {
            assert!(!question.accept.is_empty());
            assert!(question.accept.iter().all(|accepted| !normalize_answer(accepted).is_empty()));
            let echoed = holds_any(&question.question, &question.accept);
            assert!(!echoed || question.question.contains(" or "), "repeating the question answers it: {question:?}");
        }
    }

    #[test]
    fn answers_are_found_as_whole_words() {
        let accept = ["4".to_owned(), "twenty four".to_owned()];
        assert!(holds_any("2 + 2 equals 4.", &accept) && holds_any("It is Twenty Four!", &accept));
        assert!(!holds_any("It is 40 or 14.", &accept));
    }

    #[test]
    fn a_loss_of_three_is_tolerated_and_of_four_not() {
        assert!(GeneralComparison::of(answers(0, 0), 1).holds);
        assert!(GeneralComparison::of(answers(0, 9), 1).holds);
        assert!(GeneralComparison::of(answers(3, 0), 1).holds);
        assert!(!GeneralComparison::of(answers(4, 0), 1).holds);
        assert!(!GeneralComparison::of(answers(12, 2), 1).holds);
    }
}
