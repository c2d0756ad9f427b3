//! Data for classification: few short answers that repeat.

use std::collections::{BTreeMap, BTreeSet};

use super::super::dataset::{Dataset, normalised};
use super::super::dialogue::{Dialogue, Finding, Severity, count, excerpt};
use super::{Check, CheckContext};
use crate::TuneError;

/// Longest answer that can be a label, in characters and words.
const LABEL_CHARS: usize = 60;
const LABEL_WORDS: usize = 5;

/// Examples that a label must have on average before the data count as classification.
const PER_LABEL: usize = 4;

/// Fewest examples of a label from which a model learns it.
const LEAST_PER_LABEL: usize = 5;

/// Times that the commonest label may be as frequent as the rarest.
const MOST_UNEVEN: usize = 10;

/// Labels named in a report.
const SHOWN: usize = 5;

/// The label of each row, when the data are for classification: single turns whose answers are short and repeat.
pub(in crate::data) fn label_of_rows(data: &Dataset) -> Option<Vec<String>> {
    let is_label = |answer: &str| {
        let answer = answer.trim();
        answer.chars().count() <= LABEL_CHARS
            && answer.split_whitespace().count() <= LABEL_WORDS
            && !answer.contains('\n')
    };
    let labels: Vec<String> = data.rows.iter().map(|row| row.answer().trim().to_owned()).collect();
    let distinct: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
    let fits = distinct.len() >= 2
        && distinct.len() * PER_LABEL <= labels.len()
        && data.rows.iter().all(|row| row.is_single_turn() && is_label(row.answer()));
    fits.then_some(labels)
}

/// Finds labels that are spelt in several ways ("Refund", "refund ", "refund.").
#[derive(Debug)]
pub(in crate::data) struct LabelSpelling;

impl Check for LabelSpelling {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let Some(labels) = label_of_rows(data) else { return Ok(()) };
        let mut spellings: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
        for label in &labels {
            *spellings.entry(normalised(label)).or_default().entry(label).or_default() += 1;
        }
        let usual: BTreeMap<String, String> = spellings
            .into_iter()
            .filter(|(_, ways)| ways.len() > 1)
            .filter_map(|(key, ways)| {
                ways.into_iter().max_by_key(|(_, n)| *n).map(|(label, _)| (key, label.to_owned()))
            })
            .collect();
        let differs = |label: &str| usual.get(&normalised(label)).filter(|usual| *usual != label);
        let odd: Vec<usize> = (0..labels.len()).filter(|at| differs(&labels[*at]).is_some()).collect();
        let Some(first) = odd.first() else { return Ok(()) };
        let explanation =
            "Some labels are spelt in several ways, and the model would learn each as a class of its own.";
        let finding = Finding::new("label_spelling", Severity::Warning, explanation)
            .at_rows(odd.iter().map(|at| &data.rows[*at]));
        let sample = differs(&labels[*first]).map(|usual| (excerpt(&labels[*first]), excerpt(usual)));
        if dialogue.offer(finding, "Write each label as it is written most often", sample) {
            for at in odd {
                if let Some(usual) = differs(&labels[at]) {
                    for answer in data.rows[at].answers_mut() {
                        *answer = answer.replace(labels[at].as_str(), usual);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Tells how often each label occurs, and warns when some are rare.
#[derive(Debug)]
pub(in crate::data) struct LabelBalance;

impl Check for LabelBalance {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let Some(labels) = label_of_rows(data) else { return Ok(()) };
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (label, row) in labels.iter().zip(&data.rows) {
            *counts.entry(label).or_default() += usize::from(!row.validation);
        }
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(label, n)| (std::cmp::Reverse(*n), *label));
        let (Some((_, most)), Some((_, least))) = (counts.first(), counts.last()) else { return Ok(()) };
        let listed = |part: &[(&str, usize)]| {
            part.iter().map(|(label, n)| format!("\"{}\" ({n})", excerpt(label))).collect::<Vec<_>>().join(", ")
        };
        let all = if counts.len() <= 2 * SHOWN {
            listed(&counts)
        } else {
            format!("{}, ..., {}", listed(&counts[..SHOWN]), listed(&counts[counts.len() - SHOWN..]))
        };
        let spread = format!("The answers are {}: {all}.", count(counts.len(), "label"));
        let rare: Vec<&str> = counts.iter().filter(|(_, n)| *n < LEAST_PER_LABEL).map(|(label, _)| *label).collect();
        if rare.is_empty() && most <= &(least * MOST_UNEVEN) {
            dialogue.note(Finding::new("label_balance", Severity::Note, spread));
            return Ok(());
        }
        let advice = if rare.is_empty() {
            format!(
                "The commonest is more than {MOST_UNEVEN} times as frequent as the rarest; the model will prefer it. Add examples of the rare ones."
            )
        } else {
            format!(
                "{} fewer than {LEAST_PER_LABEL} examples; add more or merge labels.",
                if rare.len() == 1 { "1 label has".to_owned() } else { format!("{} labels have", rare.len()) }
            )
        };
        let concerned =
            labels.iter().zip(&data.rows).filter(|(label, _)| rare.contains(&label.as_str())).map(|(_, row)| row);
        dialogue
            .note(Finding::new("label_balance", Severity::Warning, format!("{spread} {advice}")).at_rows(concerned));
        Ok(())
    }
}
