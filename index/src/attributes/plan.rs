//! A filter as what it asks of each type: ranges of numbers, ranges of texts, and how they are joined.

use std::cmp::Ordering;

use anser_core::{AttributeKind, AttributeValue};

use super::texts::{forms_like, is_short, kept};
use crate::Filter;

/// Inclusive ranges of numbers. Booleans are 0 and 1, floats their [`order_key`], times nanoseconds since 1970.
pub(super) type NumberRanges = Vec<(i128, i128)>;

/// A condition, compiled.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plan {
    /// A comparison, or where true the opposite of it.
    Compare(Box<Comparison>, bool),
    And(Vec<Plan>),
    Or(Vec<Plan>),
    Not(Box<Plan>),
}

/// What a comparison lets through, for each type of value.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Comparison {
    pub(super) key: String,
    pub(super) booleans: NumberRanges,
    pub(super) integers: NumberRanges,
    pub(super) floats: NumberRanges,
    pub(super) times: NumberRanges,
    pub(super) texts: TextMatch,
    /// Whether a list passes that has a text of `texts`.
    pub(super) members: bool,
    /// Lists that pass as a whole.
    pub(super) lists: Vec<WholeList>,
}

/// Which texts pass, as kept forms.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TextMatch {
    /// These, ascending and different. Where the second is false, the text is a long one and a row that has this form must
    /// be read.
    Points(Vec<(Vec<u8>, bool)>),
    /// Those from a form on, up to but without another. Rows that have a form of `open` must be read.
    Range { from: Option<Vec<u8>>, to: Option<Vec<u8>>, open: Option<(Vec<u8>, Vec<u8>)> },
}

impl Default for TextMatch {
    fn default() -> Self {
        Self::Points(Vec::new())
    }
}

/// A list that is compared as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WholeList {
    pub(super) forms: Vec<Vec<u8>>,
    /// Whether all its texts are short, so that equal forms are equal texts.
    pub(super) certain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Plan {
    pub(super) fn new(filter: &Filter) -> Self {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
        let one =
            |key: &str, operator, value: &AttributeValue| Comparison::new(key, operator, std::slice::from_ref(value));
        let (comparison, negated) = match filter {
            Filter::Eq { key, value } => (one(key, Equal, value), false),
            Filter::Ne { key, value } => (one(key, Equal, value), true),
            Filter::Gt { key, value } => (one(key, Greater, value), false),
            Filter::Gte { key, value } => (one(key, GreaterOrEqual, value), false),
            Filter::Lt { key, value } => (one(key, Less, value), false),
            Filter::Lte { key, value } => (one(key, LessOrEqual, value), false),
            Filter::In { key, value } => (Comparison::new(key, Equal, value), false),
            Filter::Nin { key, value } => (Comparison::new(key, Equal, value), true),
            Filter::And { filters } => return Self::And(filters.iter().map(Self::new).collect()),
            Filter::Or { filters } => return Self::Or(filters.iter().map(Self::new).collect()),
            Filter::Not { filter } => return Self::Not(Box::new(Self::new(filter))),
        };
        Self::Compare(Box::new(comparison), negated)
    }
}

impl Comparison {
    fn new(key: &str, operator: Operator, values: &[AttributeValue]) -> Self {
        let mut made = Self { key: key.to_owned(), members: operator == Operator::Equal, ..Self::default() };
        let mut points = Vec::new();
        for value in values {
            match value {
                AttributeValue::Bool(truth) => made.booleans.push(range(operator, i128::from(*truth))),
                AttributeValue::Integer(whole) => {
                    made.integers.push(range(operator, i128::from(*whole)));
                    made.floats.extend(floats_beside(operator, *whole));
                }
                AttributeValue::Float(number) if number.is_nan() => {}
                AttributeValue::Float(number) => {
                    made.floats.push(range(operator, i128::from(order_key(*number))));
                    made.integers.extend(integers_beside(operator, *number));
                }
                AttributeValue::Time(time) => made.times.push(range(operator, time.unix_timestamp_nanos())),
                AttributeValue::String(text) if operator == Operator::Equal => {
                    points.push((kept(text).into_owned(), is_short(text)));
                }
                AttributeValue::String(text) => made.texts = text_range(operator, text),
                AttributeValue::StringList(texts) if operator == Operator::Equal => made.lists.push(WholeList {
                    forms: texts.iter().map(|text| kept(text).into_owned()).collect(),
                    certain: texts.iter().all(|text| is_short(text)),
                }),
                AttributeValue::StringList(_) => {}
            }
        }
        if operator == Operator::Equal {
            points.sort_unstable();
            points.dedup();
            made.texts = TextMatch::Points(points);
        }
        for ranges in [&mut made.booleans, &mut made.integers, &mut made.floats, &mut made.times] {
            *ranges = joined(std::mem::take(ranges));
        }
        made
    }

