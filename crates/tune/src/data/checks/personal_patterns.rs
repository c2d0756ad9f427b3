//! Where a text names a person's e-mail address, phone number, payment card, bank account or national id.

use std::ops::Range;

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PersonalKind {
    Email,
    Iban,
    Card,
    NationalId,
    Phone,
}

impl PersonalKind {
    pub(super) const ALL: [Self; 5] = [Self::Email, Self::Iban, Self::Card, Self::NationalId, Self::Phone];

    /// The finding's id, its name for people, and what masks it.
    pub(super) fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Email => ("personal_email", "e-mail addresses", "[email]"),
            Self::Iban => ("personal_iban", "bank accounts (IBAN)", "[account]"),
            Self::Card => ("personal_card", "payment card numbers", "[card]"),
            Self::NationalId => ("personal_id", "numbers that look like national ids", "[id]"),
            Self::Phone => ("personal_phone", "phone numbers", "[phone]"),
        }
    }
}

/// All personal data in `text` with their places in bytes, in order, none overlapping another.
pub(super) fn find_personal(text: &str) -> Vec<(Range<usize>, PersonalKind)> {
    let mut found: Vec<(Range<usize>, PersonalKind)> = Vec::new();
    // Looked for from the surest kind to the least sure, so that a card is no phone number.
    for kind in PersonalKind::ALL {
        let ranges = match kind {
            PersonalKind::Email => emails(text),
            PersonalKind::Iban => codes(text, is_iban),
            PersonalKind::NationalId => codes(text, is_national_id),
            PersonalKind::Card => digit_runs(text).into_iter().filter(|r| is_card(&text[r.clone()])).collect(),
            PersonalKind::Phone => digit_runs(text).into_iter().filter(|r| is_phone(text, r)).collect(),
        };
        for range in ranges {
            if found.iter().all(|(other, _)| range.end <= other.start || other.end <= range.start) {
                found.push((range, kind));
            }
        }
    }
    found.sort_by_key(|(range, _)| range.start);
    found
}

/// `local@domain.tld`, by the signs that each part may hold.
fn emails(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let local = |b: u8| b.is_ascii_alphanumeric() || b"._%+-".contains(&b);
    let host = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        let start = (0..at).rev().take_while(|i| local(bytes[*i])).last().unwrap_or(at);
        let mut end = (at + 1..bytes.len()).take_while(|i| host(bytes[*i])).last().map_or(at, |i| i + 1);
        while end > at + 1 && matches!(bytes[end - 1], b'.' | b'-') {
            end -= 1;
        }
        let domain = &text[(at + 1).min(end)..end];
        let known_end = domain.rsplit_once('.').is_some_and(|(name, tld)| {
            !name.is_empty() && !name.starts_with('.') && tld.len() >= 2 && tld.bytes().all(|b| b.is_ascii_alphabetic())
        });
        if start < at && known_end {
            found.push(start..end);
        }
    }
    found
}

/// Runs of digits with the signs that group them: spaces, hyphens, dots, slashes, brackets and a leading plus.
fn digit_runs(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut runs = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let opens = bytes[at].is_ascii_digit()
            || (matches!(bytes[at], b'+' | b'(')
                && bytes.get(at + 1).is_some_and(|b| b.is_ascii_digit() || *b == b'('));
        let before = at.checked_sub(1).map(|i| bytes[i]);
        // A number that goes on from a letter or a decimal point is a part of something else.
        if !opens || before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'#') {
            at += 1;
            continue;
        }
        let (mut end, mut last_digit, mut signs) = (at, at, 0);
        while let Some(b) = bytes.get(end) {
            if b.is_ascii_digit() {
                (last_digit, signs) = (end, 0);
            } else if end > at && b" -./()".contains(b) && signs < 2 || end == at {
                signs += 1;
            } else {
                break;
            }
            end += 1;
        }
        let end = last_digit + 1;
        let goes_on = bytes.get(end).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'%' || *b == b'_');
        if !goes_on && end > at + 1 {
            runs.push(at..end);
        }
        at = end.max(at + 1);
    }
    runs
}

