//! Judgements of a retrieval test set ("qrels"): which document is how relevant to which query.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use super::lines::{each_line, member, object, shown};
use super::remark::Remark;
use crate::EngineError;
use crate::evaluate::metrics::ranking::Grades;

/// Members of a JSON line that hold the query's id, best first.
const QUERY: [&str; 4] = ["query_id", "query-id", "qid", "query"];
/// Members that hold the document's id, best first.
const DOCUMENT: [&str; 7] = ["document_id", "corpus-id", "corpus_id", "doc_id", "docid", "document", "doc"];
/// Members that hold the grade, best first.
const GRADE: [&str; 5] = ["relevance", "score", "grade", "rel", "label"];
/// First words of the header of a table.
const HEADERS: [&str; 5] = ["query-id", "query_id", "qid", "query", "topic"];

/// Grades by query and document.
#[derive(Debug, Default)]
pub(super) struct Qrels {
    pub(super) grades: BTreeMap<String, Grades>,
    /// Pairs that came again.
    pub(super) repeated: Remark,
}

struct Judgement {
    query: String,
    document: String,
    grade: i64,
}

impl Qrels {
    /// Reads a file. Lines are TREC's `query iteration document grade`, BEIR's `query document grade` with tabs (after a
    /// header or not), or JSON objects with `query_id`, `document_id` and `relevance` (1 when it is missing).
    pub(super) fn read(path: &Path) -> Result<Self, EngineError> {
        let mut found = Self::default();
        each_line(path, &mut |number, line| found.line(number, line))?;
        if found.grades.is_empty() {
            let message = "it holds no judgements".to_owned();
            return Err(EngineError::BadFile { path: path.to_path_buf(), message });
        }
        Ok(found)
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let judgement = if line.trim_start().starts_with('{') {
            json_judgement(line)?
        } else {
            let columns = columns(line);
            let first = columns.first().copied().unwrap_or_default();
            if number == 1 && HEADERS.iter().any(|name| first.eq_ignore_ascii_case(name)) {
                return Ok(());
            }
            judgement(&columns, line)?
        };
        self.add(judgement);
        Ok(())
    }

    fn add(&mut self, Judgement { query, document, grade }: Judgement) {
        let grades = self.grades.entry(query.clone()).or_default();
        match grades.entry(document) {
            Entry::Occupied(judged) => self.repeated.add(&format!("{query} {}", judged.key())),
            Entry::Vacant(place) => {
                place.insert(grade);
            }
        }
    }
}

/// Columns divided by tabs, so that ids may hold spaces; without a tab, by white space.
fn columns(line: &str) -> Vec<&str> {
    if line.contains('\t') { line.split('\t').map(str::trim).collect() } else { line.split_whitespace().collect() }
}

fn judgement(columns: &[&str], line: &str) -> Result<Judgement, String> {
    let ([query, document, grade] | [query, _, document, grade]) = columns else {
        return Err(format!(
            "expected query, iteration, document and grade, or query, document and grade, found \"{}\"",
            shown(line.trim())
        ));
    };
    if query.is_empty() || document.is_empty() {
        return Err(format!("the id of the {} is empty", if query.is_empty() { "query" } else { "document" }));
    }
    Ok(Judgement { query: (*query).to_owned(), document: (*document).to_owned(), grade: parse_grade(grade)? })
}

fn json_judgement(line: &str) -> Result<Judgement, String> {
    let object = object(line)?;
    let grade =
        if GRADE.iter().any(|name| object.contains_key(*name)) { parse_grade(&member(&object, &GRADE)?)? } else { 1 };
    Ok(Judgement { query: member(&object, &QUERY)?, document: member(&object, &DOCUMENT)?, grade })
}

/// A whole number, also when it is written as `1.0`.
fn parse_grade(text: &str) -> Result<i64, String> {
    let whole = text.strip_suffix(".0").unwrap_or(text);
    whole.parse::<i32>().map(i64::from).map_err(|_| format!("the grade \"{}\" is not a whole number", shown(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lines::lines_of;
    use super::*;

    fn read(text: &str) -> Result<Qrels, String> {
        let mut found = Qrels::default();
        let read = lines_of(text.as_bytes(), Path::new("qrels.tsv"), &mut |number, line| found.line(number, line));
        read.map(|()| found).map_err(|error| error.to_string())
    }

    #[test]
    fn three_forms_say_the_same() {
        let trec = "1 0 a 2\n1 0 b 0\nq2 Q0 a 1\n";
        let beir = "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\nq2\ta\t1\n";
        let json = "{\"query_id\": 1, \"document_id\": \"a\", \"relevance\": 2}\n{\"qid\": \"1\", \"docid\": \"b\", \"rel\": 0}\n\
                    {\"query-id\": \"q2\", \"corpus-id\": \"a\"}\n";
        for text in [trec, beir, json] {
            let found = read(text).unwrap();
            assert_eq!(found.grades["1"], Grades::from([("a".to_owned(), 2), ("b".to_owned(), 0)]), "{text}");
            assert_eq!(found.grades["q2"], Grades::from([("a".to_owned(), 1)]), "{text}");
        }
        assert_eq!(read("q\tan id with spaces\t1.0").unwrap().grades["q"]["an id with spaces"], 1);
    }

    #[test]
    fn faults_name_their_line_and_repetitions_do_not_end_the_reading() {
        for (line, fault) in [
            ("1 0 a", "line 2: the grade \"a\" is not a whole number"),
            ("1 0 a 0.5", "the grade \"0.5\""),
            ("1 0 a 99999999999", "is not a whole number"),
            ("1 2", "found \"1 2\""),
            ("\t0\ta\t1", "the id of the query is empty"),
            ("{\"query_id\": 1}", "is missing"),
            ("{\"query_id\": 1, \"document_id\": 2, \"score\": true}", "neither a text nor a number"),
        ] {
            let error = read(&format!("1 0 a 1\n{line}")).unwrap_err();
            assert!(error.contains(fault) && error.starts_with("qrels.tsv: line 2"), "{error} should hold {fault}");
        }
        let found = read("1 0 a 1\n1 0 a 3").unwrap();
        assert_eq!((found.grades["1"]["a"], found.repeated.count), (1, 1));
        assert_eq!(found.repeated.examples, ["1 a"]);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn what_was_written_is_read(
            judged in prop::collection::btree_map("[a-z]{1,3}", prop::collection::btree_map("[a-z]{1,3}", -2_i64..5, 1..5), 1..5)
        ) {
            let lines: String = judged
                .iter()
                .flat_map(|(query, grades)| grades.iter().map(move |(d, grade)| format!("_{query} 0 {d} {grade}\n")))
                .collect();
            let read: BTreeMap<String, Grades> = read(&lines).unwrap().grades;
            let read: BTreeMap<String, Grades> = read.into_iter().map(|(q, g)| (q[1..].to_owned(), g)).collect();
            prop_assert_eq!(read, judged);
        }
    }
}
