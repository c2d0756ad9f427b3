//! Text that every question or every answer begins with.

use super::super::dataset::{Dataset, Row};
use super::super::dialogue::{Dialogue, Finding, Severity, excerpt};
use super::super::example::TrainingExample;
use super::{Check, CheckContext};
use crate::TuneError;
use anser_core::{ChatMessage, Role};

/// Fewest characters that are worth a word.
const LEAST_PROMPT: usize = 12;
const LEAST_ANSWER: usize = 5;

/// Finds what all questions begin with (an instruction, which belongs into a system message) and what all answers begin
/// with (a label, which the model would have to write every time).
#[derive(Debug)]
pub(in crate::data) struct CommonPrefixes {
    /// Whether the examples will be chats.
    pub(in crate::data) chat: bool,
}

impl Check for CommonPrefixes {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        self.prompts(data, dialogue);
        answers(data, dialogue);
        Ok(())
    }
}

impl CommonPrefixes {
    fn prompts(&self, data: &mut Dataset, dialogue: &mut Dialogue<'_>) {
        if data.rows.len() < 3 || !data.rows.iter().all(Row::is_single_turn) {
            return;
        }
        let questions: Vec<String> = data.rows.iter().map(Row::question).collect();
        let texts: Vec<&str> = questions.iter().map(String::as_str).collect();
        let prefix = whole_phrases(common_prefix(&texts)).to_owned();
        // A prefix that is the whole of a question is a repeated question, not an instruction.
        if prefix.chars().count() < LEAST_PROMPT || texts.iter().any(|text| text.len() <= prefix.len()) {
            return;
        }
        let explanation = format!(
            "Every question begins with \"{}\". The model reads it every time, and so must everybody who asks later.",
            excerpt(&prefix)
        );
        let finding = Finding::new("common_prompt_prefix", Severity::Warning, explanation).at_rows(&data.rows);
        let after = texts.first().and_then(|text| text.get(prefix.len()..)).unwrap_or_default().trim_start();
        let sample = texts.first().map(|text| (excerpt(text), excerpt(after)));
        let action = if self.chat {
            "Move the common beginning of the questions into a system message"
        } else {
            "Take the common beginning of the questions off"
        };
        if dialogue.offer(finding, action, sample) {
            for row in &mut data.rows {
                take_prefix(row, &prefix);
            }
        }
    }
}

fn take_prefix(row: &mut Row, prefix: &str) {
    let cut = |text: &mut String| {
        if let Some(rest) = text.strip_prefix(prefix) {
            *text = rest.trim_start().to_owned();
        }
    };
    match &mut row.example {
        TrainingExample::PromptCompletion { prompt, .. } => cut(prompt),
        TrainingExample::Chat { turns } => {
            if let Some((turn, _)) = turns.iter_mut().find(|(turn, _)| turn.role == Role::User) {
                cut(&mut turn.content);
            }
            let instruction = prefix.trim();
            match turns.iter_mut().find(|(turn, _)| turn.role == Role::System) {
                Some((system, _)) => system.content = format!("{}\n\n{instruction}", system.content.trim_end()),
                None => turns.insert(0, (ChatMessage::new(Role::System, instruction), false)),
            }
        }
        TrainingExample::Preference { .. } => {}
    }
}

fn answers(data: &mut Dataset, dialogue: &mut Dialogue<'_>) {
    let answers: Vec<&str> = data.rows.iter().map(|row| row.answer().trim_start()).collect();
    if answers.len() < 3 {
        return;
    }
    let prefix = whole_phrases(common_prefix(&answers)).to_owned();
    if prefix.chars().count() < LEAST_ANSWER || answers.iter().any(|text| text.len() <= prefix.len()) {
        return;
    }
    let shown = excerpt(&prefix);
    // In chats such a beginning is as likely a house style that training is to teach, so it is only told of.
    let legacy = data.rows.iter().all(|row| matches!(row.example, TrainingExample::PromptCompletion { .. }));
    if !legacy || !prefix.ends_with([':', '：']) {
        let explanation = format!(
            "Every answer begins with \"{shown}\". That is right for a house style; otherwise it costs time in every reply."
        );
        dialogue.note(Finding::new("common_completion_prefix", Severity::Note, explanation).at_rows(&data.rows));
        return;
    }
    let explanation =
        format!("Every answer begins with the label \"{shown}\", which tells nothing and costs time in every reply.");
    let finding = Finding::new("common_completion_prefix", Severity::Warning, explanation).at_rows(&data.rows);
    let after = answers.first().and_then(|text| text.get(prefix.len()..)).unwrap_or_default().trim_start();
    let sample = answers.first().map(|text| (excerpt(text), excerpt(after)));
    if dialogue.offer(finding, format!("Take the label \"{shown}\" off"), sample) {
        for row in &mut data.rows {
            for answer in row.answers_mut() {
                let space = if answer.starts_with(char::is_whitespace) { " " } else { "" };
                if let Some(rest) = answer.trim_start().strip_prefix(&prefix) {
                    *answer = format!("{space}{}", rest.trim_start());
                }
            }
        }
    }
}

/// The longest text that all of `texts` begin with.
pub(in crate::data) fn common_prefix<'a>(texts: &[&'a str]) -> &'a str {
    let Some((first, rest)) = texts.split_first() else { return "" };
    let mut length = first.len();
    for text in rest {
        let same = first.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        length = length.min(same);
    }
    while !first.is_char_boundary(length) {
        length -= 1;
    }
    if rest.is_empty() { "" } else { &first[..length] }
}

/// The longest text that all of `texts` end with.
pub(in crate::data) fn common_suffix<'a>(texts: &[&'a str]) -> &'a str {
    let Some((first, rest)) = texts.split_first() else { return "" };
    let mut length = first.len();
    for text in rest {
        let same = first.bytes().rev().zip(text.bytes().rev()).take_while(|(a, b)| a == b).count();
        length = length.min(same);
    }
    while !first.is_char_boundary(first.len() - length) {
        length -= 1;
    }
    if rest.is_empty() { "" } else { &first[first.len() - length..] }
}

/// A prefix up to the end of its last whole sentence, label or line; questions that merely share their first words share
/// no instruction.
fn whole_phrases(prefix: &str) -> &str {
    let mut end = 0;
    let mut chars = prefix.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let ends = match c {
            '\n' | '。' | '！' | '？' | '：' => true,
            '.' | '!' | '?' | ':' => next.is_some_and(char::is_whitespace),
            _ => false,
        };
        if ends {
            end = at + c.len_utf8();
        }
    }
    prefix[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_texts_share_ends_between_characters() {
        assert_eq!(common_prefix(&["Answer: yes", "Answer: no"]), "Answer: ");
        assert_eq!(common_prefix(&["é1", "è1"]), "");
        assert_eq!(common_suffix(&["when ->", "what ->"]), " ->");
        assert_eq!(common_suffix(&["1é", "1è"]), "");
        assert_eq!((common_prefix(&["one"]), common_prefix(&[])), ("", ""));
    }

    #[test]
    fn an_instruction_ends_with_its_sentence() {
        assert_eq!(whole_phrases("You are kind. Answer: Wh"), "You are kind. Answer:");
        assert_eq!(whole_phrases("Where is the warehouse number "), "");
        assert_eq!(whole_phrases("请回答：哪"), "请回答：");
        assert_eq!(whole_phrases("It costs 3.5"), "");
    }
}
