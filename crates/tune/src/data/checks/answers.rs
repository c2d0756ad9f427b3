//! What the answers teach: contradictions, refusals, shouting.

use std::collections::{BTreeMap, BTreeSet};

use super::super::dataset::{Dataset, Row, normalised, word_overlap};
use super::super::dialogue::{Dialogue, Finding, Severity, count, excerpt};
use super::duplicates::{is_preference, numbers, same_answer};
use super::labels::label_of_rows;
use super::similar::Groups;
use super::{Check, CheckContext};
use crate::TuneError;

/// Cosine from which two questions should have one answer.
const SAME_QUESTION: f32 = 0.98;

/// Share of words from which two answers talk of the same thing, so that other numbers contradict.
const SAME_TOPIC: f64 = 0.5;

/// Share of refusals from which a model begins to refuse what it could answer.
const MANY_REFUSALS: f64 = 0.2;

/// Words that deny.
const NEGATIONS: [&str; 16] = [
    "not", "no", "never", "cannot", "cant", "dont", "doesnt", "isnt", "arent", "wont", "nicht", "kein", "keine", "nie",
    "ne", "nunca",
];

/// Finds questions to which the data give different answers. Nearly the same question counts when its answers have the
/// same words but other numbers or a negation, or other labels.
#[derive(Debug)]
pub(in crate::data) struct ContradictoryAnswers;

impl Check for ContradictoryAnswers {
    fn run(
        &self,
        data: &mut Dataset,
        context: &CheckContext<'_>,
        dialogue: &mut Dialogue<'_>,
    ) -> Result<(), TuneError> {
        let labelled = label_of_rows(data).is_some();
        let rows: BTreeMap<usize, &Row> =
            data.rows.iter().filter(|row| !is_preference(row)).map(|row| (row.id, row)).collect();
        let mut asked: BTreeMap<(Option<String>, String), Vec<usize>> = BTreeMap::new();
        for row in rows.values() {
            asked.entry((row.system(), normalised(&row.question()))).or_default().push(row.id);
        }
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for ids in asked.values() {
            let differs = |id: &&usize| !same_answer(rows[*id].answer(), rows[&ids[0]].answer());
            pairs.extend(ids.iter().filter(differs).map(|id| (ids[0], *id)));
        }
        for (a, b) in context.neighbours.pairs(SAME_QUESTION) {
            if let (Some(left), Some(right)) = (rows.get(&a), rows.get(&b))
                && contradict(left.answer(), right.answer(), labelled)
            {
                pairs.push((a, b));
            }
        }
        let Some((a, b)) = pairs.first().copied() else { return Ok(()) };
        let concerned: BTreeSet<usize> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let explanation = format!(
            "{} answer the same question differently, such as \"{}\" with \"{}\" and \"{}\". \
             Where such answers contradict each other the model cannot learn both.",
            count(concerned.len(), "example"),
            excerpt(&rows[&a].question()),
            excerpt(rows[&a].answer()),
            excerpt(rows[&b].answer()),
        );
        let finding = Finding::new("contradictory_answers", Severity::Warning, explanation)
            .at_rows(data.rows.iter().filter(|row| concerned.contains(&row.id)));
        let out = rarer(&pairs, &rows);
        let action =
            format!("Keep the commonest answer to each question and leave out {}", count(out.len(), "example"));
        if dialogue.offer(finding, action, None) {
            data.retain(|row| !out.contains(&row.id));
        }
        Ok(())
    }
}

fn contradict(a: &str, b: &str, labelled: bool) -> bool {
    if labelled {
        return normalised(a) != normalised(b);
    }
    let (left, right) = (normalised(a), normalised(b));
    if left == right || word_overlap(a, b) < SAME_TOPIC {
        return false;
    }
    let denies = |text: &str| {
        text.split(' ').any(|word| NEGATIONS.contains(&word)) || text.contains('不') || text.contains('没')
    };
    numbers(a) != numbers(b) || denies(&left) != denies(&right)
}

/// Of each group of contradicting rows, those whose answer is not the commonest; of equals the first is kept.
fn rarer(pairs: &[(usize, usize)], rows: &BTreeMap<usize, &Row>) -> BTreeSet<usize> {
    let mut groups = Groups::new(pairs.iter().copied());
    let mut members: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for id in pairs.iter().flat_map(|(a, b)| [*a, *b]) {
        members.entry(groups.of(id)).or_default().insert(id);
    }
    // Rows that agree with a member without contradicting anybody count for its answer.
    let mut votes: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in rows.values() {
        *votes.entry((normalised(&row.question()), normalised(row.answer()))).or_default() += 1;
    }
    let mut out = BTreeSet::new();
    for ids in members.values() {
        let mut answers: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for id in ids {
            let row = rows[id];
            let votes = votes[&(normalised(&row.question()), normalised(row.answer()))];
            let entry = answers.entry(normalised(row.answer())).or_insert((0, *id));
            entry.0 += votes;
        }
        let best = answers.iter().max_by_key(|(_, (votes, first))| (*votes, std::cmp::Reverse(*first)));
        let Some((best, _)) = best else { continue };
        out.extend(ids.iter().filter(|id| normalised(rows[*id].answer()) != *best));
    }
    out
}