    /// The ranges for values of a numeric type; `None` for texts and lists.
    pub(super) fn ranges(&self, kind: AttributeKind) -> Option<&NumberRanges> {
        match kind {
            AttributeKind::Bool => Some(&self.booleans),
            AttributeKind::Integer => Some(&self.integers),
            AttributeKind::Float => Some(&self.floats),
            AttributeKind::Time => Some(&self.times),
            AttributeKind::String | AttributeKind::StringList => None,
        }
    }
}

fn range(operator: Operator, value: i128) -> (i128, i128) {
    match operator {
        Operator::Equal => (value, value),
        Operator::Greater => (value.saturating_add(1), i128::MAX),
        Operator::GreaterOrEqual => (value, i128::MAX),
        Operator::Less => (i128::MIN, value.saturating_sub(1)),
        Operator::LessOrEqual => (i128::MIN, value),
    }
}

/// The same number for every zero, and larger ones for larger floats.
pub(super) fn order_key(number: f64) -> i64 {
    let bits = (number + 0.0).to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The floats that stand so to a whole number, which may lie between two of them.
fn floats_beside(operator: Operator, whole: i64) -> Option<(i128, i128)> {
    let nearest = whole as f64;
    let key = i128::from(order_key(nearest));
    // A float of at most 2^63 is an i128 exactly.
    let beside = (nearest as i128).cmp(&i128::from(whole));
    Some(match (operator, beside) {
        (_, Ordering::Equal) => range(operator, key),
        (Operator::Equal, _) => return None,
        (Operator::Greater | Operator::GreaterOrEqual, Ordering::Greater) => (key, i128::MAX),
        (Operator::Greater | Operator::GreaterOrEqual, Ordering::Less) => (key + 1, i128::MAX),
        (Operator::Less | Operator::LessOrEqual, Ordering::Greater) => (i128::MIN, key - 1),
        (Operator::Less | Operator::LessOrEqual, Ordering::Less) => (i128::MIN, key),
    })
}

/// The whole numbers that stand so to a float. Conversion saturates, which is as good as infinity here.
fn integers_beside(operator: Operator, number: f64) -> Option<(i128, i128)> {
    let (floor, ceiling) = (number.floor() as i128, number.ceil() as i128);
    Some(match operator {
        Operator::Equal if floor == ceiling => (floor, floor),
        Operator::Equal => return None,
        Operator::Greater => (floor.saturating_add(1), i128::MAX),
        Operator::GreaterOrEqual => (ceiling, i128::MAX),
        Operator::Less => (i128::MIN, ceiling.saturating_sub(1)),
        Operator::LessOrEqual => (i128::MIN, floor),
    })
}

fn text_range(operator: Operator, text: &str) -> TextMatch {
    let upwards = matches!(operator, Operator::Greater | Operator::GreaterOrEqual);
    // The form that comes next after any other is the same with a zero byte more.
    let after = |mut form: Vec<u8>| {
        form.push(0);
        form
    };
    let (from, to, open) = if is_short(text) {
        let form = text.as_bytes().to_vec();
        match operator {
            Operator::Greater => (Some(after(form)), None, None),
            Operator::GreaterOrEqual | Operator::Equal => (Some(form), None, None),
            Operator::LessOrEqual => (None, Some(after(form)), None),
            Operator::Less => (None, Some(form), None),
        }
    } else {
        let (low, high) = forms_like(text);
        let open = Some((low.clone(), high.clone()));
        if upwards { (Some(after(high)), None, open) } else { (None, Some(low), open) }
    };
    TextMatch::Range { from, to, open }
}

/// The same numbers in disjoint ranges, ascending.
fn joined(mut ranges: NumberRanges) -> NumberRanges {
    ranges.retain(|(low, high)| low <= high);
    ranges.sort_unstable();
    let mut made: NumberRanges = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match made.last_mut() {
            Some((_, last)) if low <= last.saturating_add(1) => *last = high.max(*last),
            _ => made.push((low, high)),
        }
    }
    made
}
