//! The types of columns: found in the first rows, then applied to all of them.

use anser_core::{AttributeKind, AttributeValue};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::source::RawValue;

/// Words that stand for "no value" in columns of numbers, times and truth values. In a column of text they are text.
const NULL_WORDS: [&str; 6] = ["nan", "null", "none", "na", "n/a", "-"];

/// What a value becomes in its column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Typed {
    /// A value of the column's type (a fraction in a column of integers stays a fraction).
    Value(AttributeValue),
    /// Nothing.
    Absent,
    /// The value is not of the column's type.
    Misfit,
}

/// The type that all of `values` have, [`AttributeKind::String`] when they differ; `None` when all are missing.
pub(super) fn infer<'a>(values: impl Iterator<Item = &'a RawValue> + Clone) -> Option<AttributeKind> {
    // Lists of numbers are no attributes.
    let mut present = values.filter(|value| !matches!(value, RawValue::Missing | RawValue::Numbers(_))).peekable();
    present.peek()?;
    let narrow = [
        AttributeKind::Bool,
        AttributeKind::Integer,
        AttributeKind::Float,
        AttributeKind::Time,
        AttributeKind::StringList,
    ];
    let voters: Vec<&RawValue> = present.filter(|value| !is_null_word(value)).collect();
    if voters.is_empty() {
        return Some(AttributeKind::String);
    }
    let has_list = voters.iter().any(|value| matches!(value, RawValue::List(_)));
    let fits = |kind: AttributeKind| {
        voters.iter().all(|value| match (kind, parse(value, kind)) {
            (AttributeKind::Integer, Some(AttributeValue::Float(_))) | (_, None) => false,
            (_, Some(_)) => true,
        })
    };
    let found = narrow.into_iter().find(|kind| (*kind != AttributeKind::StringList || has_list) && fits(*kind));
    Some(found.unwrap_or(AttributeKind::String))
}

/// The type of a column that turned up after the first rows: text stays text, typed values keep their type.
pub(super) fn kind_of_late_column(value: &RawValue) -> Option<AttributeKind> {
    Some(match value {
        RawValue::Missing | RawValue::Numbers(_) => return None,
        RawValue::Text(_) | RawValue::String(_) => AttributeKind::String,
        RawValue::Bool(_) => AttributeKind::Bool,
        RawValue::Integer(_) => AttributeKind::Integer,
        RawValue::Float(_) => AttributeKind::Float,
        RawValue::Time(_) => AttributeKind::Time,
        RawValue::List(_) => AttributeKind::StringList,
    })
}

/// `value` as a value of a column of `kind`.
pub(super) fn coerce(value: RawValue, kind: AttributeKind) -> Typed {
    if matches!(value, RawValue::Missing | RawValue::Numbers(_)) {
        return Typed::Absent;
    }
    if kind == AttributeKind::String {
        return Typed::Value(AttributeValue::String(match value {
            RawValue::Text(text) | RawValue::String(text) => text,
            other => render(&other),
        }));
    }
    if is_null_word(&value) {
        return Typed::Absent;
    }
    parse(&value, kind).map_or(Typed::Misfit, Typed::Value)
}

/// The value as text: what ids, titles and columns of text show.
pub(super) fn render(value: &RawValue) -> String {
    match value {
        RawValue::Missing | RawValue::Numbers(_) => String::new(),
        RawValue::Text(text) | RawValue::String(text) => text.clone(),
        RawValue::Bool(v) => v.to_string(),
        RawValue::Integer(v) => v.to_string(),
        RawValue::Float(v) => v.to_string(),
        RawValue::Time(v) => v.format(&Rfc3339).unwrap_or_else(|_| v.to_string()),
        RawValue::List(items) => serde_json::to_string(items).unwrap_or_default(),
    }
}

fn is_null_word(value: &RawValue) -> bool {
    matches!(value, RawValue::Text(text) if NULL_WORDS.iter().any(|word| text.trim().eq_ignore_ascii_case(word)))
}

/// `value` read as `kind`; `None` when it is something else. Text that a format marks as text is only ever read as a
/// time: there is no other way to write one in JSON.
fn parse(value: &RawValue, kind: AttributeKind) -> Option<AttributeValue> {
    use AttributeKind as K;
    use AttributeValue as V;
    match (kind, value) {
        (K::Bool, RawValue::Bool(v)) => Some(V::Bool(*v)),
        (K::Bool, RawValue::Text(text)) => match text.trim() {
            text if text.eq_ignore_ascii_case("true") => Some(V::Bool(true)),
            text if text.eq_ignore_ascii_case("false") => Some(V::Bool(false)),
            _ => None,
        },
        (K::Integer, RawValue::Integer(v)) => Some(V::Integer(*v)),
        (K::Integer, RawValue::Text(text)) => {
            parse_integer(text).map(V::Integer).or_else(|| parse_float(text).map(V::Float))
        }
        (K::Float, RawValue::Integer(v)) => Some(V::Float(*v as f64)),
        (K::Integer | K::Float, RawValue::Float(v)) => Some(V::Float(*v)),
        (K::Float, RawValue::Text(text)) => parse_float(text).map(V::Float),
        (K::Time, RawValue::Time(v)) => Some(V::Time(*v)),
        (K::Time, RawValue::Text(text) | RawValue::String(text)) => parse_time(text).map(V::Time),
        (K::StringList, RawValue::List(items)) => Some(V::StringList(items.clone())),
        (K::StringList, RawValue::Text(text) | RawValue::String(text)) => Some(V::StringList(vec![text.clone()])),
        _ => None,
    }
}

