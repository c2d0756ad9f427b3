//! Plain text and scores.

use anser_core::{CancelToken, ChatMessage, ErrorKind, FinishReason, GenerateOptions, Generator, Prompt, Role};
use anser_generate::{GeneratorOptions, LlamaGenerator};

use crate::tiny_model::{IM_END, TinyModel};

fn open(model: &TinyModel) -> LlamaGenerator {
    let folder = tempfile::tempdir().unwrap();
    let options = GeneratorOptions { threads: 1, ..GeneratorOptions::default() };
    LlamaGenerator::open("tiny", &model.write(folder.path()), &options).unwrap()
}

/// A model in which `reply` follows a line break and its end follows that.
fn speaking(reply: &str) -> TinyModel {
    let tokens: Vec<u32> = "\n".bytes().chain(reply.bytes()).map(u32::from).chain([IM_END]).collect();
    TinyModel { script: tokens.windows(2).map(|pair| (pair[0], pair[1])).collect(), ..TinyModel::default() }
}

#[test]
fn plain_text_is_continued_without_a_template_until_the_text_ends() {
    let generator = open(&speaking("abcd"));
    let write = |text: &str| {
        let options = GenerateOptions { max_tokens: Some(20), ..GenerateOptions::default() };
        generator.generate(Prompt::Text(text), &options, &CancelToken::new(), &mut |_| ()).unwrap()
    };
    let generation = write("<|im_start|>x\nab");
    assert_eq!((generation.text.as_str(), generation.finish_reason), ("cd", FinishReason::Stop));
    // Markup in a plain text is text.
    assert_eq!(generation.usage.prompt_tokens, "<|im_start|>x\nab".len());
    assert_eq!(write("").usage.prompt_tokens, 1);
}

#[test]
fn the_reply_that_would_be_written_scores_highest_to_its_end() {
    let generator = open(&speaking("yes!"));
    let messages = [ChatMessage::new(Role::User, "hi")];
    let score = |text: &str| generator.score(Prompt::Chat(&messages), text, &CancelToken::new()).unwrap();
    let said = score("yes!");
    // Four tokens and the end of the turn.
    assert_eq!(said.likeliest, [true; 5]);
    assert_eq!(said.log_probabilities.len(), 5);
    assert!(said.log_probabilities.iter().all(|score| *score <= 0.0 && *score > -0.1), "{said:?}");
    let other = score("yet!");
    assert_eq!(other.likeliest, [true, true, false, false, true]);
    assert!(other.log_probabilities[2] < -5.0);
    assert_eq!(other.log_probabilities[..2], said.log_probabilities[..2]);
}

#[test]
fn a_text_has_no_turn_to_end() {
    let generator = open(&TinyModel::default());
    let score = |prompt: &str, text: &str| generator.score(Prompt::Text(prompt), text, &CancelToken::new());
    assert_eq!(score("a b", " c").unwrap().log_probabilities.len(), 2);
    assert_eq!(score("", "abc").unwrap().log_probabilities.len(), 3);
    assert!(score("abc", "").unwrap().log_probabilities.is_empty());
    // Scores of a long text are those of its parts, whatever chunks it was read in.
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(12);
    let whole = score("x", &text).unwrap().log_probabilities;
    let (first, rest) = text.split_at(300);
    let parts = [score("x", first).unwrap(), score(&format!("x{first}"), rest).unwrap()];
    let parts: Vec<f32> = parts.into_iter().flat_map(|part| part.log_probabilities).collect();
    assert_eq!(whole.len(), text.len());
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
}

#[test]
fn what_does_not_fit_the_context_and_what_is_cancelled_is_not_scored() {
    let generator = open(&TinyModel { context: 50, ..TinyModel::default() });
    let score = |text: &str, cancel: &CancelToken| generator.score(Prompt::Text("abc"), text, cancel);
    assert_eq!(score(&"x".repeat(47), &CancelToken::new()).unwrap().likeliest.len(), 47);
    assert_eq!(score(&"x".repeat(48), &CancelToken::new()).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(score(&"x".repeat(5_000_000), &CancelToken::new()).unwrap_err().kind(), ErrorKind::TooLarge);
    let cancel = CancelToken::new();
    cancel.cancel();
    assert_eq!(score("def", &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
}
