//! What may be wrong with examples, one small type for each kind of fault.

mod answers;
mod conversations;
mod duplicates;
mod filters;
mod labels;
mod layout;
mod personal;
mod personal_patterns;
mod prefixes;
mod similar;

pub(super) use answers::{ContradictoryAnswers, Refusals, UpperCase, is_refusal};
pub(super) use conversations::{SystemMessages, TurnOrder};
pub(super) use duplicates::{ExactDuplicates, Leakage, NearDuplicates, inseparable};
pub(super) use filters::{OffensiveText, OverlongExamples, TooFew};
pub(super) use labels::{LabelBalance, LabelSpelling, label_of_rows};
pub(super) use layout::LegacyLayout;
pub(super) use personal::PersonalData;
pub(super) use prefixes::CommonPrefixes;
pub(super) use similar::{Neighbours, dot as similar_dot};

use super::dataset::Dataset;
use super::dialogue::Dialogue;
use super::prepare::PrepareTools;
use crate::TuneError;

/// What checks may use beside the examples.
pub(super) struct CheckContext<'a> {
    pub(super) tools: &'a PrepareTools<'a>,
    /// Questions that mean nearly the same.
    pub(super) neighbours: &'a Neighbours,
}

/// Looks for one kind of fault, tells it, and mends it when the person agrees.
pub(super) trait Check {
    fn run(&self, data: &mut Dataset, context: &CheckContext<'_>, dialogue: &mut Dialogue<'_>)
    -> Result<(), TuneError>;
}

/// Runs checks one after another; each sees what the ones before it left.
pub(super) fn run_all(
    checks: &[&dyn Check],
    data: &mut Dataset,
    context: &CheckContext<'_>,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), TuneError> {
    for check in checks {
        context.tools.cancel.check()?;
        check.run(data, context, dialogue)?;
    }
    Ok(())
}
