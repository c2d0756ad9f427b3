//! Counting tokens, and cutting texts that are far longer than a model reads.

use tokenizers::Tokenizer;

use crate::panics::caught;

/// First part of a long text that is tokenised to see whether it already fills the model, in bytes for each token.
const BYTES_PER_TOKEN: usize = 16;
/// WordPiece reads a word of more than 100 characters as one unknown token, so a cut inside a word can change the count
/// by about that many; a part counts as full only when it goes beyond the limit by more than this.
const CUT_MARGIN: usize = 128;
/// Texts beyond this many bytes are counted piece by piece, so that memory stays bounded.
const COUNT_PIECE: usize = 1 << 16;

/// A tokenizer without truncation and padding, and the length at which its model stops reading.
#[derive(Debug)]
pub(crate) struct TextReader {
    tokenizer: Tokenizer,
    max_tokens: usize,
    pad_token: String,
    pad_id: u32,
}

/// What a model will read of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading<'t> {
    /// Tokens read, special tokens included: at most the model's limit.
    pub(crate) tokens: usize,
    /// Whether the text goes on after them.
    pub(crate) truncated: bool,
    /// The text, or a beginning of it that holds all that will be read.
    pub(crate) text: &'t str,
}

impl TextReader {
    /// Reads a `tokenizer.json`; `model` is its name for messages.
    pub(crate) fn new(model: &str, json: &[u8], max_tokens: usize) -> Result<Self, String> {
        let mut tokenizer =
            caught(|| Tokenizer::from_bytes(json)).and_then(|parsed| parsed.map_err(|e| e.to_string()))?;
        let configured = tokenizer.get_padding().map(|padding| padding.pad_token.clone());
        let pad_token = configured
            .into_iter()
            .chain(["[PAD]".to_owned(), "<pad>".to_owned()])
            .find(|token| tokenizer.token_to_id(token).is_some())
            .ok_or_else(|| format!("the tokenizer of {model} has no padding token ([PAD] or <pad>)"))?;
        let pad_id = tokenizer.token_to_id(&pad_token).unwrap_or_default();
        tokenizer.with_padding(None).with_truncation(None).map_err(|e| e.to_string())?;
        Ok(Self { tokenizer, max_tokens, pad_token, pad_id })
    }

    /// The padding token and its id.
    pub(crate) fn padding(&self) -> (&str, u32) {
        (&self.pad_token, self.pad_id)
    }

    /// Tokens the model reads of one input.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Tokens of the whole of `text`, without special tokens. A text above 64 KiB is counted in pieces that end at white
    /// space, which for tokenizers that join words can be off by one token for each piece.
    pub(crate) fn count(&self, text: &str) -> Result<usize, String> {
        let mut rest = text;
        let mut tokens = 0;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cut_at(rest, COUNT_PIECE));
            tokens += self.encoded_len(piece, false)?;
            rest = after;
        }
        Ok(tokens)
    }

    /// What the model will read of `text`, special tokens counted.
    pub(crate) fn read<'t>(&self, text: &'t str) -> Result<Reading<'t>, String> {
        let mut bytes = self.max_tokens.saturating_mul(BYTES_PER_TOKEN);
        loop {
            let part = &text[..cut_at(text, bytes)];
            let whole = part.len() == text.len();
            let tokens = self.encoded_len(part, true)?;
            if whole || tokens > self.max_tokens + CUT_MARGIN {
                let truncated = tokens > self.max_tokens;
                return Ok(Reading { tokens: tokens.min(self.max_tokens), truncated, text: part });
            }
            bytes = bytes.saturating_mul(4);
        }
    }

    fn encoded_len(&self, text: &str, special: bool) -> Result<usize, String> {
        caught(|| self.tokenizer.encode_fast(text, special))
            .and_then(|encoded| encoded.map_err(|e| e.to_string()))
            .map(|encoding| encoding.len())
    }
}

/// Where to cut `text` so that at most `bytes` bytes come before: after the last white space, else after any character.
/// Never 0 for a text that is not empty.
fn cut_at(text: &str, bytes: usize) -> usize {
    if text.len() <= bytes {
        return text.len();
    }
    let end = text.floor_char_boundary(bytes);
    match text[..end].char_indices().rev().take(4096).find(|(_, c)| c.is_whitespace()) {
        Some((at, space)) => at + space.len_utf8(),
        None if end > 0 => end,
        None => text.chars().next().map_or(0, char::len_utf8),
    }
}
