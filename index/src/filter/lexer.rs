//! The words and signs of a filter expression, each with its column.

use anser_core::excerpt;

use super::FilterPlace;
use crate::{IndexError, Result};

/// Longest expression, in bytes.
const MAX_BYTES: usize = 1 << 18;

/// One piece of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Letters and digits without quotes.
    Word(String),
    /// What stood between quotes.
    Text(String),
    /// An operator made of signs.
    Sign(Sign),
    /// `(`
    Open,
    /// `)`
    Close,
    /// `[`
    OpenList,
    /// `]`
    CloseList,
    /// `,`
    Comma,
    /// Nothing is left.
    End,
}

/// A comparison written with signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Token {
    /// What messages call it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(word) => format!("`{}`", excerpt(word, 40)),
            Self::Text(text) => format!("\"{}\"", excerpt(text, 40)),
            Self::Sign(_) => "an operator".to_owned(),
            Self::Open => "`(`".to_owned(),
            Self::Close => "`)`".to_owned(),
            Self::OpenList => "`[`".to_owned(),
            Self::CloseList => "`]`".to_owned(),
            Self::Comma => "`,`".to_owned(),
            Self::End => "the end".to_owned(),
        }
    }

    /// Whether it is this word, in any case.
    pub(super) fn is_word(&self, wanted: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(wanted))
    }
}

/// Whether a character may stand in a word without quotes.
pub(super) fn in_word(c: char) -> bool {
    c.is_alphanumeric() || "_-./:+@#%$".contains(c)
}

fn wrong(column: usize, reason: impl Into<String>) -> IndexError {
    IndexError::filter(FilterPlace::Column(column), reason)
}

/// Characters with their columns, and the next one to be read.
struct Characters<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    column: usize,
}

impl Characters<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.column += usize::from(next.is_some());
        next
    }

    /// Takes the next character if it is this one.
    fn take(&mut self, wanted: char) -> bool {
        let there = self.rest.peek() == Some(&wanted);
        if there {
            self.next();
        }
        there
    }
}

/// All pieces of `text` with the columns at which they begin, from 1; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    if text.len() > MAX_BYTES {
        let reason = format!("it is longer than {MAX_BYTES} bytes; split the query");
        return Err(IndexError::filter(FilterPlace::Whole, reason));
    }
    let mut characters = Characters { rest: text.chars().peekable(), column: 1 };
    let mut found = Vec::new();
    loop {
        let column = characters.column;
        let Some(c) = characters.next() else {
            found.push((column, Token::End));
            return Ok(found);
        };
        if c.is_whitespace() {
            continue;
        }
        found.push((column, token(c, column, &mut characters)?));
    }
}

fn token(first: char, column: usize, characters: &mut Characters<'_>) -> Result<Token> {
    Ok(match first {
        '(' => Token::Open,
        ')' => Token::Close,
        '[' => Token::OpenList,
        ']' => Token::CloseList,
        ',' => Token::Comma,
        '=' => {
            characters.take('=');
            Token::Sign(Sign::Equal)
        }
        '!' if characters.take('=') => Token::Sign(Sign::Unequal),
        '!' => return Err(wrong(column, "expected `!=`; write `not` before a condition")),
        '<' if characters.take('=') => Token::Sign(Sign::LessOrEqual),
        '<' if characters.take('>') => Token::Sign(Sign::Unequal),
        '<' => Token::Sign(Sign::Less),
        '>' if characters.take('=') => Token::Sign(Sign::GreaterOrEqual),
        '>' => Token::Sign(Sign::Greater),
        '"' | '\'' => Token::Text(quoted(first, column, characters)?),
        c if in_word(c) => {
            let mut word = String::from(c);
            while let Some(c) = characters.rest.peek().copied().filter(|c| in_word(*c)) {
                word.push(c);
                characters.next();
            }
            Token::Word(word)
        }
        '&' => return Err(wrong(column, "expected `and` instead of `&`")),
        '|' => return Err(wrong(column, "expected `or` instead of `|`")),
        other => {
            let shown = excerpt(&other.to_string(), 1);
            return Err(wrong(
                column,
                format!("`{shown}` cannot stand outside of quotes; put names and texts with it in quotes"),
            ));
        }
    })
}

fn quoted(quote: char, start: usize, characters: &mut Characters<'_>) -> Result<String> {
    let mut text = String::new();
    loop {
        let column = characters.column;
        match characters.next() {
            None => return Err(wrong(start, format!("expected a closing {quote} for the text that begins here"))),
            Some(c) if c == quote => return Ok(text),
            Some('\\') => text.push(escape(column, characters)?),
            Some(c) => text.push(c),
        }
    }
}

fn escape(column: usize, characters: &mut Characters<'_>) -> Result<char> {
    const EXPECTED: &str = "expected one of \\\\ \\\" \\' \\n \\r \\t \\u{…} after the backslash";
    match characters.next() {
        Some(c @ ('\\' | '"' | '\'')) => Ok(c),
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some('t') => Ok('\t'),
        Some('u') if characters.take('{') => {
            let mut digits = String::new();
            while let Some(c) = characters.next() {
                if c == '}' {
                    break;
                }
                if digits.len() == 6 {
                    return Err(wrong(column, "expected at most six hexadecimal digits in \\u{…}"));
                }
                digits.push(c);
            }
            let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
            code.ok_or_else(|| wrong(column, "expected the hexadecimal number of a character in \\u{…}"))
        }
        _ => Err(wrong(column, EXPECTED)),
    }
}
