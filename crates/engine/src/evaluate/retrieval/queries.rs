//! Queries of a retrieval test set: JSON lines, or an id and a text divided by a tab.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use super::lines::{each_line, member, object, shown};
use super::remark::Remark;
use crate::EngineError;

/// Members of a JSON line that hold the id, best first.
const ID: [&str; 5] = ["id", "_id", "query_id", "query-id", "qid"];
/// Members that hold the text, best first.
const TEXT: [&str; 3] = ["text", "question", "query"];
/// Members that hold the query's own vector, best first.
const VECTOR: [&str; 2] = ["embedding", "vector"];

/// A question or search phrase whose relevant documents are known.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrievalQuery {
    /// Unique in its set.
    pub id: String,
    /// What is searched for.
    pub text: String,
    /// Its vector, for collections whose vectors their owner makes; of any length.
    pub vector: Option<Vec<f32>>,
}

/// The queries of a file, the first of each id.
#[derive(Debug, Default)]
pub(super) struct Queries {
    pub(super) queries: Vec<RetrievalQuery>,
    /// Ids that came again.
    pub(super) repeated: Remark,
}

impl Queries {
    /// Reads a file; each line that holds `{` first is JSON with `id` (or `_id`) and `text` (or `question`, `query`) and
    /// perhaps `embedding`; others are an id, a tab and a text, after a header or not.
    pub(super) fn read(path: &Path) -> Result<Self, EngineError> {
        let mut reader = Reader::default();
        each_line(path, &mut |number, line| reader.line(number, line))?;
        if reader.found.queries.is_empty() {
            return Err(EngineError::BadFile { path: path.to_path_buf(), message: "it holds no queries".to_owned() });
        }
        Ok(reader.found)
    }
}

#[derive(Default)]
struct Reader {
    found: Queries,
    seen: HashSet<String>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let query = if line.trim_start().starts_with('{') { json_query(line)? } else { tab_query(line)? };
        if number == 1 && is_header(&query) {
            return Ok(());
        }
        if self.seen.insert(query.id.clone()) {
            self.found.queries.push(query);
        } else {
            self.found.repeated.add(&query.id);
        }
        Ok(())
    }
}

fn json_query(line: &str) -> Result<RetrievalQuery, String> {
    let object = object(line)?;
    let (id, text) = (member(&object, &ID)?, member(&object, &TEXT)?);
    let vector = VECTOR.iter().find_map(|name| object.get(*name).filter(|value| !value.is_null()).map(|v| (name, v)));
    let vector = vector.map(|(name, value)| numbers(value).ok_or(format!("\"{name}\" is not a list of numbers")));
    Ok(RetrievalQuery { id, text, vector: vector.transpose()? })
}

fn numbers(value: &Value) -> Option<Vec<f32>> {
    value.as_array()?.iter().map(|value| value.as_f64().map(|number| number as f32)).collect()
}

fn tab_query(line: &str) -> Result<RetrievalQuery, String> {
    let Some((id, text)) = line.split_once('\t') else {
        return Err(format!("expected a JSON object, or an id, a tab and a text, found \"{}\"", shown(line.trim())));
    };
    let (id, text) = (id.trim(), text.trim());
    if id.is_empty() || text.is_empty() {
        return Err(format!("the {} is empty", if id.is_empty() { "id" } else { "text" }));
    }
    Ok(RetrievalQuery { id: id.to_owned(), text: text.to_owned(), vector: None })
}

/// Whether the first line only says what the columns are.
fn is_header(query: &RetrievalQuery) -> bool {
    let is = |text: &str, names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    is(&query.id, &ID) && is(&query.text, &TEXT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lines::lines_of;
    use super::*;

    fn read(text: &str) -> Result<Queries, String> {
        let mut reader = Reader::default();
        let read = lines_of(text.as_bytes(), Path::new("q.jsonl"), &mut |number, line| reader.line(number, line));
        read.map(|()| reader.found).map_err(|error| error.to_string())
    }

    fn pairs(text: &str) -> Vec<(String, String)> {
        read(text).unwrap().queries.into_iter().map(|query| (query.id, query.text)).collect()
    }

    #[test]
    fn json_and_tabs_say_the_same() {
        let expected = vec![("1".to_owned(), "how long?".to_owned()), ("b".to_owned(), "why".to_owned())];
        let beir = "{\"_id\": \"1\", \"text\": \"how long?\", \"metadata\": {}}\n\n{\"_id\": \"b\", \"text\": \"why\"}";
        let ours = "{\"id\": 1, \"question\": \" how long? \"}\r\n{\"qid\": \"b\", \"query\": \"why\"}\n";
        for text in [beir, ours, "1\thow long?\nb\twhy\n", "\u{FEFF}query-id\ttext\n1\thow long?\nb\twhy"] {
            assert_eq!(pairs(text), expected, "{text}");
        }
    }

    #[test]
    fn a_query_brings_its_vector_along() {
        let found = read("{\"id\": 1, \"text\": \"a\", \"embedding\": [1, -0.5]}").unwrap();
        assert_eq!(found.queries[0].vector, Some(vec![1.0, -0.5]));
    }

    #[test]
    fn faults_name_their_line_and_repeated_ids_do_not_end_the_reading() {
        for (line, fault) in [
            ("{\"id\": 1}", "line 2: \"text\" or \"question\" or \"query\" is missing"),
            ("{\"id\": 1, \"text\": \" \"}", "is empty"),
            ("{\"id\": [], \"text\": \"a\"}", "neither a text nor a number"),
            ("{\"id\": 1, \"text\": \"a\", \"vector\": [\"a\"]}", "\"vector\" is not a list of numbers"),
            ("{", "line 2: invalid JSON"),
            ("no tab here", "an id, a tab and a text, found \"no tab here\""),
            ("1\t", "the text is empty"),
        ] {
            let error = read(&format!("a\tb\n{line}")).unwrap_err();
            assert!(error.contains(fault) && error.starts_with("q.jsonl: line 2"), "{error} should hold {fault}");
        }
        let found = read("1\ta\n2\tb\n1\tc").unwrap();
        assert_eq!((found.queries.len(), found.repeated.count), (2, 1));
        assert_eq!(found.queries[0].text, "a");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::default();
            let _ = lines_of(bytes.as_slice(), Path::new("q"), &mut |number, line| reader.line(number, line));
        }

        #[test]
        fn what_was_written_is_read(texts in prop::collection::vec("[a-z中é\"\\\\]{1,12}", 1..8)) {
            let line = |(at, text)| serde_json::json!({"id": at, "text": text}).to_string();
            let lines: Vec<String> = texts.iter().enumerate().map(line).collect();
            let read: Vec<String> = pairs(&lines.join("\n")).into_iter().map(|(_, text)| text).collect();
            prop_assert_eq!(read, texts);
        }
    }
}
