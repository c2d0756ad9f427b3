//! A document as reports show it: enough of its text to know it by.

use anser_core::Document;
use serde::{Deserialize, Serialize};

/// Characters of a text that are shown.
const SHOWN: usize = 280;

/// A document as reports show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownDocument {
    /// Its id.
    pub id: String,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The beginning of its text on one line, at most 280 characters and an ellipsis.
    pub text: String,
}

impl From<&Document> for ShownDocument {
    fn from(document: &Document) -> Self {
        Self { id: document.id.to_string(), title: document.title.clone(), text: beginning(&document.text) }
    }
}

/// The beginning of `text` on one line.
fn beginning(text: &str) -> String {
    let mut line = String::new();
    let mut length = 0;
    for (at, word) in text.split_whitespace().enumerate() {
        for character in (at > 0).then_some(' ').into_iter().chain(word.chars()) {
            if length == SHOWN {
                line.truncate(line.trim_end().len());
                line.push('…');
                return line;
            }
            line.push(character);
            length += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_one_line_of_at_most_280_characters() {
        assert_eq!(beginning(" two\r\n lines\t"), "two lines");
        assert_eq!(beginning(&"水".repeat(280)), "水".repeat(280));
        assert_eq!(beginning(&"水".repeat(281)), format!("{}…", "水".repeat(280)));
        assert_eq!(beginning(&format!("{} end", "a".repeat(279))), format!("{}…", "a".repeat(279)));
    }
}
