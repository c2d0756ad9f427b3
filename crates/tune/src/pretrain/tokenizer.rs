//! A byte-level BPE tokenizer trained on the texts themselves.

use std::path::Path;

use anser_core::storage::write_atomic;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, NormalizerWrapper, Tokenizer, TokenizerBuilder, TokenizerImpl};

use crate::TuneError;

const FILE: &str = "tokenizer.json";

/// The token between documents, and the ones around chat turns. They have the ids 0, 1 and 2.
pub(super) const END_OF_TEXT: &str = "<|endoftext|>";
const CONTROL: [&str; 3] = [END_OF_TEXT, "<|im_start|>", "<|im_end|>"];

/// Fewest tokens: every byte and the control tokens.
pub(super) const SMALLEST: usize = 256 + CONTROL.len();

/// `ChatML`, so that a model from scratch can be fine-tuned and served like any other.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + \
                             message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}\
                             {{ '<|im_start|>assistant\n' }}{% endif %}";

/// Bytes of text that are tokenized in one go; longer texts are cut behind a line.
const PIECE: usize = 64 * 1024;

/// Learns at most `vocabulary` tokens from the texts (Sennrich et al. 2016, on bytes). Digits stand alone and words keep
/// the space before them, as in the models of the `SmolLM` family.
pub(super) fn train(texts: &[String], vocabulary: usize) -> Result<Tokenizer, TuneError> {
    let fault = |error: tokenizers::Error| TuneError::Internal(error.to_string());
    let words = Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]);
    let mut tokenizer: TokenizerImpl<BPE, NormalizerWrapper, Sequence, ByteLevel, ByteLevel> = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(words))
        .with_decoder(Some(ByteLevel::default()))
        .build()
        .map_err(fault)?;
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocabulary)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(CONTROL.iter().map(|token| AddedToken::from(*token, true)).collect())
        .build();
    tokenizer.train(&mut trainer, texts.iter().flat_map(|text| pieces(text))).map_err(fault)?;
    // One type for a tokenizer that was trained and one that was read.
    let json = tokenizer.to_string(false).map_err(fault)?;
    read(&json)
}

fn read(json: &str) -> Result<Tokenizer, TuneError> {
    let mut tokenizer: Tokenizer =
        json.parse().map_err(|error: tokenizers::Error| TuneError::Internal(error.to_string()))?;
    // Control tokens come from us alone: what looks like one in a text is text.
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

/// Tokens of one document, closed by [`END_OF_TEXT`].
pub(super) fn encode(tokenizer: &Tokenizer, document: &str) -> Result<Vec<u32>, TuneError> {
    let fault = |error: tokenizers::Error| TuneError::Internal(error.to_string());
    let pieces: Vec<&str> = pieces(document).collect();
    let encoded = tokenizer.encode_batch(pieces, false).map_err(fault)?;
    let mut tokens: Vec<u32> = encoded.iter().flat_map(tokenizers::Encoding::get_ids).copied().collect();
    let end = tokenizer.token_to_id(END_OF_TEXT);
    tokens.push(end.ok_or_else(|| TuneError::Internal("the tokenizer lost its control tokens".to_owned()))?);
    Ok(tokens)
}

/// Writes the tokenizer with its chat template into `folder`, as a model folder has them.
pub(super) fn write(tokenizer: &Tokenizer, folder: &Path) -> Result<(), TuneError> {
    let settings = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "chat_template": CHAT_TEMPLATE,
    });
    let json = tokenizer.to_string(true).map_err(|error| TuneError::Internal(error.to_string()))?;
    write_atomic(&folder.join("tokenizer_config.json"), settings.to_string().as_bytes())?;
    // Last: whoever finds it finds the rest.
    Ok(write_atomic(&folder.join(FILE), json.as_bytes())?)
}

/// The tokenizer that [`write`] left in `folder`, if it did.
pub(super) fn read_from(folder: &Path) -> Result<Option<Tokenizer>, TuneError> {
    match std::fs::read_to_string(folder.join(FILE)) {
        Ok(json) => read(&json).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TuneError::io("read", folder.join(FILE), error)),
    }
}

/// Cuts a text behind lines into pieces of about [`PIECE`] bytes.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.len().min(PIECE);
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let behind_line = rest.get(end..).and_then(|more| more.find('\n')).map_or(rest.len(), |at| end + at + 1);
        let (piece, more) = rest.split_at(if end == rest.len() { end } else { behind_line });
        rest = more;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_text_and_end_behind_lines() {
        let text = "né ".repeat(50_000) + "\n" + &"abc\n".repeat(60_000);
        let cut: Vec<&str> = pieces(&text).collect();
        assert_eq!(cut.concat(), text);
        assert!(cut.len() > 3 && cut.iter().all(|piece| piece.ends_with('\n')));
        assert_eq!(pieces("").count(), 0);
    }

    #[test]
    fn every_text_comes_back_and_frequent_words_are_single_tokens() {
        let texts = vec!["the lamp and the door, the lamp and 42 doors\n".repeat(20)];
        let tokenizer = train(&texts, 300).unwrap();
        assert!(tokenizer.get_vocab_size(true) <= 300 && tokenizer.get_vocab_size(true) >= SMALLEST);
        let tokens = encode(&tokenizer, "the lamp").unwrap();
        assert_eq!(tokens.len(), 3, "{tokens:?}");
        assert_eq!(tokens[2], 0);
        for text in ["the doors 423", "ünïcödé 中文 🎉\t\r\n", "a<|im_end|>"] {
            let ids = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
        }
        let digits = tokenizer.encode("42", false).unwrap();
        assert_eq!(digits.get_ids().len(), 2);
    }

    #[test]
    fn the_same_texts_give_the_same_tokenizer() {
        let texts: Vec<String> =
            (0..50).map(|i| format!("story {i} of the {} fox and the {} hen\n", i % 7, i % 5)).collect();
        let json = |tokenizer: Tokenizer| tokenizer.to_string(false).unwrap();
        assert_eq!(json(train(&texts, 290).unwrap()), json(train(&texts, 290).unwrap()));
    }
}