fn digits_of(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// Lengths of the digit groups of a run.
fn groups_of(run: &str) -> Vec<usize> {
    run.split(|c: char| !c.is_ascii_digit()).map(str::len).filter(|n| *n > 0).collect()
}

/// 13 to 19 digits in groups of at most four or in one, with a valid Luhn check digit (ISO/IEC 7812-1).
fn is_card(run: &str) -> bool {
    let digits = digits_of(run);
    let grouped = !run.contains(['.', '/', '(', '+']) && {
        let groups = groups_of(run);
        groups.len() == 1 || groups.iter().all(|n| (3..=6).contains(n))
    };
    (13..=19).contains(&digits.len()) && grouped && matches!(digits.first(), Some(2..=6)) && luhn(&digits)
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

/// Runs of capital letters and digits, with single spaces or hyphens between their groups, that `accept` knows.
fn codes(text: &str, accept: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let part = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    let mut found: Vec<Range<usize>> = Vec::new();
    for start in 0..bytes.len() {
        let inside = start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || bytes[start - 1] == b'-');
        if !part(bytes[start]) || inside || found.last().is_some_and(|last| start < last.end) {
            continue;
        }
        let mut ends = Vec::new();
        for end in start + 1..=bytes.len().min(start + 45) {
            let (last, next) = (bytes[end - 1], bytes.get(end).copied());
            let joins = matches!(last, b' ' | b'-') && part(bytes[end - 2]);
            if !part(last) && !joins {
                break;
            }
            if part(last) && !next.is_some_and(|b| b.is_ascii_alphanumeric()) {
                ends.push(end);
            }
        }
        // The longest text that fits, since a code may have groups.
        if let Some(end) = ends.into_iter().rev().find(|end| accept(&text[start..*end])) {
            found.push(start..end);
        }
    }
    found
}

/// Two letters, two check digits and 11 to 30 letters or digits, with remainder 1 modulo 97 (ISO 13616).
fn is_iban(code: &str) -> bool {
    let compact: Vec<u8> = code.bytes().filter(|b| *b != b' ').collect();
    if !(15..=34).contains(&compact.len()) || compact.contains(&b'-') {
        return false;
    }
    let (head, tail) = compact.split_at(4);
    if !head[..2].iter().all(u8::is_ascii_uppercase) || !head[2..].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let remainder = tail.iter().chain(head).fold(0u32, |sum, b| match b {
        b'0'..=b'9' => (sum * 10 + u32::from(b - b'0')) % 97,
        letter => (sum * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    remainder == 1
}

/// Numbers with the form, and where there is one the check digit, of a US, Chinese, British or Spanish national id.
fn is_national_id(code: &str) -> bool {
    let bytes = code.as_bytes();
    let form: String = code
        .chars()
        .map(|c| {
            if c.is_ascii_digit() {
                '9'
            } else if c.is_ascii_uppercase() {
                'A'
            } else {
                c
            }
        })
        .collect();
    let digits = digits_of(code);
    let number = |range: Range<usize>| digits.get(range).unwrap_or_default().iter().fold(0u32, |n, d| n * 10 + d);
    match form.as_str() {
        // Social security number: no area 000, 666 or 900 and above, no group 00, no serial 0000.
        "999-99-9999" => !matches!(number(0..3), 0 | 666 | 900..) && number(3..5) != 0 && number(5..9) != 0,
        // Chinese resident id (GB 11643): region, birth date, serial and an ISO 7064 check character.
        "999999999999999999" | "99999999999999999A" => {
            let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
            let sum: u32 = digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum();
            let check = b"10X98765432"[(sum % 11) as usize];
            let (year, month, day) = (number(6..10), number(10..12), number(12..14));
            bytes.last() == Some(&check)
                && (1900..=2100).contains(&year)
                && (1..=12).contains(&month)
                && (1..=31).contains(&day)
        }
        // National insurance number.
        "AA999999A" | "AA 99 99 99 A" => {
            !matches!(bytes[0], b'D' | b'F' | b'I' | b'Q' | b'U' | b'V')
                && !matches!(bytes[1], b'D' | b'F' | b'I' | b'O' | b'Q' | b'U' | b'V')
                && matches!(bytes.last(), Some(b'A'..=b'D'))
        }
        // DNI: the letter is the number modulo 23.
        "99999999A" => bytes.last() == Some(&b"TRWAGMYFPDXBNJZSQVHLCKE"[(number(0..8) % 23) as usize]),
        _ => false,
    }
}

/// Words after which a number is a phone number even without groups.
const CUES: [&str; 10] = ["phone", "tel", "mobile", "cell", "whatsapp", "fax", "telefon", "call", "电话", "手机"];

fn is_phone(text: &str, run: &Range<usize>) -> bool {
    let number = &text[run.clone()];
    let digits = digits_of(number);
    let groups = groups_of(number);
    if !(7..=15).contains(&digits.len()) || looks_like_date(&groups, number) {
        return false;
    }
    if number.starts_with('+') {
        return digits.len() >= 8;
    }
    let before: String = text[..run.start].chars().rev().take(14).collect::<Vec<_>>().into_iter().rev().collect();
    let before = before.to_lowercase();
    if CUES.iter().any(|cue| before.contains(cue)) {
        return true;
    }
    // North American and Chinese mobile numbers, and national ones with the zero that others dial first.
    matches!(groups.as_slice(), [3, 3, 4] | [1, 3, 3, 4])
        || (digits.len() == 11
            && digits.first() == Some(&1)
            && matches!(digits.get(1), Some(3..=9))
            && matches!(groups.as_slice(), [11] | [3, 4, 4]))
        || (number.starts_with(['0', '(']) && groups.len() >= 2 && digits.len() >= 9 && groups.iter().all(|n| *n <= 8))
}

fn looks_like_date(groups: &[usize], number: &str) -> bool {
    let date = matches!(groups, [4, 2, 2, ..] | [1 | 2, 1 | 2, 4, ..]);
    // A social security number that is not valid is no phone number either.
    groups == [3, 2, 4] || date && !number.starts_with(['+', '(']) || groups.iter().all(|n| *n <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PersonalKind::{Card, Email, Iban, NationalId, Phone};
    use proptest::prelude::*;

    #[test]
    fn each_kind_is_found_where_it_stands() {
        let cases = [
            ("Write to jane.doe+x@mail.example.org.", Email, "jane.doe+x@mail.example.org"),
            ("我的邮箱是zhang@example.cn，谢谢", Email, "zhang@example.cn"),
            ("Card 4111 1111 1111 1111 please", Card, "4111 1111 1111 1111"),
            ("5500005555555559", Card, "5500005555555559"),
            ("IBAN DE89 3704 0044 0532 0130 00, thanks", Iban, "DE89 3704 0044 0532 0130 00"),
            ("GB82WEST12345698765432", Iban, "GB82WEST12345698765432"),
            ("My SSN is 536-22-8726.", NationalId, "536-22-8726"),
            ("身份证11010519491231002X。", NationalId, "11010519491231002X"),
            ("NINO AB123456C", NationalId, "AB123456C"),
            ("DNI 12345678Z", NationalId, "12345678Z"),
            ("Call +49 (0)30 901820 now", Phone, "+49 (0)30 901820"),
            ("at 555-867-5309?", Phone, "555-867-5309"),
            ("(020) 7946 0958", Phone, "(020) 7946 0958"),
            ("我的手机号是13812345678。", Phone, "13812345678"),
            ("phone: 8675309", Phone, "8675309"),
        ];
        for (text, kind, part) in cases {
            let found: Vec<_> = find_personal(text).into_iter().map(|(range, kind)| (&text[range], kind)).collect();
            assert_eq!(found, [(part, kind)], "{text}");
        }
    }

    #[test]
    fn other_numbers_and_signs_are_left_alone() {
        for text in [
            "Order 20240615 on 2024-06-15 at 10:30",
            "01.02.2024 or 1/2/2024",
            "It costs 1.299,00 euros",
            "Version 1.2.3.4",
            "3 to 5 working days",
            "4111 1111 1111 1112",
            "DE89 3704 0044 0532 0130 01",
            "000-12-3456",
            "@home and user@localhost",
            "Order number 123456789012",
            "ISBN 978-3-16-148410-0",
            "10 000 000 people in 2024",
            "{{Order Number}}",
            "#1234567",
            "A1B2C3D4",
            "SKU 100200300",
            "99.95 %",
        ] {
            assert_eq!(find_personal(text), [], "{text}");
        }
    }

    proptest! {
        #[test]
        fn places_lie_on_characters_and_apart(text in "[0-9A-Z@. +()/-éx问]{0,60}") {
            let mut last = 0;
            for (range, _) in find_personal(&text) {
                prop_assert!(range.start >= last && range.end > range.start && text.get(range.clone()).is_some());
                last = range.end;
            }
        }
    }
}
