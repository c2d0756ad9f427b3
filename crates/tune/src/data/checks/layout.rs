//! The layout of prompts with completions: a separator after the prompt, a space before the completion, a stop text after
//! it. A model that is tuned without them does not know where the question ends and when to stop.

use super::super::dataset::{Dataset, Row};
use super::super::dialogue::{Dialogue, Finding, Severity, count, excerpt};
use super::super::example::TrainingExample;
use super::filters::lost_its_answer;
use super::prefixes::common_suffix;
use super::{Check, CheckContext};
use crate::TuneError;

/// Separators to add, the first that no prompt holds.
const SEPARATORS: [&str; 4] = ["\n\n###\n\n", " ->", "\n\n===\n\n", "\n\n---\n\n"];

/// Stop texts to add, the first that no completion holds.
const STOPS: [&str; 4] = ["\n", " END", "###", "\n\n---"];

/// Longest common ending that can be a separator or a stop text, in characters; longer ones are a closing formula.
const LONGEST_MARK: usize = 16;

/// Checks separator, space and stop text. Where the examples become chats, the chat template does the work of all three, so
/// they are taken off instead of added.
#[derive(Debug)]
pub(in crate::data) struct LegacyLayout {
    /// Whether the examples will be chats.
    pub(in crate::data) chat: bool,
}

impl Check for LegacyLayout {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let legacy = |row: &Row| matches!(row.example, TrainingExample::PromptCompletion { .. });
        if data.rows.len() < 3 || !data.rows.iter().all(legacy) {
            return Ok(());
        }
        self.separator(data, dialogue);
        self.stop(data, dialogue);
        self.space(data, dialogue);
        if data.rows.iter().any(lost_its_answer) {
            data.retain(|row| !lost_its_answer(row));
        }
        Ok(())
    }
}

impl LegacyLayout {
    fn separator(&self, data: &mut Dataset, dialogue: &mut Dialogue<'_>) {
        let prompts: Vec<&str> = data.rows.iter().map(prompt_of).collect();
        let found = mark(common_suffix(&prompts)).to_owned();
        if found.is_empty() {
            let free = |s: &&str| prompts.iter().all(|prompt| !prompt.contains(s.trim()));
            let wanted = SEPARATORS.into_iter().find(free).unwrap_or(SEPARATORS[0]);
            let fault = LayoutFault {
                id: "missing_separator",
                explanation: "The prompts do not end with a common separator.".to_owned(),
                learns: "where the question ends",
                action: format!("Add \"{}\" to every prompt", excerpt(wanted)),
                sample: prompts.first().map(|p| (excerpt(p), excerpt(&format!("{p}{wanted}")))),
            };
            if self.missing(fault, data, dialogue) {
                data.rows.iter_mut().for_each(|row| edit_prompt(row, |prompt| prompt.push_str(wanted)));
            }
            return;
        }
        let shown = excerpt(&found);
        if !self.chat {
            note_within(data, &found, dialogue);
        }
        let fault = LayoutFault {
            id: "legacy_separator",
            explanation: format!("Every prompt ends with the separator \"{shown}\"."),
            learns: "",
            action: format!("Take the separator \"{shown}\" off"),
            sample: prompts.first().map(|p| (excerpt(p), excerpt(p.strip_suffix(found.as_str()).unwrap_or(p)))),
        };
        if self.present(fault, data, dialogue) {
            data.rows.iter_mut().for_each(|row| edit_prompt(row, |prompt| take_end(prompt, &found)));
        }
    }

    fn stop(&self, data: &mut Dataset, dialogue: &mut Dialogue<'_>) {
        let completions: Vec<&str> = data.rows.iter().map(Row::answer).collect();
        let found = mark(common_suffix(&completions)).to_owned();
        if found.is_empty() {
            let free = |s: &&str| completions.iter().all(|completion| !completion.contains(s.trim_matches(' ')));
            let wanted = STOPS.into_iter().find(free).unwrap_or(STOPS[1]);
            let shown = excerpt(wanted);
            let fault = LayoutFault {
                id: "missing_stop_suffix",
                explanation: "The completions do not end with a common stop text.".to_owned(),
                learns: "when to stop",
                action: format!("Add \"{shown}\" to every completion, and ask with stop=[\"{shown}\"]"),
                sample: completions.first().map(|c| (excerpt(c), excerpt(&format!("{c}{wanted}")))),
            };
            if self.missing(fault, data, dialogue) {
                data.rows.iter_mut().for_each(|row| edit_completion(row, |completion| completion.push_str(wanted)));
            }
            return;
        }
        let shown = excerpt(&found);
        let fault = LayoutFault {
            id: "legacy_stop_suffix",
            explanation: format!("Every completion ends with the stop text \"{shown}\"."),
            learns: "",
            action: format!("Take the stop text \"{shown}\" off"),
            sample: completions.first().map(|c| (excerpt(c), excerpt(c.strip_suffix(found.as_str()).unwrap_or(c)))),
        };
        if self.present(fault, data, dialogue) {
            data.rows.iter_mut().for_each(|row| edit_completion(row, |completion| take_end(completion, &found)));
        }
    }

