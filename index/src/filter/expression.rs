//! Reading the filter expression of the command line.
//!
//! From loosest to tightest: `or`, `and`, `not`. A comparison is a name, an operator (`=` `==` `!=` `<>` `<` `<=` `>` `>=`
//! `in` `not in`) and a value: a number, `true`, `false`, a date, a time in RFC 3339, a text in quotes, or any other word.

use std::str::FromStr;

use anser_core::AttributeValue;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

use super::json::time_or_text;
use super::lexer::{Sign, Token, tokens};
use super::{Filter, FilterPlace, MAX_DEPTH, too_deep};
use crate::{IndexError, Result};

/// Parentheses and `not` that may be open at once: each level of the tree takes at most two.
const MAX_NESTING: usize = 2 * MAX_DEPTH;

/// Words that join conditions and so are neither names nor values.
pub(super) const KEYWORDS: [&str; 4] = ["and", "or", "not", "in"];

impl FromStr for Filter {
    type Err = IndexError;

    /// Reads the expression, or OpenAI's JSON where the text begins with a brace.
    fn from_str(text: &str) -> Result<Self> {
        if text.trim_start().starts_with('{') {
            let json = serde_json::from_str(text)
                .map_err(|e| IndexError::filter(FilterPlace::Whole, format!("it is not valid JSON: {e}")))?;
            return Self::from_json(&json);
        }
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let filter = parser.any(0)?;
        match parser.peek() {
            Token::End => {}
            Token::Close => return Err(parser.wrong("nothing is open that this `)` could close")),
            other => {
                let other = other.describe();
                return Err(parser.wrong(format!("expected `and`, `or` or the end, but found {other}")));
            }
        }
        filter.check_size()?;
        Ok(filter)
    }
}

