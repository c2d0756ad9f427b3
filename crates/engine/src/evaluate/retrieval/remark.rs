//! Things of a test set that do not fit together: counted, with a few examples.

use serde::Serialize;

/// Examples that a remark names.
const EXAMPLES: usize = 10;

/// How many of something there are, and the first few of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Remark {
    /// How many.
    pub count: usize,
    /// The first ten.
    pub examples: Vec<String>,
}

impl Remark {
    pub(super) fn add(&mut self, example: &str) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example.to_owned());
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.count == 0
    }
}

/// What of a test set does not fit together; none of it ends an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TestSetRemarks {
    /// Ids of queries that stand in the file more than once; the first was taken.
    #[serde(skip_serializing_if = "Remark::is_none")]
    pub repeated_queries: Remark,
    /// Judgements, as "query document", that stand in the file more than once; the first was taken.
    #[serde(skip_serializing_if = "Remark::is_none")]
    pub repeated_judgements: Remark,
    /// Queries without any judgement; they were left out.
    #[serde(skip_serializing_if = "Remark::is_none")]
    pub unjudged_queries: Remark,
    /// Queries for which nothing was judged relevant; they were left out.
    #[serde(skip_serializing_if = "Remark::is_none")]
    pub queries_without_relevant: Remark,
    /// Ids of queries that are judged but not in the file of queries.
    #[serde(skip_serializing_if = "Remark::is_none")]
    pub unknown_queries: Remark,
    /// Ids of relevant documents that the collection does not have. They count as not found.
    #[serde(skip_serializing_if = "Remark::is_none")]
    pub unknown_documents: Remark,
}

impl TestSetRemarks {
    /// One sentence for each kind that there is.
    pub fn sentences(&self) -> Vec<String> {
        let kinds = [
            (&self.repeated_queries, "ids of queries stand in the file more than once; the first was taken"),
            (&self.repeated_judgements, "judgements stand in the file more than once; the first was taken"),
            (&self.unjudged_queries, "queries have no judgements and were left out"),
            (&self.queries_without_relevant, "queries have no relevant document and were left out"),
            (&self.unknown_queries, "judged queries are not in the file of queries"),
            (&self.unknown_documents, "relevant documents are not in the collection and count as not found"),
        ];
        let there = kinds.into_iter().filter(|(remark, _)| !remark.is_none());
        there
            .map(|(remark, what)| {
                let more = if remark.count > remark.examples.len() { ", …" } else { "" };
                format!("{} {what}: {}{more}", remark.count, remark.examples.join(", "))
            })
            .collect()
    }
}
