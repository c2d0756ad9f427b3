//! Putting documents into classes: learnt from labelled documents or from the labels alone, and measured on documents that
//! were not learnt from.
//!
//! The results of the analysis `train_classifier` are
//! - `report.json`: a [`ClassifierReport`];
//! - the table `documents`, one row for each labelled document (each document where there are no labels), in order of id:
//!   `id`; `label` (text, the true one); `predicted` (text, the most probable one even where the classifier abstained);
//!   `probability` (float); `abstained` (boolean); `fold` (integer, from 0: the fold in which it was predicted, from the
//!   documents outside); then `title`, `text` and the attributes. Of documents that are only learnt from, and never
//!   predicted, the four are missing;
//! - `confusion.svg` and `calibration.svg`, where there is something to compare with.

mod few_shot;
mod labels;
mod learn;
mod options;
mod report;
mod run;
mod score;
mod unseen;

pub use few_shot::{FewShot, FewShotRequest};
pub use options::{ClassBalance, ClassifierMethod, ClassifierOptions, EvaluationMethod, ZeroShotLabel};
pub use report::{
    Calibration, CalibrationBin, ClassifierEvaluation, ClassifierReport, ClassifierSettings, ConfusedDocument,
    Confusion, ConfusionMatrix, CoveragePoint, LeftOutClass, MajorityBaseline, TriedRegularization,
};
