//! Examples that training cannot use well: too long, offensive, or too few of them.

use std::collections::BTreeSet;

use anser_core::ProgressUnit;

use super::super::dataset::{Dataset, Row};
use super::super::dialogue::{Dialogue, Finding, Severity, count};
use super::super::example::MINIMUM_EXAMPLES;
use super::{Check, CheckContext};
use crate::TuneError;

/// Examples below which tuning usually disappoints.
const RECOMMENDED_EXAMPLES: usize = 100;

/// Score from which a text counts as offensive.
const OFFENSIVE: f32 = 0.5;

/// Texts scored between two looks at the progress.
const BATCH: usize = 64;

/// Finds examples that are longer than training reads.
#[derive(Debug)]
pub(in crate::data) struct OverlongExamples {
    /// Tokens that training reads of one example.
    pub(in crate::data) max_tokens: usize,
}

impl Check for OverlongExamples {
    fn run(
        &self,
        data: &mut Dataset,
        context: &CheckContext<'_>,
        dialogue: &mut Dialogue<'_>,
    ) -> Result<(), TuneError> {
        let Some(counter) = context.tools.tokens else {
            let explanation = "Lengths in tokens were not checked, because there is no model to count them.";
            dialogue.note(Finding::new("overlong_skipped", Severity::Note, explanation));
            return Ok(());
        };
        let mut long = BTreeSet::new();
        let mut most = 0;
        let progress = context.tools.progress;
        progress.start("Counting tokens", Some(data.rows.len() as u64), ProgressUnit::Items);
        for (at, row) in data.rows.iter().enumerate() {
            context.tools.cancel.check()?;
            progress.set(at as u64);
            let tokens = counter.count(&row.example)?.total;
            most = most.max(tokens);
            if tokens > self.max_tokens {
                long.insert(row.id);
            }
        }
        progress.finish();
        if long.is_empty() {
            return Ok(());
        }
        let explanation = format!(
            "{} longer than {} tokens, the longest {most}. Training cuts them at the end, so that the model never sees how the \
             answer ends.",
            if long.len() == 1 { "1 example is".to_owned() } else { format!("{} examples are", long.len()) },
            self.max_tokens
        );
        offer_to_leave_out(&long, Finding::new("overlong_examples", Severity::Warning, explanation), data, dialogue);
        Ok(())
    }
}

/// Tells of the rows with these ids and, with consent, leaves them out.
fn offer_to_leave_out(ids: &BTreeSet<usize>, finding: Finding, data: &mut Dataset, dialogue: &mut Dialogue<'_>) {
    let finding = finding.at_rows(data.rows.iter().filter(|row| ids.contains(&row.id)));
    if dialogue.offer(finding, format!("Leave out {}", count(ids.len(), "example")), None) {
        data.retain(|row| !ids.contains(&row.id));
    }
}

/// Finds examples with offensive text, by the scores that the caller's filter gives.
#[derive(Debug)]
pub(in crate::data) struct OffensiveText;

impl Check for OffensiveText {
    fn run(
        &self,
        data: &mut Dataset,
        context: &CheckContext<'_>,
        dialogue: &mut Dialogue<'_>,
    ) -> Result<(), TuneError> {
        let Some(score) = context.tools.offensive else {
            let explanation = "Offensive text was not looked for, because there is no content filter.";
            dialogue.note(Finding::new("offensive_skipped", Severity::Note, explanation));
            return Ok(());
        };
        let texts: Vec<(usize, String)> = data
            .rows
            .iter()
            .flat_map(|row| row.texts().into_iter().map(move |text| (row.id, text)))
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(id, text)| (id, text.to_owned()))
            .collect();
        context.tools.progress.start("Looking for offensive text", Some(texts.len() as u64), ProgressUnit::Items);
        let mut found = BTreeSet::new();
        for (at, batch) in texts.chunks(BATCH).enumerate() {
            context.tools.cancel.check()?;
            let plain: Vec<String> = batch.iter().map(|(_, text)| text.clone()).collect();
            for ((id, _), score) in batch.iter().zip(score(&plain)?) {
                if score >= OFFENSIVE {
                    found.insert(*id);
                }
            }
            context.tools.progress.set((at * BATCH + batch.len()) as u64);
        }
        context.tools.progress.finish();
        if found.is_empty() {
            return Ok(());
        }
        let explanation = "The content filter finds the text offensive; a model trained on it may say the like. It errs at times, so look \
                           at the lines.";
        offer_to_leave_out(&found, Finding::new("offensive_text", Severity::Warning, explanation), data, dialogue);
        Ok(())
    }
}

/// Refuses fewer than ten training examples and warns below a hundred.
#[derive(Debug)]
pub(in crate::data) struct TooFew;

impl Check for TooFew {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let found = data.training().count();
        if found < MINIMUM_EXAMPLES {
            let left_out: Vec<String> = dialogue
                .mends
                .iter()
                .filter(|mend| mend.action.starts_with("Leave"))
                .map(|mend| mend.action.to_lowercase())
                .collect();
            let after = if left_out.is_empty() {
                String::new()
            } else {
                format!(" after the accepted mends ({})", left_out.join(", "))
            };
            return Err(dialogue.refuse(format!(
                "the file gives {}{after}, but at least {MINIMUM_EXAMPLES} are needed; add more",
                count(found, "usable example")
            )));
        }
        if found < RECOMMENDED_EXAMPLES {
            let explanation = format!(
                "There are only {found} examples. Below {RECOMMENDED_EXAMPLES} a model learns the style but few facts, repeats \
                 single examples word for word, and the validation part is too small to tell whether it got better. Add \
                 examples, or answer from a collection instead of tuning."
            );
            dialogue.note(Finding::new("few_examples", Severity::Warning, explanation));
        }
        Ok(())
    }
}

/// Whether the answer of a row is empty after a mend took something off.
pub(in crate::data) fn lost_its_answer(row: &Row) -> bool {
    row.answer().trim().is_empty()
}
