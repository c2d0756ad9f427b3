//! Examples that say the same as others: within the training data, and between training and validation.

use std::collections::{BTreeMap, BTreeSet};

use super::super::dataset::{Dataset, Row, normalised, word_overlap};
use super::super::dialogue::{Dialogue, Finding, Severity, count, excerpt};
use super::super::example::TrainingExample;
use super::similar::{Groups, NEAR, Neighbours, dot, embed};
use super::{Check, CheckContext};
use crate::TuneError;

/// Share of words from which two answers count as the same without an embedder to ask.
const SAME_WORDS: f64 = 0.9;

/// Finds examples that are given more than once, apart from white space.
#[derive(Debug)]
pub(in crate::data) struct ExactDuplicates;

impl Check for ExactDuplicates {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let mut seen = BTreeSet::new();
        let again: Vec<&Row> = data.rows.iter().filter(|row| !seen.insert((row.validation, key_of(row)))).collect();
        if again.is_empty() {
            return Ok(());
        }
        let explanation = "The same example is given more than once, so that it weighs more than others.";
        let finding = Finding::new("exact_duplicates", Severity::Warning, explanation).at_rows(again.iter().copied());
        let ids: BTreeSet<usize> = again.iter().map(|row| row.id).collect();
        if dialogue.offer(finding, format!("Leave out {}", count(ids.len(), "duplicate")), None) {
            data.retain(|row| !ids.contains(&row.id));
        }
        Ok(())
    }
}

