//! Queries with the documents that are relevant to them.

use std::path::Path;

use super::qrels::Qrels;
use super::queries::{Queries, RetrievalQuery};
use super::remark::TestSetRemarks;
use crate::evaluate::LabelledQuestion;
use crate::evaluate::metrics::ranking::{Grades, relevant};
use crate::{Engine, EngineError};

/// A query and what is relevant to it: at least one document.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedQuery {
    /// The query.
    pub query: RetrievalQuery,
    /// Grades of its judged documents.
    pub grades: Grades,
}

/// What retrieval is measured on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RetrievalTestSet {
    /// The queries with judgements, in the order of their file.
    pub queries: Vec<JudgedQuery>,
    /// What of the files did not fit together.
    pub remarks: TestSetRemarks,
}

impl RetrievalTestSet {
    /// Reads a file of queries and one of judgements.
    ///
    /// Queries are JSON lines with `id` (or `_id`), `text` (or `question`) and perhaps `embedding`, or lines of id, tab and
    /// text. Judgements are TREC's four columns, BEIR's three with tabs, or JSON lines with `query_id`, `document_id` and
    /// `relevance`. `BadFile` names the file and the line of what cannot be read; what only does not fit together is in the
    /// remarks.
    pub fn read(queries: &Path, qrels: &Path) -> Result<Self, EngineError> {
        let read = Queries::read(queries)?;
        let mut judged = Qrels::read(qrels)?;
        let mut set = Self::default();
        set.remarks.repeated_queries = read.repeated;
        set.remarks.repeated_judgements = judged.repeated;
        for query in read.queries {
            match judged.grades.remove(&query.id) {
                None => set.remarks.unjudged_queries.add(&query.id),
                Some(grades) => set.add(query, grades),
            }
        }
        for id in judged.grades.keys() {
            set.remarks.unknown_queries.add(id);
        }
        if set.queries.is_empty() {
            let message = format!("it judges nothing relevant to a query of {}", queries.display());
            return Err(EngineError::BadFile { path: qrels.to_path_buf(), message });
        }
        Ok(set)
    }

    /// The answerable ones of some questions; each answering document has grade 1.
    pub fn of_questions(questions: &[LabelledQuestion]) -> Self {
        let mut set = Self::default();
        for question in questions.iter().filter(|question| question.answerable()) {
            let query = RetrievalQuery { id: question.id.clone(), text: question.question.clone(), vector: None };
            set.add(query, question.answers.iter().map(|id| (id.as_str().to_owned(), 1)).collect());
        }
        set
    }

    fn add(&mut self, query: RetrievalQuery, grades: Grades) {
        if relevant(&grades) == 0 {
            self.remarks.queries_without_relevant.add(&query.id);
        } else {
            self.queries.push(JudgedQuery { query, grades });
        }
    }
}

impl Engine {
    /// Adds to the remarks which relevant documents the collection does not have.
    pub(super) fn note_unknown_documents(
        &self,
        collection: &str,
        set: &RetrievalTestSet,
        remarks: &mut TestSetRemarks,
    ) -> Result<(), EngineError> {
        let collection = self.collection(collection)?;
        let judged = set.queries.iter().flat_map(|judged| judged.grades.iter());
        let wanted: std::collections::BTreeSet<&str> =
            judged.filter(|(_, grade)| **grade > 0).map(|(id, _)| id.as_str()).collect();
        for id in wanted {
            // What cannot be an id cannot be in a collection.
            let known = match anser_core::DocumentId::new(id) {
                Ok(id) => !collection.fingerprints(std::slice::from_ref(&id))?.is_empty(),
                Err(_) => false,
            };
            if !known {
                remarks.unknown_documents.add(id);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_together_is_counted_and_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (queries, qrels) = (folder.path().join("queries.tsv"), folder.path().join("qrels.txt"));
        std::fs::write(&queries, "1\ta\n2\tb\n3\tc\n1\tagain\n").unwrap();
        std::fs::write(&qrels, "1 0 x 1\n1 0 x 2\n2 0 y 0\n9 0 z 1\n").unwrap();
        let set = RetrievalTestSet::read(&queries, &qrels).unwrap();
        assert_eq!(set.queries.iter().map(|judged| judged.query.text.as_str()).collect::<Vec<_>>(), ["a"]);
        let remarks = &set.remarks;
        let counts = [
            remarks.repeated_queries.count,
            remarks.repeated_judgements.count,
            remarks.unjudged_queries.count,
            remarks.queries_without_relevant.count,
            remarks.unknown_queries.count,
        ];
        assert_eq!(counts, [1; 5]);
        assert_eq!(remarks.sentences().len(), 5);
        assert!(remarks.sentences().contains(&"1 queries have no judgements and were left out: 3".to_owned()));

        std::fs::write(&qrels, "9 0 z 1\n").unwrap();
        let error = RetrievalTestSet::read(&queries, &qrels).unwrap_err().to_string();
        assert!(error.contains("qrels.txt: it judges nothing relevant to a query of") && error.contains("queries.tsv"));
    }
}
