//! The byte-level BPE tokenizer of a chat model: text to token ids and back.

use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

use crate::GenerateError;
use crate::gguf::GgufFile;

/// Token types of the GGUF format (`tokenizer.ggml.token_type`).
pub(crate) const NORMAL: usize = 1;
pub(crate) const CONTROL: usize = 3;
pub(crate) const USER_DEFINED: usize = 4;
pub(crate) const UNUSED: usize = 5;

/// Control tokens that end a turn in the chat formats in use, besides those that the metadata names.
const END_OF_TURN: [&str; 4] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>"];

/// Text to token ids and back.
///
/// Control tokens are found only by [`ChatTokenizer::encode_markup`]: in ordinary text `<|im_end|>` is ten letters.
pub(crate) struct ChatTokenizer {
    bpe: Tokenizer,
    /// Text and type of each token.
    tokens: Vec<(String, usize)>,
    /// For each token, the bytes it stands for; none for control tokens.
    bytes: Vec<Vec<u8>>,
    /// Text and id of each control token.
    control: Vec<(String, u32)>,
    /// Text and id of each token that is found in any text before BPE.
    user_defined: Vec<(String, u32)>,
    end_of_turn: Vec<u32>,
    longest: usize,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
}

/// The tokens that a model names for a purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct NamedTokens {
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    /// More that end a turn.
    pub(crate) end: Vec<u32>,
    /// Whether a plain text is to begin with `bos`.
    pub(crate) adds_bos: bool,
}

impl ChatTokenizer {
    /// Builds the tokenizer of `gguf`, whose embedding table has `vocabulary` rows.
    pub(crate) fn from_gguf(gguf: &GgufFile, vocabulary: usize) -> Result<Self, GenerateError> {
        let model = gguf.text("tokenizer.ggml.model").unwrap_or("none");
        if model != "gpt2" {
            return Err(gguf.unsupported(format!("its tokenizer is {model}, and only byte-level BPE (gpt2) is known")));
        }
        let tokens = gguf.texts("tokenizer.ggml.tokens")?;
        let types = gguf.counts("tokenizer.ggml.token_type")?;
        if tokens.len() != vocabulary || types.len() != vocabulary {
            return Err(gguf.damaged(format!(
                "it lists {} tokens and {} token types for {vocabulary} embeddings",
                tokens.len(),
                types.len()
            )));
        }
        let bpe = byte_pair_encoding(gguf, &tokens)?;
        let id_of = |key: &str| gguf.count(key).filter(|id| *id < vocabulary).map(|id| id as u32);
        let end = ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
        let named = NamedTokens {
            bos: id_of("tokenizer.ggml.bos_token_id"),
            eos: id_of("tokenizer.ggml.eos_token_id"),
            end: end.into_iter().filter_map(id_of).collect(),
            adds_bos: gguf.flag("tokenizer.ggml.add_bos_token"),
        };
        let tokens = tokens.into_iter().map(str::to_owned).zip(types).collect();
        Ok(Self::new(bpe, tokens, &named))
    }

    /// A tokenizer of `tokens` (text and type, by id), whose ordinary ones `bpe` finds.
    pub(crate) fn new(bpe: Tokenizer, tokens: Vec<(String, usize)>, named: &NamedTokens) -> Self {
        let of_type = |wanted: usize| -> Vec<(String, u32)> {
            // A one-letter control token could not be told from text (see `escape_markup`), so it is left as text.
            let chosen = |(text, kind): &&(String, usize)| *kind == wanted && text.chars().nth(1).is_some();
            let numbered = tokens.iter().zip(0_u32..).filter(|(token, _)| chosen(token));
            numbered.map(|((text, _), id)| (text.clone(), id)).collect()
        };
        let (control, user_defined) = (of_type(CONTROL), of_type(USER_DEFINED));
        let bytes = tokens.iter().map(|(text, kind)| token_bytes(text, *kind)).collect();
        let known = control.iter().filter(|(text, _)| END_OF_TURN.contains(&text.as_str())).map(|(_, id)| *id);
        // A model that starts a new text has finished this one, so the first token of a text ends a turn as well.
        let mut end_of_turn: Vec<u32> = named.eos.into_iter().chain(named.bos).chain(known).collect();
        end_of_turn.extend(&named.end);
        end_of_turn.sort_unstable();
        end_of_turn.dedup();
        let longest = tokens.iter().map(|(text, _)| text.len()).max().unwrap_or(1).max(1);
        let NamedTokens { bos, eos, adds_bos, .. } = *named;
        Self { bpe, tokens, bytes, control, user_defined, end_of_turn, longest, bos, eos, adds_bos }
    }

