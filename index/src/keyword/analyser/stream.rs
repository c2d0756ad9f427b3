//! The analyser as tantivy calls it.

use tantivy::tokenizer::{Token as TantivyToken, TokenStream, Tokenizer};

use super::Analyser;

/// Terms of one text, one after the other in one string.
pub(crate) struct Terms {
    text: String,
    /// Where each ends, and its position.
    ends: Vec<(usize, u32)>,
    next: usize,
    token: TantivyToken,
}

impl Tokenizer for Analyser {
    type TokenStream<'a> = Terms;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Terms {
        let mut terms = Terms {
            text: String::with_capacity(text.len() * 2),
            ends: Vec::with_capacity(text.len() / 4),
            next: 0,
            token: TantivyToken::default(),
        };
        self.each(text, &mut |token| {
            terms.text.push_str(token.text);
            terms.ends.push((terms.text.len(), token.position));
        });
        terms
    }
}

impl TokenStream for Terms {
    fn advance(&mut self) -> bool {
        let Some(&(end, position)) = self.ends.get(self.next) else { return false };
        let start = self.next.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(end, _)| *end);
        self.token.text.clear();
        self.token.text.push_str(self.text.get(start..end).unwrap_or_default());
        self.token.position = position as usize;
        self.next += 1;
        true
    }

    fn token(&self) -> &TantivyToken {
        &self.token
    }

    fn token_mut(&mut self) -> &mut TantivyToken {
        &mut self.token
    }
}