    fn space(&self, data: &mut Dataset, dialogue: &mut Dialogue<'_>) {
        let bare: Vec<&Row> = data.rows.iter().filter(|row| wants_space(row.answer())).collect();
        let Some(first) = bare.first() else { return };
        let finding = |severity, explanation: &str| {
            Finding::new("missing_leading_space", severity, explanation).at_rows(bare.iter().copied())
        };
        if self.chat {
            let explanation = "Completions do not start with a space. In a chat that does not matter.";
            dialogue.note(finding(Severity::Note, explanation));
            return;
        }
        let explanation = "Completions do not start with a space. Most tokenizers join the space to the word after it, so that \
                           without one the first word is written in rarer pieces.";
        let sample = Some((excerpt(first.answer()), excerpt(&format!(" {}", first.answer()))));
        let action = format!("Put a space before {}", count(bare.len(), "completion"));
        if dialogue.offer(finding(Severity::Warning, explanation), action, sample) {
            for row in &mut data.rows {
                edit_completion(row, |text| {
                    if wants_space(text) {
                        text.insert(0, ' ');
                    }
                });
            }
        }
    }

    /// Tells that a mark is missing; offers to add it unless the examples become chats.
    fn missing(&self, fault: LayoutFault, data: &Dataset, dialogue: &mut Dialogue<'_>) -> bool {
        let LayoutFault { id, explanation, learns, action, sample } = fault;
        if self.chat {
            let explanation = format!("{explanation} In a chat the template tells the model {learns}.");
            dialogue.note(Finding::new(id, Severity::Note, explanation).at_rows(&data.rows));
            return false;
        }
        let explanation = format!("{explanation} Without one the model does not learn {learns}.");
        dialogue.offer(Finding::new(id, Severity::Warning, explanation).at_rows(&data.rows), action, sample)
    }

    /// Tells that a mark is there; offers to take it off when the examples become chats.
    fn present(&self, fault: LayoutFault, data: &Dataset, dialogue: &mut Dialogue<'_>) -> bool {
        let LayoutFault { id, explanation, action, sample, .. } = fault;
        if !self.chat {
            let explanation = format!("{explanation} Ask the tuned model in the same way.");
            dialogue.note(Finding::new(id, Severity::Note, explanation));
            return false;
        }
        let explanation = format!("{explanation} In a chat the template does its work, and nobody will type it.");
        dialogue.offer(Finding::new(id, Severity::Warning, explanation).at_rows(&data.rows), action, sample)
    }
}

/// A mark that is missing or not wanted.
struct LayoutFault {
    id: &'static str,
    explanation: String,
    /// What the model learns from the mark.
    learns: &'static str,
    action: String,
    sample: Option<(String, String)>,
}

fn note_within(data: &Dataset, separator: &str, dialogue: &mut Dialogue<'_>) {
    let within =
        |row: &&Row| prompt_of(row).strip_suffix(separator).is_some_and(|rest| rest.contains(separator.trim()));
    let within: Vec<&Row> = data.rows.iter().filter(within).collect();
    if !within.is_empty() {
        let explanation = format!(
            "The separator \"{}\" also stands within prompts, where it does not end the question; choose another one.",
            excerpt(separator)
        );
        dialogue.note(Finding::new("separator_within", Severity::Warning, explanation).at_rows(within.iter().copied()));
    }
}

/// Whether a text begins with a word of a script that puts spaces between words.
fn wants_space(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphanumeric() && (c as u32) < 0x2e80)
}

fn take_end(text: &mut String, end: &str) {
    text.truncate(text.strip_suffix(end).map_or(text.len(), str::len));
}

fn prompt_of(row: &Row) -> &str {
    match &row.example {
        TrainingExample::PromptCompletion { prompt, .. } => prompt,
        _ => "",
    }
}

fn edit_prompt(row: &mut Row, edit: impl FnOnce(&mut String)) {
    if let TrainingExample::PromptCompletion { prompt, .. } = &mut row.example {
        edit(prompt);
    }
}

fn edit_completion(row: &mut Row, edit: impl FnOnce(&mut String)) {
    if let TrainingExample::PromptCompletion { completion, .. } = &mut row.example {
        edit(completion);
    }
}

/// The part of a common ending that marks something: from its first sign or line break that ends no sentence. Empty when
/// there is none, or when so much is common that it is a closing formula.
fn mark(suffix: &str) -> &str {
    let start = suffix.find(|c: char| c.is_whitespace() || is_sign(c)).unwrap_or(suffix.len());
    let found = &suffix[start..];
    let is_mark = found.contains('\n')
        || found.chars().any(is_sign)
        || (found.chars().filter(|c| c.is_alphabetic()).count() >= 2
            && found.trim() == found.trim().to_uppercase()
            && found.trim() != found.trim().to_lowercase());
    if is_mark && found.chars().count() <= LONGEST_MARK { found } else { "" }
}

/// Signs that separate instead of ending a sentence.
fn is_sign(c: char) -> bool {
    matches!(c, '#' | '=' | '-' | '>' | '<' | '|' | '~' | '*' | ':' | '：' | '→' | '»' | '_' | '^' | '@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_from_ends_of_sentences() {
        for (suffix, wanted) in [
            ("\n\n###\n\n", "\n\n###\n\n"),
            ("? ->", " ->"),
            ("e ->", " ->"),
            (" END", " END"),
            ("\nAnswer:", "\nAnswer:"),
            ("\n", "\n"),
            ("###", "###"),
            ("?", ""),
            (".", ""),
            (" now", ""),
            ("", ""),
            ("\n\nKind regards,\nYour team", ""),
        ] {
            assert_eq!(mark(suffix), wanted, "{suffix:?}");
        }
    }
}