/// The example as a line with single spaces, so that white space makes no difference.
fn key_of(row: &Row) -> String {
    let mut row = row.clone();
    for text in row.texts_mut() {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    row.example.to_json_line()
}

/// Finds questions that are asked again in nearly the same words (cosine 0.95 of their embeddings). Those whose answers
/// are nearly the same too can be left out; the others stay, always on one side of the split.
#[derive(Debug)]
pub(in crate::data) struct NearDuplicates;

impl Check for NearDuplicates {
    fn run(
        &self,
        data: &mut Dataset,
        context: &CheckContext<'_>,
        dialogue: &mut Dialogue<'_>,
    ) -> Result<(), TuneError> {
        let Some(embedder) = context.tools.embedder else {
            let explanation =
                "Questions that repeat in other words were not looked for, because there is no embedding model.";
            dialogue.note(Finding::new("near_duplicates_skipped", Severity::Note, explanation));
            return Ok(());
        };
        let rows: BTreeMap<usize, &Row> = data.training().map(|row| (row.id, row)).collect();
        let pairs: Vec<(usize, usize)> =
            context.neighbours.pairs(NEAR).filter(|(a, b)| rows.contains_key(a) && rows.contains_key(b)).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let concerned: BTreeSet<usize> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        // Labels and stock phrases repeat, so each answer is embedded once.
        let said: BTreeMap<usize, String> = concerned.iter().map(|id| (*id, said(rows[id].answer()))).collect();
        let distinct: BTreeSet<&str> = said.values().map(String::as_str).collect();
        let answers: Vec<String> = distinct.iter().map(|text| (*text).to_owned()).collect();
        let vectors = embed(&answers, "Comparing answers", embedder, context.tools)?;
        let vector_of: BTreeMap<&str, Vec<f32>> = distinct.into_iter().zip(vectors).collect();
        let vector = |id: usize| vector_of[said[&id].as_str()].as_slice();
        let same = |a: usize, b: usize| dot(vector(a), vector(b)) >= NEAR;
        let mut kept: BTreeSet<usize> = concerned.clone();
        for (a, b) in &pairs {
            // Against a kept one only, so that a chain of small steps does not lead from one question to another.
            if kept.contains(a) && kept.contains(b) && same(*a, *b) {
                kept.remove(b);
            }
        }
        let out: BTreeSet<usize> = concerned.difference(&kept).copied().collect();
        let sample = pairs.first().map(|(a, b)| (excerpt(&rows[a].question()), excerpt(&rows[b].question())));
        let like = sample.map(|(a, b)| format!(", such as \"{a}\" and \"{b}\"")).unwrap_or_default();
        let explanation = format!(
            "{} ask nearly the same as another{like}. The split keeps them on one side. For {} of them the answer is nearly \
             the same too, so that they teach nothing new.",
            count(concerned.len(), "example"),
            out.len()
        );
        let severity = if out.is_empty() { Severity::Note } else { Severity::Warning };
        let finding = Finding::new("near_duplicates", severity, explanation)
            .at_rows(data.training().filter(|row| concerned.contains(&row.id)));
        if out.is_empty() {
            dialogue.note(finding);
        } else if dialogue.offer(finding, format!("Leave out {}", count(out.len(), "near-duplicate")), None) {
            data.retain(|row| !out.contains(&row.id));
        }
        Ok(())
    }
}

/// A text that an embedder accepts.
fn said(text: &str) -> String {
    if text.trim().is_empty() { "-".to_owned() } else { text.trim().to_owned() }
}

/// Finds training examples whose question also stands in the validation file, in the same or nearly the same words: the
/// validation loss would praise memory.
#[derive(Debug)]
pub(in crate::data) struct Leakage;

impl Check for Leakage {
    fn run(
        &self,
        data: &mut Dataset,
        context: &CheckContext<'_>,
        dialogue: &mut Dialogue<'_>,
    ) -> Result<(), TuneError> {
        let held_out: BTreeSet<String> =
            data.rows.iter().filter(|row| row.validation).map(|row| normalised(&row.question())).collect();
        if held_out.is_empty() {
            return Ok(());
        }
        let validation: BTreeSet<usize> = data.rows.iter().filter(|row| row.validation).map(|row| row.id).collect();
        let mut leaked: BTreeSet<usize> =
            data.training().filter(|row| held_out.contains(&normalised(&row.question()))).map(|row| row.id).collect();
        let exact = leaked.len();
        let near = context.neighbours.pairs(NEAR).filter(|(a, b)| validation.contains(a) != validation.contains(b));
        leaked.extend(near.map(|(a, b)| if validation.contains(&a) { b } else { a }));
        let found: Vec<&Row> = data.training().filter(|row| leaked.contains(&row.id)).collect();
        if found.is_empty() {
            return Ok(());
        }
        let explanation = format!(
            "{} of the training data ask what the validation file asks, {exact} in the same words. The validation loss would \
             reward memory instead of learning.",
            count(found.len(), "example")
        );
        let finding = Finding::new("leakage", Severity::Warning, explanation).at_rows(found.iter().copied());
        let action = format!("Leave {} out of the training data", count(found.len(), "example"));
        if dialogue.offer(finding, action, None) {
            data.retain(|row| row.validation || !leaked.contains(&row.id));
        }
        Ok(())
    }
}

/// Rows that must stay on one side of a split: those that ask the same or nearly the same, directly or through others.
pub(in crate::data) fn inseparable(data: &Dataset, neighbours: &Neighbours) -> Groups {
    let mut groups = Groups::new(std::iter::empty());
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    let present: BTreeSet<usize> = data.rows.iter().map(|row| row.id).collect();
    for row in &data.rows {
        let id = *first.entry(normalised(&row.question())).or_insert(row.id);
        groups.join(id, row.id);
    }
    for (a, b) in neighbours.pairs(NEAR) {
        if present.contains(&a) && present.contains(&b) {
            groups.join(a, b);
        }
    }
    groups
}

/// Whether two answers say the same, word for word or nearly.
pub(in crate::data) fn same_answer(a: &str, b: &str) -> bool {
    normalised(a) == normalised(b) || word_overlap(a, b) >= SAME_WORDS && numbers(a) == numbers(b)
}

/// The numbers that a text states, in order.
pub(in crate::data) fn numbers(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut number = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_digit() {
            number.push(c);
        } else if !number.is_empty() && !matches!(c, '.' | ',') {
            all.push(std::mem::take(&mut number));
        }
    }
    all
}

/// Whether a row is a preference, which has two answers to one question by right.
pub(in crate::data) fn is_preference(row: &Row) -> bool {
    matches!(row.example, TrainingExample::Preference { .. })
}
