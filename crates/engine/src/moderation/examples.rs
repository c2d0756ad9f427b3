//! Labelled texts to learn and to measure moderation with, one JSON object a line.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anser_core::storage::sha256_hex;
use serde::{Deserialize, Serialize};

use super::category::position;
use crate::EngineError;

/// The examples that come with the program.
const TRAINING: &str = include_str!("../../../../examples/data/moderation/train.jsonl");
const HELD_OUT: &str = include_str!("../../../../examples/data/moderation/held_out.jsonl");

/// A text and the kinds of harm in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModerationExample {
    /// The text.
    pub text: String,
    /// Names of [`super::MODERATION_CATEGORIES`]; none for a harmless text.
    pub categories: Vec<String>,
}

impl ModerationExample {
    /// Whether it is harmful in any way.
    pub fn harmful(&self) -> bool {
        !self.categories.is_empty()
    }

    /// Whether it belongs to the category of this name.
    pub fn is(&self, category: &str) -> bool {
        self.categories.iter().any(|name| name == category)
    }

    /// Reads a JSONL file; blank lines are skipped.
    ///
    /// `BadFile` names the line that is no example, holds an unknown category, or repeats a text.
    pub fn read_jsonl(path: &Path) -> Result<Vec<Self>, EngineError> {
        let bytes = fs::read(path).map_err(|e| EngineError::io("read", path, e))?;
        let bad = |message: String| EngineError::BadFile { path: path.to_path_buf(), message };
        let text =
            std::str::from_utf8(&bytes).map_err(|_| bad("the text is not UTF-8; save the file as UTF-8".into()))?;
        Self::parse(text).map_err(bad)
    }

    /// The shipped examples that the default model is made of.
    pub fn shipped_training() -> Vec<Self> {
        Self::parse(TRAINING).unwrap_or_default()
    }

    /// The shipped examples that no model is made of, to measure with.
    pub fn shipped_held_out() -> Vec<Self> {
        Self::parse(HELD_OUT).unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Vec<Self>, String> {
        let mut examples: Vec<Self> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        for (number, line) in (1..).zip(text.trim_start_matches('\u{FEFF}').lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let example: Self = serde_json::from_str(line)
                .map_err(|e| format!("line {number}: {e}; each line holds one object with text and categories"))?;
            if example.text.trim().is_empty() {
                return Err(format!("line {number}: the text is empty"));
            }
            if let Some(unknown) = example.categories.iter().find(|name| position(name).is_none()) {
                return Err(format!("line {number}: there is no category \"{unknown}\""));
            }
            if let Some(first) = lines.insert(example.text.clone(), number) {
                return Err(format!("line {number}: the text stands already on line {first}"));
            }
            examples.push(example);
        }
        if examples.is_empty() {
            return Err("it holds no examples".into());
        }
        Ok(examples)
    }
}

/// SHA-256 over examples, which tells whether a stored model was made of them.
pub(super) fn fingerprint(examples: &[ModerationExample]) -> String {
    let mut bytes = Vec::new();
    for example in examples {
        for part in std::iter::once(&example.text).chain(&example.categories) {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0);
        }
        bytes.push(b'\n');
    }
    sha256_hex(&bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::moderation::MODERATION_CATEGORIES;

    #[test]
    fn the_shipped_examples_cover_every_category_and_do_not_overlap() {
        let (training, held_out) = (ModerationExample::shipped_training(), ModerationExample::shipped_held_out());
        assert!(training.len() >= 500 && held_out.len() >= 150, "{} {}", training.len(), held_out.len());
        for examples in [&training, &held_out] {
            let harmless = examples.iter().filter(|example| !example.harmful()).count();
            assert!((0.4..0.6).contains(&(harmless as f64 / examples.len() as f64)));
        }
        for category in MODERATION_CATEGORIES {
            let count = |examples: &[ModerationExample]| examples.iter().filter(|e| e.is(category)).count();
            assert!(count(&training) >= 10 && count(&held_out) >= 3, "{category}");
        }
        assert!(held_out.iter().all(|held| training.iter().all(|known| known.text != held.text)));
        // A worse form is always also the plain form.
        for example in training.iter().chain(&held_out) {
            for (parent, _) in example.categories.iter().filter_map(|name| name.split_once('/')) {
                assert!(example.is(parent), "{example:?}");
            }
        }
    }

    #[test]
    fn faults_are_reported_with_their_line() {
        let good = "{\"text\":\"a\",\"categories\":[]}\n";
        for (line, want) in [
            ("nonsense", "line 2: expected"),
            ("{\"text\":\"b\"}", "line 2: missing field `categories`"),
            ("{\"text\":\" \",\"categories\":[]}", "line 2: the text is empty"),
            ("{\"text\":\"b\",\"categories\":[\"spam\"]}", "line 2: there is no category \"spam\""),
            (good, "line 2: the text stands already on line 1"),
        ] {
            let error = ModerationExample::parse(&format!("{good}{line}")).unwrap_err();
            assert!(error.contains(want), "{error} should hold {want}");
        }
        assert_eq!(ModerationExample::parse("\n").unwrap_err(), "it holds no examples");
    }

    #[test]
    fn the_fingerprint_notices_every_change() {
        let one =
            |text: &str, category: &str| ModerationExample { text: text.into(), categories: vec![category.into()] };
        let first = fingerprint(&[one("a", "hate")]);
        assert_eq!(first, fingerprint(&[one("a", "hate")]));
        assert_ne!(first, fingerprint(&[one("a", "violence")]));
        assert_ne!(first, fingerprint(&[one("ahate", "")]));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
            let _ = ModerationExample::parse(&text);
        }
    }
}