/// Counts answers that decline, so that a model is not taught to decline everything.
#[derive(Debug)]
pub(in crate::data) struct Refusals;

/// How a refusal begins or what it says in its first words, normalised.
const REFUSALS: [&str; 34] = [
    "i cannot",
    "i can t",
    "i am unable",
    "i m unable",
    "i am not able",
    "i m not able",
    "i do not know",
    "i don t know",
    "i am afraid i",
    "i m afraid i",
    "i won t",
    "i will not",
    "as an ai",
    "as a language model",
    "i do not have information",
    "i don t have information",
    "i do not have enough",
    "i don t have enough",
    "i have no information",
    "cannot answer",
    "can t answer",
    "unable to answer",
    "cannot help with",
    "can t help with",
    "not able to help with",
    "no information about",
    "ich kann nicht",
    "ich weiß nicht",
    "das kann ich nicht",
    "je ne sais pas",
    "je ne peux pas",
    "no puedo ayudar",
    "no lo sé",
    "no sé",
];

/// The same in scripts without spaces.
const REFUSALS_CJK: [&str; 6] = ["我不知道", "无法回答", "我不能", "不能回答", "无法提供", "お答えできません"];

/// Whether an answer declines in its first words.
pub(in crate::data) fn is_refusal(answer: &str) -> bool {
    let start: String = answer.chars().take(120).collect();
    let words = normalised(&start);
    let padded = format!(" {words} ");
    REFUSALS.iter().any(|phrase| padded.contains(&format!(" {phrase} ")))
        || REFUSALS_CJK.iter().any(|phrase| start.contains(phrase))
}

impl Check for Refusals {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let refused: Vec<&Row> = data.training().filter(|row| is_refusal(row.answer())).collect();
        let all = data.training().count();
        let Some(first) = refused.first() else { return Ok(()) };
        let share = refused.len() as f64 / all.max(1) as f64;
        let example = excerpt(first.answer());
        let told = format!("{:.0} % of the answers decline to answer, such as \"{example}\".", share * 100.0);
        let finding = if share > MANY_REFUSALS {
            let advice = format!(
                "Above {:.0} % a model begins to decline what it could answer; add examples that answer.",
                MANY_REFUSALS * 100.0
            );
            Finding::new("refusals", Severity::Warning, format!("{told} {advice}"))
        } else {
            Finding::new("refusals", Severity::Note, told)
        };
        dialogue.note(finding.at_rows(refused.iter().copied()));
        Ok(())
    }
}

/// Finds data that are mostly written in capital letters, which tokenizers cut into more and stranger pieces.
#[derive(Debug)]
pub(in crate::data) struct UpperCase;

impl Check for UpperCase {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let loud: Vec<&Row> = data.rows.iter().filter(|row| row.texts().iter().any(|text| shouts(text))).collect();
        if loud.is_empty() || loud.len() * 3 < data.rows.len() {
            return Ok(());
        }
        let explanation = "More than a third of the examples are written in capital letters, which models read worse.";
        let finding = Finding::new("upper_case", Severity::Warning, explanation).at_rows(loud.iter().copied());
        let text = loud.first().and_then(|row| row.texts().into_iter().find(|text| shouts(text)).map(str::to_owned));
        let sample = text.map(|text| (excerpt(&text), excerpt(&text.to_lowercase())));
        if dialogue.offer(finding, "Write those texts in lower case", sample) {
            for text in data.rows.iter_mut().flat_map(Row::texts_mut) {
                if shouts(text) {
                    *text = text.to_lowercase();
                }
            }
        }
        Ok(())
    }
}

/// Whether most letters of a text of some length are capitals.
fn shouts(text: &str) -> bool {
    const LETTERS: usize = 16;
    let upper = text.chars().filter(|c| c.is_uppercase()).count();
    let lower = text.chars().filter(|c| c.is_lowercase()).count();
    upper + lower >= LETTERS && upper > lower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_answers() {
        for refusal in [
            "I'm sorry, but I can't help with that.",
            "As an AI, I have no taste.",
            "I don't know.",
            "抱歉，我无法回答。",
            "Das kann ich nicht sagen.",
        ] {
            assert!(is_refusal(refusal), "{refusal}");
        }
        for answer in [
            "You can return it within 30 days.",
            "I'm sorry to hear that! Please open the account page.",
            "We open at nine.",
            "请在三十天内退货。",
        ] {
            assert!(!is_refusal(answer), "{answer}");
        }
    }

    #[test]
    fn answers_contradict_by_numbers_negation_or_label() {
        assert!(contradict("We open at 9.", "We open at 10.", false));
        assert!(contradict("You can pay by card.", "You can not pay by card.", false));
        assert!(!contradict("We open at 9.", "At 9 we open.", false));
        assert!(!contradict("Please call the shop.", "Returns take 30 days.", false));
        assert!(contradict("refund", "delivery", true) && !contradict("Refund", "refund", true));
    }

    #[test]
    fn capitals_count_only_in_texts_of_some_length() {
        assert!(shouts("WHERE IS MY ORDER NOW?") && !shouts("BILLING") && !shouts("Where is my order now?"));
    }
}
