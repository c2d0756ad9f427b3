//! The examples under preparation and the views of them that checks need.

use anser_core::{ChatMessage, Role};

use super::example::TrainingExample;

/// One example and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Unique among all rows, and stable while others are left out.
    pub(super) id: usize,
    /// Line or row of its file, from 1.
    pub(super) line: u64,
    /// Whether it came from the validation file.
    pub(super) validation: bool,
    pub(super) example: TrainingExample,
}

/// All examples.
#[derive(Debug, Default)]
pub(super) struct Dataset {
    pub(super) rows: Vec<Row>,
}

impl Dataset {
    pub(super) fn training(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.validation)
    }

    /// Keeps the rows whose id `keep` accepts.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Row) -> bool) {
        self.rows.retain(|row| keep(row));
    }
}

impl Row {
    /// Everything said before the last answer, without system messages: what makes two examples ask the same.
    pub(super) fn question(&self) -> String {
        match &self.example {
            TrainingExample::PromptCompletion { prompt, .. } => prompt.clone(),
            TrainingExample::Chat { turns } => {
                let before = turns.iter().rposition(|(turn, _)| turn.role == Role::Assistant).unwrap_or(turns.len());
                said(turns.iter().take(before).map(|(turn, _)| turn))
            }
            TrainingExample::Preference { prompt, .. } => said(prompt.iter()),
        }
    }

    /// The last answer; of a preference, the better one.
    pub(super) fn answer(&self) -> &str {
        match &self.example {
            TrainingExample::PromptCompletion { completion, .. } => completion,
            TrainingExample::Chat { turns } => {
                turns.iter().rev().find(|(turn, _)| turn.role == Role::Assistant).map_or("", |(turn, _)| &turn.content)
            }
            TrainingExample::Preference { preferred, .. } => preferred.first().map_or("", |message| &message.content),
        }
    }

    /// The content of its system messages.
    pub(super) fn system(&self) -> Option<String> {
        let messages: Vec<&ChatMessage> = match &self.example {
            TrainingExample::PromptCompletion { .. } => return None,
            TrainingExample::Chat { turns } => turns.iter().map(|(turn, _)| turn).collect(),
            TrainingExample::Preference { prompt, .. } => prompt.iter().collect(),
        };
        let system: Vec<&str> =
            messages.iter().filter(|m| m.role == Role::System).map(|m| m.content.as_str()).collect();
        (!system.is_empty()).then(|| system.join("\n\n"))
    }

    /// Whether it is one question and one answer, with or without a system message.
    pub(super) fn is_single_turn(&self) -> bool {
        match &self.example {
            TrainingExample::PromptCompletion { .. } => true,
            TrainingExample::Chat { turns } => {
                let roles: Vec<Role> = turns.iter().map(|(turn, _)| turn.role).filter(|r| *r != Role::System).collect();
                roles == [Role::User, Role::Assistant]
            }
            TrainingExample::Preference { .. } => false,
        }
    }

    /// Every text of it.
    pub(super) fn texts(&self) -> Vec<&str> {
        match &self.example {
            TrainingExample::PromptCompletion { prompt, completion } => vec![prompt, completion],
            TrainingExample::Chat { turns } => turns.iter().map(|(turn, _)| turn.content.as_str()).collect(),
            TrainingExample::Preference { prompt, preferred, other } => {
                prompt.iter().chain(preferred).chain(other).map(|message| message.content.as_str()).collect()
            }
        }
    }

    /// The same, to be changed in place.
    pub(super) fn texts_mut(&mut self) -> Vec<&mut String> {
        match &mut self.example {
            TrainingExample::PromptCompletion { prompt, completion } => vec![prompt, completion],
            TrainingExample::Chat { turns } => turns.iter_mut().map(|(turn, _)| &mut turn.content).collect(),
            TrainingExample::Preference { prompt, preferred, other } => {
                prompt.iter_mut().chain(preferred).chain(other).map(|message| &mut message.content).collect()
            }
        }
    }

    /// The answers that are trained on; of a preference, both.
    pub(super) fn answers_mut(&mut self) -> Vec<&mut String> {
        match &mut self.example {
            TrainingExample::PromptCompletion { completion, .. } => vec![completion],
            TrainingExample::Chat { turns } => turns
                .iter_mut()
                .filter(|(turn, _)| turn.role == Role::Assistant)
                .map(|(turn, _)| &mut turn.content)
                .collect(),
            TrainingExample::Preference { preferred, other, .. } => {
                preferred.iter_mut().chain(other).map(|message| &mut message.content).collect()
            }
        }
    }
}

fn said<'a>(messages: impl Iterator<Item = &'a ChatMessage>) -> String {
    let texts: Vec<&str> = messages.filter(|m| m.role != Role::System).map(|m| m.content.as_str()).collect();
    texts.join("\n\n")
}

/// A text as it is compared: lower case, words and numbers only, single spaces.
pub(super) fn normalised(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out.truncate(out.trim_end().len());
    // A text of signs only is compared as it stands.
    if out.is_empty() { text.trim().to_owned() } else { out }
}

/// Share of words that two texts have in common, as the F1 of their word bags, in [0, 1].
pub(super) fn word_overlap(a: &str, b: &str) -> f64 {
    let (a, b) = (normalised(a), normalised(b));
    let mut left = words(&a);
    let mut right = words(&b);
    left.sort_unstable();
    right.sort_unstable();
    let (mut i, mut j, mut common) = (0, 0, 0usize);
    while let (Some(x), Some(y)) = (left.get(i), right.get(j)) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, common) = (i + 1, j + 1, common + 1),
        }
    }
    let total = left.len() + right.len();
    if total == 0 { 1.0 } else { 2.0 * common as f64 / total as f64 }
}

/// Words of a normalised text; in scripts without spaces, each character is one.
pub(super) fn words(normalised: &str) -> Vec<&str> {
    use unicode_segmentation::UnicodeSegmentation;
    normalised.unicode_words().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(example: TrainingExample) -> Row {
        Row { id: 0, line: 1, validation: false, example }
    }

    #[test]
    fn the_question_is_all_that_was_said_before_the_last_answer() {
        let turns = [
            (Role::System, "Be brief."),
            (Role::User, "Hi"),
            (Role::Assistant, "Yes?"),
            (Role::User, "When?"),
            (Role::Assistant, "Now."),
        ];
        let turns = turns.map(|(role, text)| (ChatMessage::new(role, text), role == Role::Assistant)).to_vec();
        let row = row(TrainingExample::Chat { turns });
        assert_eq!((row.question().as_str(), row.answer()), ("Hi\n\nYes?\n\nWhen?", "Now."));
        assert_eq!(row.system().as_deref(), Some("Be brief."));
        assert!(!row.is_single_turn());
    }

    #[test]
    fn texts_are_compared_by_their_words() {
        assert_eq!(normalised("  When do you OPEN?! "), "when do you open");
        assert_eq!(normalised("???"), "???");
        assert!((word_overlap("we open at nine", "We open at ten.") - 0.75).abs() < 1e-9);
        assert!(word_overlap("八点开门", "八点关门") > 0.5);
    }
}