struct Parser {
    /// With their columns; never empty, the last is [`Token::End`].
    tokens: Vec<(usize, Token)>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let there = self.peek() == wanted;
        self.at += usize::from(there);
        there
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let there = self.peek().is_word(wanted);
        self.at += usize::from(there);
        there
    }

    /// A fault at the next token.
    fn wrong(&self, reason: impl Into<String>) -> IndexError {
        let column = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(column, _)| *column);
        IndexError::filter(FilterPlace::Column(column), reason)
    }

    fn expected(&self, what: &str) -> IndexError {
        self.wrong(format!("expected {what}, but found {}", self.peek().describe()))
    }

    fn any(&mut self, nesting: usize) -> Result<Filter> {
        let mut filters = vec![self.all(nesting)?];
        while self.take_word("or") {
            filters.push(self.all(nesting)?);
        }
        Ok(single(&mut filters).unwrap_or(Filter::Or { filters }))
    }

    fn all(&mut self, nesting: usize) -> Result<Filter> {
        let mut filters = vec![self.one(nesting)?];
        while self.take_word("and") {
            filters.push(self.one(nesting)?);
        }
        Ok(single(&mut filters).unwrap_or(Filter::And { filters }))
    }

    fn one(&mut self, nesting: usize) -> Result<Filter> {
        if nesting > MAX_NESTING {
            return Err(too_deep(FilterPlace::Whole));
        }
        if self.take_word("not") {
            return Ok(Filter::Not { filter: Box::new(self.one(nesting + 1)?) });
        }
        if !self.take(&Token::Open) {
            return self.comparison();
        }
        let filter = self.any(nesting + 1)?;
        if self.take(&Token::Close) { Ok(filter) } else { Err(self.expected("`and`, `or` or `)`")) }
    }

    fn comparison(&mut self) -> Result<Filter> {
        let key = self.key()?;
        match self.peek().clone() {
            Token::Sign(sign) => {
                self.at += 1;
                self.compared(key, sign)
            }
            word if word.is_word("in") => {
                self.at += 1;
                Ok(Filter::In { key, value: self.values()? })
            }
            word if word.is_word("not") => {
                self.at += 1;
                if !self.take_word("in") {
                    return Err(self.expected("`in` after `not`"));
                }
                Ok(Filter::Nin { key, value: self.values()? })
            }
            word if word.is_word("contains") => Err(self
                .wrong("write `=`: a list of texts is equal to each text in it; parts of a text cannot be asked for")),
            _ => Err(self.expected("one of = != < <= > >= in, not in")),
        }
    }

    fn key(&mut self) -> Result<String> {
        let key = match self.peek() {
            Token::Text(text) => text.clone(),
            Token::Word(word) if is_name(word) => word.clone(),
            _ => return Err(self.expected("the name of an attribute, `not` or `(`")),
        };
        self.at += 1;
        Ok(key)
    }

    fn compared(&mut self, key: String, sign: Sign) -> Result<Filter> {
        let listed = *self.peek() == Token::OpenList;
        let value = match sign {
            Sign::Equal | Sign::Unequal if listed => AttributeValue::StringList(self.list(Self::text)?),
            _ if listed => return Err(self.wrong("a list has no order; expected a number, a text or a time")),
            _ => self.value()?,
        };
        Ok(match sign {
            Sign::Equal => Filter::Eq { key, value },
            Sign::Unequal => Filter::Ne { key, value },
            Sign::Less => Filter::Lt { key, value },
            Sign::LessOrEqual => Filter::Lte { key, value },
            Sign::Greater => Filter::Gt { key, value },
            Sign::GreaterOrEqual => Filter::Gte { key, value },
        })
    }

    fn values(&mut self) -> Result<Vec<AttributeValue>> {
        self.list(Self::value)
    }

    /// Values between brackets, or between parentheses as in SQL.
    fn list<T>(&mut self, each: fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let close = match self.peek() {
            Token::OpenList => Token::CloseList,
            Token::Open => Token::Close,
            _ => return Err(self.expected("a list like [\"a\", \"b\"]")),
        };
        self.at += 1;
        let mut found = Vec::new();
        if self.take(&close) {
            return Ok(found);
        }
        loop {
            found.push(each(self)?);
            if self.take(&close) {
                return Ok(found);
            }
            if !self.take(&Token::Comma) {
                return Err(self.expected(&format!("`,` or {}", close.describe())));
            }
        }
    }

    /// A text that is compared as a part of a whole list.
    fn text(&mut self) -> Result<String> {
        if let Token::Text(text) = self.peek().clone() {
            self.at += 1;
            return Ok(text);
        }
        if let AttributeValue::String(text) = self.value()? {
            return Ok(text);
        }
        self.at -= 1;
        Err(self.expected("a text in quotes (`in` compares with any of several values)"))
    }

    fn value(&mut self) -> Result<AttributeValue> {
        match self.peek().clone() {
            Token::Text(text) => {
                self.at += 1;
                Ok(time_or_text(text))
            }
            Token::Word(word) if !is_keyword(&word) => {
                let value = self.bare(word)?;
                self.at += 1;
                Ok(value)
            }
            _ => Err(self.expected("a value: a number, a text, a date, true or false")),
        }
    }

    /// What a word without quotes stands for.
    fn bare(&self, word: String) -> Result<AttributeValue> {
        for (name, truth) in [("true", true), ("false", false)] {
            if word.eq_ignore_ascii_case(name) {
                return Ok(AttributeValue::Bool(truth));
            }
        }
        if word.eq_ignore_ascii_case("null") {
            return Err(self.wrong(
                "expected a value instead of null; documents without the attribute pass `!=` and `not in` and nothing else",
            ));
        }
        if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
            if let Ok(whole) = word.parse() {
                return Ok(AttributeValue::Integer(whole));
            }
            match word.parse::<f64>() {
                Ok(number) if number.is_finite() => return Ok(AttributeValue::Float(number)),
                Ok(_) if word.contains(|c: char| c.is_ascii_digit()) => {
                    return Err(self.wrong("expected a number that fits into 64 bits"));
                }
                _ => {}
            }
        }
        Ok(date(&word).map_or_else(|| time_or_text(word), AttributeValue::Time))
    }
}

/// The only one of a list, which then needs nothing that joins it.
fn single(filters: &mut Vec<Filter>) -> Option<Filter> {
    if filters.len() == 1 { filters.pop() } else { None }
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// Whether a word can stand for an attribute without quotes.
pub(super) fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_') && !is_keyword(word)
}

/// A date is its first moment, a time without a zone is in UTC.
fn date(word: &str) -> Option<OffsetDateTime> {
    let day = format_description!("[year]-[month]-[day]");
    let minute = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let second = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    if let Ok(date) = Date::parse(word, &day) {
        return Some(date.midnight().assume_utc());
    }
    let moment = PrimitiveDateTime::parse(word, &minute).or_else(|_| PrimitiveDateTime::parse(word, &second));
    moment.ok().map(PrimitiveDateTime::assume_utc)
}
