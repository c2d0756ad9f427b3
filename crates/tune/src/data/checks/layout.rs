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
            let wanted =
                SEPARATORS.into_iter().find(|s| prompts.iter().all(|p| !p.contains(s.trim()))).unwrap_or(SEPARATORS[0]);
            let explanation = "The prompts do not end with a common separator.";
            let sample = prompts.first().map(|p| (excerpt(p), excerpt(&format!("{p}{wanted}"))));
            let action = format!("Add \"{}\" to every prompt", excerpt(wanted));
            if self.missing(
                "missing_separator",
                explanation,
                "where the question ends",
                data,
                dialogue,
                (action, sample),
            ) {
                data.rows.iter_mut().for_each(|row| edit_prompt(row, |prompt| prompt.push_str(wanted)));
            }
            return;
        }
        let shown = excerpt(&found);
        let within: Vec<&Row> = data
            .rows
            .iter()
            .filter(|row| prompt_of(row).strip_suffix(found.as_str()).is_some_and(|rest| rest.contains(found.trim())))
            .collect();
        if !within.is_empty() && !self.chat {
            let explanation = format!(
                "The separator \"{shown}\" also stands within prompts, where it does not end the question; choose another one."
            );
            dialogue
                .note(Finding::new("separator_within", Severity::Warning, explanation).at_rows(within.iter().copied()));
        }
        let explanation = format!("Every prompt ends with the separator \"{shown}\".");
        let sample = prompts.first().map(|p| (excerpt(p), excerpt(p.strip_suffix(found.as_str()).unwrap_or(p))));
        if self.present("legacy_separator", &explanation, data, dialogue, sample) {
            data.rows.iter_mut().for_each(|row| {
                edit_prompt(row, |prompt| {
                    prompt.truncate(prompt.strip_suffix(found.as_str()).map_or(prompt.len(), str::len));
                });
            });
        }
    }

    fn stop(&self, data: &mut Dataset, dialogue: &mut Dialogue<'_>) {
        let completions: Vec<&str> = data.rows.iter().map(Row::answer).collect();
        let found = mark(common_suffix(&completions)).to_owned();
        if found.is_empty() {
            let wanted = STOPS
                .into_iter()
                .find(|s| completions.iter().all(|c| !c.contains(s.trim_matches(' '))))
                .unwrap_or(STOPS[1]);
            let explanation = "The completions do not end with a common stop text.";
            let sample = completions.first().map(|c| (excerpt(c), excerpt(&format!("{c}{wanted}"))));
            let action =
                format!("Add \"{}\" to every completion, and ask with stop=[\"{}\"]", excerpt(wanted), excerpt(wanted));
            if self.missing("missing_stop_suffix", explanation, "when to stop", data, dialogue, (action, sample)) {
                data.rows.iter_mut().for_each(|row| edit_completion(row, |completion| completion.push_str(wanted)));
            }
            return;
        }
        let explanation = format!("Every completion ends with the stop text \"{}\".", excerpt(&found));
        let sample = completions.first().map(|c| (excerpt(c), excerpt(c.strip_suffix(found.as_str()).unwrap_or(c))));
        if self.present("legacy_stop_suffix", &explanation, data, dialogue, sample) {
            data.rows.iter_mut().for_each(|row| {
                edit_completion(row, |text| {
                    text.truncate(text.strip_suffix(found.as_str()).map_or(text.len(), str::len));
                });
            });
        }
    }

    fn space(&self, data: &mut Dataset, dialogue: &mut Dialogue<'_>) {
        // Scripts without spaces between words need none here either.
        let wants_space =
            |row: &&Row| row.answer().chars().next().is_some_and(|c| c.is_alphanumeric() && (c as u32) < 0x2e80);
        let bare: Vec<&Row> = data.rows.iter().filter(wants_space).collect();
        let Some(first) = bare.first() else { return };
        let severity = if self.chat { Severity::Note } else { Severity::Warning };
        let explanation = if self.chat {
            "Completions do not start with a space. In a chat that does not matter."
        } else {
            "Completions do not start with a space. Most tokenizers join the space to the word after it, so that without one \
             the first word is written in rarer pieces."
        };
        let finding = Finding::new("missing_leading_space", severity, explanation).at_rows(bare.iter().copied());
        if self.chat {
            dialogue.note(finding);
            return;
        }
        let sample = Some((excerpt(first.answer()), excerpt(&format!(" {}", first.answer()))));
        let action = format!("Put a space before {}", count(bare.len(), "completion"));
        if dialogue.offer(finding, action, sample) {
            let missing =
                |text: &String| text.chars().next().is_some_and(|c| c.is_alphanumeric() && (c as u32) < 0x2e80);
            data.rows.iter_mut().for_each(|row| {
                edit_completion(row, |text| {
                    if missing(text) {
                        text.insert(0, ' ');
                    }
                });
            });
        }
    }

    /// Tells that a mark is missing; offers to add it unless the examples become chats.
    fn missing(
        &self,
        id: &str,
        explanation: &str,
        learns: &str,
        data: &Dataset,
        dialogue: &mut Dialogue<'_>,
        (action, sample): (String, Option<(String, String)>),
    ) -> bool {
        if self.chat {
            let explanation = format!("{explanation} In a chat the template tells the model {learns}.");
            dialogue.note(Finding::new(id, Severity::Note, explanation).at_rows(&data.rows));
            return false;
        }
        let explanation = format!("{explanation} Without one the model does not learn {learns}.");
        dialogue.offer(Finding::new(id, Severity::Warning, explanation).at_rows(&data.rows), action, sample)
    }

    /// Tells that a mark is there; offers to take it off when the examples become chats.
    fn present(
        &self,
        id: &str,
        explanation: &str,
        data: &Dataset,
        dialogue: &mut Dialogue<'_>,
        sample: Option<(String, String)>,
    ) -> bool {
        if !self.chat {
            let explanation = format!("{explanation} Ask the tuned model in the same way.");
            dialogue.note(Finding::new(id, Severity::Note, explanation));
            return false;
        }
        let explanation = format!("{explanation} In a chat the template does its work, and nobody will type it.");
        dialogue.offer(Finding::new(id, Severity::Warning, explanation).at_rows(&data.rows), "Take it off", sample)
    }
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