/// Digits with a sign. Leading zeros mark codes (postcodes, article numbers), which are not numbers.
fn parse_integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A finite decimal number. Integers too large for 64 bits are refused: as floats they would lose digits.
fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let code = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    let huge = digits.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i64>().is_err();
    if !plain || code || huge {
        return None;
    }
    text.parse::<f64>().ok().filter(|v| v.is_finite())
}

/// RFC 3339, or a date with or without a time (then UTC): `2026-01-31`, `2026-01-31 12:30`, `2026-01-31T12:30:00.5`.
fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let date = Date::parse(text.get(..10)?, format_description!("[year]-[month]-[day]")).ok()?;
    let Some(clock) = text.get(10..).filter(|rest| !rest.is_empty()) else {
        return Some(date.midnight().assume_utc());
    };
    let clock = clock.strip_prefix(['T', 't', ' '])?.trim_start();
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at_checked(zone_at)?;
    let clock = clock.trim_end();
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    let zone = match zone {
        "" => "Z".to_owned(),
        short if short.len() == 3 => format!("{short}:00"),
        whole => whole.to_uppercase(),
    };
    OffsetDateTime::parse(&format!("{}T{clock}{seconds}{zone}", text.get(..10)?), &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(values: &[&str]) -> Option<AttributeKind> {
        let values: Vec<RawValue> = values
            .iter()
            .map(|v| if v.is_empty() { RawValue::Missing } else { RawValue::Text((*v).to_owned()) })
            .collect();
        infer(values.iter())
    }

    #[test]
    fn kinds_are_found_in_text() {
        assert_eq!(kind(&["1", "", "-20"]), Some(AttributeKind::Integer));
        assert_eq!(kind(&["1", "2.5", "1e3"]), Some(AttributeKind::Float));
        assert_eq!(kind(&["True", "false", "NaN"]), Some(AttributeKind::Bool));
        assert_eq!(
            kind(&["2026-01-31", "2026-01-31 08:00", "2026-01-31T08:00:00.25+02:00"]),
            Some(AttributeKind::Time)
        );
        assert_eq!(kind(&["1", "one"]), Some(AttributeKind::String));
        assert_eq!(kind(&["", ""]), None);
        assert_eq!(kind(&["null", "NaN"]), Some(AttributeKind::String));
    }

    #[test]
    fn codes_and_huge_integers_stay_text() {
        assert_eq!(kind(&["01234", "56789"]), Some(AttributeKind::String));
        assert_eq!(kind(&["12345678901234567890"]), Some(AttributeKind::String));
        assert_eq!(kind(&["inf", "1.0"]), Some(AttributeKind::String));
        assert_eq!(kind(&["0", "0.5", "-0.25"]), Some(AttributeKind::Float));
        assert_eq!(kind(&["2026-13-01"]), Some(AttributeKind::String));
    }

    #[test]
    fn json_text_is_a_time_or_text() {
        let text = |v: &str| RawValue::String(v.to_owned());
        assert_eq!(infer([text("5"), text("6")].iter()), Some(AttributeKind::String));
        assert_eq!(infer([text("2026-01-31T00:00:00Z")].iter()), Some(AttributeKind::Time));
        let mixed = [RawValue::List(vec!["a".to_owned()]), text("b")];
        assert_eq!(infer(mixed.iter()), Some(AttributeKind::StringList));
        assert_eq!(infer([RawValue::Integer(1), RawValue::Float(0.5)].iter()), Some(AttributeKind::Float));
    }

    #[test]
    fn times_are_instants() {
        let expected = OffsetDateTime::from_unix_timestamp(1_769_860_800).unwrap();
        for text in ["2026-01-31T12:00:00Z", "2026-01-31 12:00", "2026-01-31 13:00:00+01:00", "2026-01-31 13:00:00 +01"]
        {
            assert_eq!(parse_time(text), Some(expected), "{text}");
        }
        assert_eq!(parse_time("2026-01-31").unwrap().unix_timestamp(), 1_769_817_600);
        for text in ["", "2026-01-3", "2026-01-31x", "2026-01-31 25:00", "二〇二六年一月三十一日"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn misfits_are_told_from_absent_values() {
        let text = |v: &str| RawValue::Text(v.to_owned());
        assert_eq!(coerce(text("abc"), AttributeKind::Integer), Typed::Misfit);
        assert_eq!(coerce(text("n/a"), AttributeKind::Integer), Typed::Absent);
        assert_eq!(coerce(text("4.5"), AttributeKind::Integer), Typed::Value(AttributeValue::Float(4.5)));
        assert_eq!(
            coerce(RawValue::Integer(4), AttributeKind::String),
            Typed::Value(AttributeValue::String("4".into()))
        );
    }
}
