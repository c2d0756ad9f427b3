//! Writing a filter as the expression that reads back as the same filter.

use std::fmt::{self, Formatter, Write};

use anser_core::AttributeValue;
use time::UtcOffset;
use time::format_description::well_known::Rfc3339;

use super::Filter;
use super::expression::is_name;
use super::lexer::in_word;

/// What a condition stands in, from loose to tight: decides which ones need parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Or,
    AndOrNot,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write(self, Within::Nothing, f)
    }
}

fn write(filter: &Filter, within: Within, f: &mut Formatter<'_>) -> fmt::Result {
    let compared = |f: &mut Formatter<'_>, key: &str, sign: &str, value: &AttributeValue| {
        name(key, f)?;
        write!(f, " {sign} ")?;
        literal(value, f)
    };
    let listed = |f: &mut Formatter<'_>, key: &str, word: &str, values: &[AttributeValue]| {
        name(key, f)?;
        write!(f, " {word} ")?;
        list(values, literal, f)
    };
    match filter {
        Filter::Eq { key, value } => compared(f, key, "=", value),
        Filter::Ne { key, value } => compared(f, key, "!=", value),
        Filter::Gt { key, value } => compared(f, key, ">", value),
        Filter::Gte { key, value } => compared(f, key, ">=", value),
        Filter::Lt { key, value } => compared(f, key, "<", value),
        Filter::Lte { key, value } => compared(f, key, "<=", value),
        Filter::In { key, value } => listed(f, key, "in", value),
        Filter::Nin { key, value } => listed(f, key, "not in", value),
        Filter::Not { filter } => {
            f.write_str("not ")?;
            write(filter, Within::AndOrNot, f)
        }
        // What joins one condition is that condition; what joins none holds always, or never.
        Filter::And { filters } | Filter::Or { filters } if filters.len() == 1 => {
            filters.iter().try_for_each(|only| write(only, within, f))
        }
        Filter::And { filters } if filters.is_empty() => f.write_str("\"\" not in []"),
        Filter::Or { filters } if filters.is_empty() => f.write_str("\"\" in []"),
        Filter::And { filters } => join(filters, " and ", (Within::AndOrNot, within == Within::AndOrNot), f),
        Filter::Or { filters } => join(filters, " or ", (Within::Or, within != Within::Nothing), f),
    }
}

fn join(filters: &[Filter], word: &str, (inner, closed): (Within, bool), f: &mut Formatter<'_>) -> fmt::Result {
    if closed {
        f.write_char('(')?;
    }
    for (at, filter) in filters.iter().enumerate() {
        if at > 0 {
            f.write_str(word)?;
        }
        write(filter, inner, f)?;
    }
    if closed { f.write_char(')') } else { Ok(()) }
}

fn name(key: &str, f: &mut Formatter<'_>) -> fmt::Result {
    if is_name(key) && key.chars().all(in_word) { f.write_str(key) } else { quoted(key, f) }
}

fn literal(value: &AttributeValue, f: &mut Formatter<'_>) -> fmt::Result {
    match value {
        AttributeValue::Bool(truth) => write!(f, "{truth}"),
        AttributeValue::Integer(whole) => write!(f, "{whole}"),
        // With a decimal point or an exponent, so that it reads as a float.
        AttributeValue::Float(number) => write!(f, "{number:?}"),
        AttributeValue::Time(time) => {
            let text = time.format(&Rfc3339).or_else(|_| time.to_offset(UtcOffset::UTC).format(&Rfc3339));
            f.write_str(&text.unwrap_or_else(|_| time.to_string()))
        }
        AttributeValue::String(text) => quoted(text, f),
        AttributeValue::StringList(texts) => list(texts, |text, f| quoted(text, f), f),
    }
}

fn list<T>(items: &[T], each: impl Fn(&T, &mut Formatter<'_>) -> fmt::Result, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_char('[')?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        each(item, f)?;
    }
    f.write_char(']')
}

fn quoted(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