    /// Token ids of ordinary text.
    pub(crate) fn encode_text(&self, text: &str) -> Result<Vec<u32>, GenerateError> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.encode_into(text, &mut ids)?;
        Ok(ids)
    }

    /// Token ids of a rendered chat template: control tokens are found in it, except where `mark` splits them (see
    /// [`ChatTokenizer::escape_markup`]); the marks themselves are dropped.
    pub(crate) fn encode_markup(&self, rendered: &str, mark: char) -> Result<Vec<u32>, GenerateError> {
        let mut ids = Vec::with_capacity(rendered.len() / 3);
        let mut text = String::new();
        for piece in (Pieces { rest: rendered, tokens: &self.control }) {
            match piece {
                Piece::Token(id) => {
                    self.encode_into(&text, &mut ids)?;
                    text.clear();
                    ids.push(id);
                }
                Piece::Text(part) => text.extend(part.chars().filter(|&letter| letter != mark)),
            }
        }
        self.encode_into(&text, &mut ids)?;
        Ok(ids)
    }

    /// `content` with `mark` put behind the first letter of every control token in it, so that markup which a person
    /// typed stays text. `mark` must not occur in `content`.
    pub(crate) fn escape_markup(&self, content: &str, mark: char) -> String {
        let mut escaped = String::with_capacity(content.len());
        for (at, letter) in content.char_indices() {
            escaped.push(letter);
            if self.control.iter().any(|(token, _)| content[at..].starts_with(token.as_str())) {
                escaped.push(mark);
            }
        }
        escaped
    }

    /// Fewest tokens that `bytes` bytes of text can have, without reading them.
    pub(crate) fn least_tokens(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.longest)
    }

    fn encode_into(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), GenerateError> {
        for piece in (Pieces { rest: text, tokens: &self.user_defined }) {
            match piece {
                Piece::Token(id) => ids.push(id),
                Piece::Text(part) => {
                    let encoding = self.bpe.encode_fast(part, false);
                    ids.extend(encoding.map_err(|error| GenerateError::Tokenizer(error.to_string()))?.get_ids());
                }
            }
        }
        Ok(())
    }

    /// The bytes that `token` adds to the text; none for a control token or an id outside the vocabulary.
    pub(crate) fn token_bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether `token` ends the assistant's turn.
    pub(crate) fn ends_turn(&self, token: u32) -> bool {
        self.end_of_turn.contains(&token)
    }

    /// Texts of the control tokens.
    pub(crate) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.control.iter().map(|(text, _)| text.as_str())
    }

    /// Ids of the control tokens.
    pub(crate) fn control_tokens(&self) -> impl Iterator<Item = u32> + '_ {
        self.control.iter().map(|(_, id)| *id)
    }

    /// The tokens that end a turn, by id.
    pub(crate) fn end_tokens(&self) -> &[u32] {
        &self.end_of_turn
    }

    /// The control token that `markup` begins with, not counting white space before it.
    pub(crate) fn leading_control(&self, markup: &str) -> Option<u32> {
        match (Pieces { rest: markup.trim_start(), tokens: &self.control }).next()? {
            Piece::Token(id) => Some(id),
            Piece::Text(_) => None,
        }
    }

    /// The part that finds ordinary tokens.
    pub(crate) fn bpe(&self) -> &Tokenizer {
        &self.bpe
    }

    /// Text and GGUF type of each token, by id.
    pub(crate) fn tokens(&self) -> &[(String, usize)] {
        &self.tokens
    }

    /// Id of the token with which known models end a plain text, if this one has it.
    pub(crate) fn end_of_text(&self) -> Option<u32> {
        self.control
            .iter()
            .find(|(text, _)| ["<|endoftext|>", "<|end_of_text|>"].contains(&text.as_str()))
            .map(|(_, id)| *id)
    }

    /// Id of the token that begins a text.
    pub(crate) fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token to put before a plain text, if the model wants one.
    pub(crate) fn opening(&self) -> Option<u32> {
        self.bos.filter(|_| self.adds_bos)
    }

    /// Id of the token that ends a text.
    pub(crate) fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Text of the token that begins a text, for the chat template.
    pub(crate) fn bos_text(&self) -> &str {
        self.control_text(self.bos)
    }

    /// Text of the token that ends a text, for the chat template.
    pub(crate) fn eos_text(&self) -> &str {
        self.control_text(self.eos)
    }

    fn control_text(&self, token: Option<u32>) -> &str {
        self.control.iter().find(|(_, id)| Some(*id) == token).map_or("", |(text, _)| text)
    }
}

fn byte_pair_encoding(gguf: &GgufFile, tokens: &[&str]) -> Result<Tokenizer, GenerateError> {
    // Every known rule is held against another implementation's output in the tests; a guess would tokenize almost
    // right and answer subtly wrong.
    let rule = gguf.text("tokenizer.ggml.pre").unwrap_or("none");
    let pre_tokenizer = pre_tokenizer(rule)
        .ok_or_else(|| gguf.unsupported(format!("its pre-tokenizer is {rule}, and only smollm and gpt-2 are known")))?;
    let vocab: Vocab = tokens.iter().zip(0..).map(|(token, id)| ((*token).to_owned(), id)).collect();
    if vocab.len() != tokens.len() {
        return Err(gguf.damaged("its vocabulary names a token twice"));
    }
    let merges: Option<Vec<(String, String)>> = gguf
        .texts("tokenizer.ggml.merges")?
        .into_iter()
        .map(|merge| merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())))
        .collect();
    let merges = merges.ok_or_else(|| gguf.damaged("a merge of its tokenizer is not a pair"))?;
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .build()
        .map_err(|error| gguf.damaged(format!("its tokenizer does not fit together: {error}")))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    Ok(tokenizer)
}

