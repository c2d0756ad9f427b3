//! Documents unlike all others: how far each lies from its nearest neighbours, and how much sparser it is around it than
//! around them. Ranked, each with the reasons that a person can check.

mod histogram;
mod report;
mod run;
mod shown;

use serde::{Deserialize, Serialize};

pub use report::{NearDocument, Outlier, OutlierReport, TypicalFigures};
pub use shown::ShownDocument;

use crate::EngineError;

/// Most neighbours of a document.
const MOST_NEIGHBOURS: usize = 1000;

/// Most documents that a report lists.
const MOST_LISTED: usize = 1000;

/// What ranks the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutlierMethod {
    /// The local outlier factor (Breunig, Kriegel, Ng and Sander, "LOF: Identifying Density-Based Local Outliers", 2000):
    /// about 1 where a document is as near to its neighbours as they are to theirs, more where it is farther. It finds
    /// documents that are odd for their subject, also where subjects differ in how tightly they are written about.
    #[default]
    Lof,
    /// The cosine distance, 1 - cosine, to the k-th nearest neighbour: finds documents that are far from everything.
    KnnDistance,
}

impl OutlierMethod {
    /// Its name in requests and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lof => "lof",
            Self::KnnDistance => "knn_distance",
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutlierOptions {
    /// Neighbours that a document is compared with, 1 to 1,000; all others where there are fewer. Groups of up to `k`
    /// documents that are alike but unlike the rest can still be outliers; larger groups are not.
    pub k: usize,
    /// What ranks the documents.
    pub method: OutlierMethod,
    /// Documents listed with reasons in the report, 1 to 1,000. The table has all of them.
    pub limit: usize,
    /// The same documents, options and seed give the same report.
    pub seed: u64,
}

impl Default for OutlierOptions {
    fn default() -> Self {
        Self { k: 20, method: OutlierMethod::default(), limit: 20, seed: 42 }
    }
}

impl OutlierOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if !(1..=MOST_NEIGHBOURS).contains(&self.k) {
            return Err(EngineError::invalid("k", format!("k is {}, but must be 1 to {MOST_NEIGHBOURS}", self.k)));
        }
        if !(1..=MOST_LISTED).contains(&self.limit) {
            let message = format!("limit is {}, but must be 1 to {MOST_LISTED}", self.limit);
            return Err(EngineError::invalid("limit", message));
        }
        Ok(())
    }

    /// Memory that the run takes beside the mapped vectors, in bytes: the neighbours, a copy of the vectors where there
    /// are too many to compare all pairs, the scores and the order of documents.
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        let neighbours = self.k as u64 * (size_of::<u32>() + size_of::<f32>()) as u64;
        let copy = dimension as u64 * size_of::<f32>() as u64 + 512;
        rows * (2 * neighbours + copy + 64) + (192 << 20)
    }
}
