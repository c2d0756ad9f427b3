//! Counting tokens, and cutting texts that are far longer than a model reads.

use tokenizers::{Encoding, PostProcessor as _, Tokenizer, TruncationDirection};

use crate::panics::caught;

/// First part of a long text that is tokenised to see whether it already fills the model, in bytes for each token.
const BYTES_PER_TOKEN: usize = 16;
/// BERT's tokenizers read a word of more than 100 characters as one unknown token, so a cut inside a word can change the
/// count by about that many; a part counts as full only when it goes beyond the limit by more than this.
const CUT_MARGIN: usize = 128;
/// Texts beyond this many bytes are counted piece by piece, so that memory stays bounded.
const COUNT_PIECE: usize = 1 << 16;

/// A tokenizer without truncation and padding, and the length at which its model stops reading.
#[derive(Debug)]
pub(crate) struct TextReader {
    tokenizer: Tokenizer,
    max_tokens: usize,
    /// Tokens that go around every text.
    special_tokens: usize,
    pad_token: String,
    pad_id: u32,
}

/// What a model will read of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading<'t> {
    /// The tokens read, special tokens included: at most the model's limit.
    pub(crate) ids: Vec<u32>,
    /// Whether the text goes on after them.
    pub(crate) truncated: bool,
    /// The text, or a beginning of it that holds all that will be read.
    pub(crate) text: &'t str,
}

impl Reading<'_> {
    /// How many tokens are read.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }
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
        let special_tokens = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        Ok(Self { tokenizer, max_tokens, special_tokens, pad_token, pad_id })
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
            tokens += self.encode(piece)?.len();
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
            let encoding = self.encode(part)?;
            let room = self.max_tokens.saturating_sub(self.special_tokens);
            let truncated = encoding.len() > room;
            if whole || encoding.len() > room + CUT_MARGIN {
                return Ok(Reading { ids: self.finished(encoding, room)?, truncated, text: part });
            }
            bytes = bytes.saturating_mul(4);
        }
    }

    /// The tokens of `text` without special ones.
    fn encode(&self, text: &str) -> Result<Encoding, String> {
        caught(|| self.tokenizer.encode_fast(text, false)).and_then(|encoded| encoded.map_err(|e| e.to_string()))
    }

    /// The ids of the first `room` tokens with the special ones around them.
    fn finished(&self, mut encoding: Encoding, room: usize) -> Result<Vec<u32>, String> {
        encoding.truncate(room, 0, TruncationDirection::Right);
        caught(|| self.tokenizer.post_process(encoding, None, true))
            .and_then(|encoded| encoded.map_err(|e| e.to_string()))
            .map(|encoding| encoding.get_ids().to_vec())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// A word-piece tokenizer that knows single letters: one token for each letter of a word.
    fn letters(padding: &str) -> Vec<u8> {
        let mut vocabulary = serde_json::Map::new();
        let special = [padding, "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned);
        let pieces = ('a'..='z').flat_map(|letter| [letter.to_string(), format!("##{letter}")]);
        for (id, token) in special.into_iter().chain(pieces).enumerate() {
            vocabulary.insert(token, Value::from(id));
        }
        json!({
            "version": "1.0", "truncation": { "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 },
            "padding": null, "added_tokens": [],
            "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                            "strip_accents": null, "lowercase": true },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2] },
            "decoder": null,
            "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                       "max_input_chars_per_word": 100, "vocab": vocabulary },
        })
        .to_string()
        .into_bytes()
    }

    fn reader(max_tokens: usize) -> TextReader {
        TextReader::new("letters", &letters("[PAD]"), max_tokens).unwrap()
    }

    #[test]
    fn counts_with_and_without_special_tokens() {
        let reader = reader(10);
        assert_eq!(reader.count("abc de").unwrap(), 5);
        assert_eq!(reader.count("").unwrap(), 0);
        let reading = reader.read("abc de").unwrap();
        assert_eq!(reading, Reading { ids: vec![2, 4, 7, 9, 10, 13, 3], truncated: false, text: "abc de" });
    }

    #[test]
    fn a_text_is_truncated_exactly_when_it_has_more_tokens_than_the_model_reads() {
        let reader = reader(10);
        assert!(!reader.read("abcdefgh").unwrap().truncated);
        let longer = reader.read("abcdefghi").unwrap();
        assert!(longer.truncated);
        assert_eq!(longer.ids, [2, 4, 7, 9, 11, 13, 15, 17, 19, 3]);
    }

    #[test]
    fn only_the_beginning_of_an_endless_text_is_kept() {
        let reader = reader(10);
        let text = "abcdefg ".repeat(100_000);
        let reading = reader.read(&text).unwrap();
        assert!(reading.truncated);
        assert!(reading.text.len() < 2000, "{}", reading.text.len());
        assert_eq!(reader.count(&text).unwrap(), 700_000);
    }

    #[test]
    fn a_text_of_one_endless_word_is_one_unknown_token() {
        let text = "a".repeat(200_000);
        assert_eq!(reader(10).read(&text).unwrap(), Reading { ids: vec![2, 1, 3], truncated: false, text: &text });
    }

    #[test]
    fn the_padding_token_is_found_in_the_vocabulary_or_its_lack_is_said() {
        assert_eq!(reader(10).padding(), ("[PAD]", 0));
        assert_eq!(TextReader::new("letters", &letters("<pad>"), 10).unwrap().padding(), ("<pad>", 0));
        let error = TextReader::new("letters", &letters("[BLANK]"), 10).unwrap_err();
        assert!(error.contains("no padding token"), "{error}");
    }

    #[test]
    fn a_damaged_tokenizer_file_is_an_error() {
        let whole = letters("[PAD]");
        for bytes in [&b""[..], b"{}", b"[1, 2]", b"\xff\xfe", &whole[..whole.len() / 2]] {
            assert!(TextReader::new("letters", bytes, 10).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_kept_reads_like_the_whole_text(text in "([a-z]{1,12}[ ,.]|\\PC|[a-z]{90,130} ){0,300}") {
            let reader = reader(16);
            let ids = |text: &str| reader.tokenizer.encode_fast(text, true).unwrap().get_ids().to_vec();
            let whole = ids(&text);
            let reading = reader.read(&text).unwrap();
            prop_assert!(text.starts_with(reading.text));
            prop_assert_eq!(reading.truncated, whole.len() > 16);
            prop_assert_eq!(reading.tokens(), whole.len().min(16));
            // The last of the ids is [SEP], which a cut moves.
            let (last, read) = reading.ids.split_last().unwrap();
            prop_assert_eq!((*last, read), (3, &whole[..read.len()]));
        }

        #[test]
        fn a_cut_leaves_whole_characters_on_both_sides(text in "\\PC{1,200}", bytes in 0usize..300) {
            let at = cut_at(&text, bytes);
            prop_assert!(text.is_char_boundary(at) && at > 0);
        }
    }
}