/// The rule that cuts a text into words, by its name in GGUF files.
pub(crate) fn pre_tokenizer(rule: &str) -> Option<PreTokenizerWrapper> {
    let bytes = || ByteLevel::default().add_prefix_space(false);
    match rule {
        "smollm" => Some(Sequence::new(vec![Digits::new(true).into(), bytes().into()]).into()),
        "gpt-2" => Some(bytes().into()),
        _ => None,
    }
}

/// Bytes of a vocabulary entry. Byte-level BPE writes each byte as one printable letter: printable Latin-1 bytes as
/// themselves, the others as U+0100 and up, in order (the alphabet of GPT-2).
fn token_bytes(text: &str, kind: usize) -> Vec<u8> {
    match kind {
        CONTROL | UNUSED => Vec::new(),
        USER_DEFINED => text.as_bytes().to_vec(),
        _ => text.chars().filter_map(letter_byte).collect(),
    }
}

fn letter_byte(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

enum Piece<'a> {
    Token(u32),
    Text(&'a str),
}

/// Cuts a text at the given tokens: leftmost first, the longest of those that begin at the same place.
struct Pieces<'a> {
    rest: &'a str,
    tokens: &'a [(String, u32)],
}

impl Pieces<'_> {
    fn token_at(&self, text: &str) -> Option<(usize, u32)> {
        let starting = self.tokens.iter().filter(|(token, _)| text.starts_with(token.as_str()));
        starting.map(|(token, id)| (token.len(), *id)).max()
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        if let Some((length, id)) = self.token_at(self.rest) {
            self.rest = &self.rest[length..];
            return Some(Piece::Token(id));
        }
        let next = if self.tokens.is_empty() {
            None
        } else {
            self.rest.char_indices().map(|(at, _)| at).find(|&at| self.token_at(&self.rest[at..]).is_some())
        };
        let (text, rest) = self.rest.split_at(next.unwrap_or(self.rest.len()));
        self.rest = rest;
        Some(Piece::Text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_its_own_letter() {
        let letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        let mut bytes: Vec<u8> = letters.iter().filter_map(|letter| letter_byte(*letter)).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(letter_byte('Ġ'), Some(b' '));
        assert_eq!(letter_byte('Ċ'), Some(b'\n'));
        assert_eq!(letter_byte('中'), None);
    }

    #[derive(serde::Deserialize)]
    struct Recorded {
        text: String,
        ids: Vec<u32>,
        #[serde(default)]
        markup: bool,
    }

    /// The tokenizer of the default chat model against the ids that llama.cpp gives (see `record_tokens.py` beside the
    /// recorded lines), and back.
    #[test]
    fn every_recorded_text_has_the_recorded_ids() {
        let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let cache = std::env::var_os("ANSER_MODELS_DIR").map_or_else(|| workspace.join("target/models"), Into::into);
        let options = anser_models::ModelStoreOptions { cache, offline: false, local: None, python: None };
        let files =
            anser_models::ModelStore::new(options).ensure(anser_models::DEFAULT_CHAT, &anser_core::NoProgress).unwrap();
        let gguf = GgufFile::open(&files.path("model.gguf").unwrap()).unwrap();
        let tokenizer = ChatTokenizer::from_gguf(&gguf, gguf.llama_config().unwrap().vocabulary).unwrap();
        let lines = include_str!("../tests/fixtures/tokens.jsonl").lines();
        let recorded: Vec<Recorded> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(recorded.len() > 3000);
        for Recorded { text, ids, markup } in recorded {
            let encoded =
                if markup { tokenizer.encode_markup(&text, '\u{FDD0}') } else { tokenizer.encode_text(&text) };
            assert_eq!(encoded.unwrap(), ids, "{text:?}");
            if !markup {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
                assert_eq!(String::from_utf8(bytes).unwrap(), text);
            }
        }
    }

    #[test]
    fn the_longest_of_the_leftmost_tokens_is_cut_out() {
        let tokens = [("<a>".to_owned(), 1), ("<a><b>".to_owned(), 2)];
        let cut = |text| -> Vec<String> {
            Pieces { rest: text, tokens: &tokens }
                .map(|piece| match piece {
                    Piece::Token(id) => id.to_string(),
                    Piece::Text(text) => text.to_owned(),
                })
                .collect()
        };
        assert_eq!(cut("é<a><b>x<a>"), ["é", "2", "x", "1"]);
        assert_eq!(cut("<a"), ["<a"]);
        assert!(cut("").is_empty());
    }
}
