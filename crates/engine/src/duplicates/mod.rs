//! Groups of documents that say nearly the same: which of each group to keep, and deleting the others.

mod deletion;
mod facts;
mod grouping;
mod report;
mod run;

use serde::{Deserialize, Serialize};

pub use deletion::DeletedDuplicates;
pub use report::{DuplicateGroup, DuplicateMember, DuplicateReport};

use crate::EngineError;

/// Most groups that a report lists.
const MOST_LISTED: usize = 1000;

/// Cosines of equal texts differ from 1 by less than this: rounding, and batches of other lengths in the embedder.
const ROUNDING: f32 = 1e-5;

/// Which document of a group is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepRule {
    /// The one with the longest text, in characters; of equally long ones the one whose id comes first.
    #[default]
    Longest,
    /// The one whose id comes first.
    First,
    /// The one with the highest time or number in the attribute `newest_by`; documents without it come last, ties go to
    /// the longest.
    Newest,
}

impl KeepRule {
    /// Its name in requests and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Longest => "longest",
            Self::First => "first",
            Self::Newest => "newest",
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DuplicateOptions {
    /// Least cosine of two documents that say nearly the same, above 0 and up to 1.
    pub threshold: f32,
    /// Which document of a group is kept.
    pub keep: KeepRule,
    /// The attribute, a time or a number, that says what is newest; for `keep` `newest` and only for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_by: Option<String>,
    /// Groups listed in the report, 1 to 1,000. The table has all of them.
    pub limit: usize,
    /// The same documents, options and seed give the same groups.
    pub seed: u64,
}

impl Default for DuplicateOptions {
    fn default() -> Self {
        Self { threshold: 0.95, keep: KeepRule::default(), newest_by: None, limit: 20, seed: 42 }
    }
}

impl DuplicateOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            let message = format!("the threshold is {}, but must be above 0 and at most 1", self.threshold);
            return Err(EngineError::invalid("threshold", message));
        }
        if !(1..=MOST_LISTED).contains(&self.limit) {
            let message = format!("limit is {}, but must be 1 to {MOST_LISTED}", self.limit);
            return Err(EngineError::invalid("limit", message));
        }
        match (self.keep, &self.newest_by) {
            (KeepRule::Newest, None) => {
                let message = "keeping the newest needs newest_by, the attribute that holds a time or number";
                Err(EngineError::invalid("newest_by", message))
            }
            (KeepRule::Longest | KeepRule::First, Some(attribute)) => {
                let rule = self.keep.as_str();
                let message =
                    format!("newest_by is \"{attribute}\", but keep is {rule}; set keep to newest or leave it out");
                Err(EngineError::invalid("newest_by", message))
            }
            _ => Ok(()),
        }
    }

    /// Memory that the run takes beside the mapped vectors, in bytes: the search for pairs, the groups, and what is known of
    /// the documents in them, were all of them in one.
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        /// Bytes of a group in the report.
        const LISTED: u64 = 16 << 10;
        self.limit as u64 * LISTED + rows * (dimension as u64 * size_of::<f32>() as u64 + 512 + 160) + (192 << 20)
    }
}
