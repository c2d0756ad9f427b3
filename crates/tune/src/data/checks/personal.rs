//! Personal data in examples: a tuned model may repeat what it has seen to anybody.

use std::collections::BTreeMap;

use super::super::dataset::{Dataset, Row};
use super::super::dialogue::{Dialogue, Finding, Severity, count};
use super::personal_patterns::{PersonalKind, find_personal};
use super::{Check, CheckContext};
use crate::TuneError;

/// Examples from which a recurring address or number counts as the organisation's own.
const OWN: usize = 5;

/// Local parts of addresses that belong to a desk and to nobody.
const DESKS: [&str; 34] = [
    "accounts",
    "admin",
    "billing",
    "bookings",
    "business",
    "careers",
    "claims",
    "contact",
    "damage",
    "enquiries",
    "feedback",
    "hello",
    "help",
    "helpdesk",
    "info",
    "jobs",
    "legal",
    "mail",
    "marketing",
    "noreply",
    "office",
    "orders",
    "press",
    "privacy",
    "refunds",
    "repairs",
    "reservations",
    "returns",
    "sales",
    "service",
    "shop",
    "support",
    "team",
    "warranty",
];

/// Beginnings of numbers that are free to call, and so nobody's at home.
const FREE_NUMBERS: [&str; 9] = ["0800", "0808", "00800", "1800", "1833", "1844", "1855", "1866", "1888"];

/// Finds e-mail addresses, phone numbers, payment cards, bank accounts and national ids. Addresses of a desk (`help@`),
/// numbers that are free to call, and what recurs in many examples are the organisation's own and kept.
#[derive(Debug)]
pub(in crate::data) struct PersonalData;

impl Check for PersonalData {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let own = recurring(data);
        for kind in PersonalKind::ALL {
            let (id, name, mask) = kind.words();
            let mut number = 0;
            let mut concerned: Vec<&Row> = Vec::new();
            for row in &data.rows {
                let here: usize = row.texts().iter().map(|text| private(text, kind, &own).len()).sum();
                number += here;
                if here > 0 {
                    concerned.push(row);
                }
            }
            if concerned.is_empty() {
                continue;
            }
            let kept = own.values().filter(|own| **own == kind).count();
            let kept = if kept == 0 {
                String::new()
            } else {
                format!(
                    " {} in {OWN} or more examples and was taken for your own.",
                    if kept == 1 { "One recurs".to_owned() } else { format!("{kept} recur") }
                )
            };
            let explanation =
                format!("The texts hold {name}, {number} in all; a tuned model may repeat them to anybody.{kept}");
            let finding = Finding::new(id, Severity::Warning, explanation).at_rows(concerned.iter().copied());
            if dialogue.offer(finding, format!("Replace {} by {mask}", count(number, "place")), None) {
                for text in data.rows.iter_mut().flat_map(Row::texts_mut) {
                    for range in private(text, kind, &own).into_iter().rev() {
                        text.replace_range(range, mask);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Places of one kind in a text that are not the organisation's own.
fn private(text: &str, kind: PersonalKind, own: &BTreeMap<String, PersonalKind>) -> Vec<std::ops::Range<usize>> {
    find_personal(text)
        .into_iter()
        .filter(|(range, found)| {
            let value = &text[range.clone()];
            *found == kind && !is_desk(value, kind) && !own.contains_key(&key(value))
        })
        .map(|(range, _)| range)
        .collect()
}

fn is_desk(value: &str, kind: PersonalKind) -> bool {
    match kind {
        PersonalKind::Email => {
            let local = value.split('@').next().unwrap_or_default().to_lowercase();
            DESKS.contains(&local.replace(['-', '_', '.'], "").as_str())
        }
        PersonalKind::Phone => {
            let digits: String = value.chars().filter(char::is_ascii_digit).collect();
            FREE_NUMBERS.iter().any(|free| digits.starts_with(free))
        }
        _ => false,
    }
}

/// Addresses and phone numbers that stand in many examples.
fn recurring(data: &Dataset) -> BTreeMap<String, PersonalKind> {
    let mut seen: BTreeMap<String, (PersonalKind, usize, usize)> = BTreeMap::new();
    for row in &data.rows {
        for text in row.texts() {
            for (range, kind) in find_personal(text) {
                if matches!(kind, PersonalKind::Email | PersonalKind::Phone) {
                    let entry = seen.entry(key(&text[range])).or_insert((kind, 0, usize::MAX));
                    if entry.2 != row.id {
                        (entry.1, entry.2) = (entry.1 + 1, row.id);
                    }
                }
            }
        }
    }
    seen.into_iter().filter(|(_, (_, rows, _))| *rows >= OWN).map(|(text, (kind, _, _))| (text, kind)).collect()
}

fn key(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric() || *c == '@').flat_map(char::to_lowercase).collect()
}
