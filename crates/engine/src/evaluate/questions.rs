//! Questions with known answers, one JSON object a line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anser_core::DocumentId;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::answer::normalized;

/// A question and what is known about its answer. Fields of the file that are not listed here are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledQuestion {
    /// Unique in its file.
    pub id: String,
    /// The question.
    pub question: String,
    /// Documents that answer it; none when the collection cannot answer it.
    #[serde(default)]
    pub answers: Vec<DocumentId>,
    /// Texts of which a right answer holds at least one. Case and runs of white space do not matter.
    #[serde(default)]
    pub key_fact: Vec<String>,
    /// A whole right answer, with which text metrics compare.
    #[serde(default, alias = "answer", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl LabelledQuestion {
    /// Whether the collection can answer it.
    pub fn answerable(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Whether `text` holds one of the key facts.
    pub fn holds_key_fact(&self, text: &str) -> bool {
        let text = normalized(text);
        self.key_fact.iter().any(|fact| text.contains(&normalized(fact)))
    }

    /// Reads a JSONL file; blank lines are skipped.
    ///
    /// `BadFile` names the line that is not a question, repeats an id, or holds an empty question or key fact.
    pub fn read_jsonl(path: &Path) -> Result<Vec<Self>, EngineError> {
        let file = File::open(path).map_err(|e| EngineError::io("open", path, e))?;
        Self::read_lines(BufReader::new(file), path)
    }

    fn read_lines(source: impl BufRead, path: &Path) -> Result<Vec<Self>, EngineError> {
        let bad = |line: usize, message: String| EngineError::BadFile {
            path: path.to_path_buf(),
            message: format!("line {line}: {message}"),
        };
        let mut questions = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        for (number, line) in (1..).zip(source.lines()) {
            let line = line.map_err(|e| match e.kind() {
                std::io::ErrorKind::InvalidData => bad(number, "the text is not UTF-8; save the file as UTF-8".into()),
                _ => EngineError::io("read", path, e),
            })?;
            let line = line.trim_start_matches('\u{FEFF}').trim();
            if line.is_empty() {
                continue;
            }
            let question: Self = serde_json::from_str(line).map_err(|e| {
                bad(number, format!("{e}; each line holds one object with id, question, answers and key_fact"))
            })?;
            if let Some(fault) = question.fault() {
                return Err(bad(number, fault.to_owned()));
            }
            if let Some(first) = lines.insert(question.id.clone(), number) {
                return Err(bad(number, format!("the id \"{}\" stands already on line {first}", question.id)));
            }
            questions.push(question);
        }
        if questions.is_empty() {
            return Err(EngineError::BadFile { path: path.to_path_buf(), message: "it holds no questions".into() });
        }
        Ok(questions)
    }

    fn fault(&self) -> Option<&'static str> {
        if self.id.trim().is_empty() {
            Some("the id is empty")
        } else if self.question.trim().is_empty() {
            Some("the question is empty")
        } else if self.key_fact.iter().any(|fact| fact.trim().is_empty()) {
            Some("a key_fact is empty, and every answer would hold it")
        } else if self.reference.as_ref().is_some_and(|reference| reference.trim().is_empty()) {
            Some("the reference is empty; leave it out when there is none")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<LabelledQuestion>, String> {
        LabelledQuestion::read_lines(text.as_bytes(), Path::new("q.jsonl")).map_err(|e| e.to_string())
    }

    #[test]
    fn questions_are_read_and_unknown_fields_ignored() {
        let text = "\u{FEFF}{\"id\":\"1\",\"question\":\"When?\",\"answers\":[\"a\"],\"key_fact\":[\"30 days\"],\"note\":1}\n\n{\"id\":\"2\",\"question\":\"Who?\",\"answers\":[],\"key_fact\":[]}\n";
        let questions = read(text).unwrap();
        assert_eq!(questions.len(), 2);
        assert!(questions[0].answerable() && !questions[1].answerable());
    }

    #[test]
    fn faults_are_reported_with_their_line() {
        let good = "{\"id\":\"1\",\"question\":\"When?\"}\n";
        for (line, want) in [
            ("{\"id\":\"2\"}", "line 2: missing field `question`"),
            ("nonsense", "line 2: expected"),
            ("{\"id\":\"1\",\"question\":\"When?\"}", "line 2: the id \"1\" stands already on line 1"),
            ("{\"id\":\"2\",\"question\":\" \"}", "line 2: the question is empty"),
            ("{\"id\":\"2\",\"question\":\"a\",\"key_fact\":[\"\"]}", "line 2: a key_fact is empty"),
            ("{\"id\":\"2\",\"question\":\"a\",\"answers\":[\"\"]}", "line 2: "),
            ("{\"id\":\"2\",\"question\":\"a\",\"reference\":\" \"}", "line 2: the reference is empty"),
        ] {
            let error = read(&format!("{good}{line}")).unwrap_err();
            assert!(error.contains(want), "{error} should hold {want}");
        }
        assert!(read("").unwrap_err().contains("no questions"));
    }

    #[test]
    fn key_facts_are_compared_loosely_and_any_will_do() {
        let mut question =
            read("{\"id\":\"1\",\"question\":\"When?\",\"key_fact\":[\"30 Days\",\"a month\"]}").unwrap().remove(0);
        assert!(question.holds_key_fact("Within 30\n  days."));
        assert!(question.holds_key_fact("You have A month."));
        assert!(!question.holds_key_fact("You have 20 days."));
        question.key_fact.clear();
        assert!(!question.holds_key_fact("anything"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = LabelledQuestion::read_lines(bytes.as_slice(), Path::new("q.jsonl"));
        }
    }
}
