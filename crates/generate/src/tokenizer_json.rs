//! Hugging Face's `tokenizer.json`: reading it into a [`ChatTokenizer`] and writing it again.

use std::collections::HashSet;
use std::str::FromStr;

use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::tokenizer::{CONTROL, ChatTokenizer, NORMAL, NamedTokens, UNUSED, USER_DEFINED, pre_tokenizer};

/// What `tokenizer.json` says beside the rule that finds ordinary tokens.
pub(crate) struct TokenizerJson {
    bpe: Tokenizer,
    tokens: Vec<(String, usize)>,
}

impl TokenizerJson {
    /// Reads `text` for a model with `vocabulary` embeddings. The error says what is wrong or not supported.
    pub(crate) fn parse(text: &str, vocabulary: usize) -> Result<Self, String> {
        let mut value: Value =
            serde_json::from_str(text).map_err(|error| format!("tokenizer.json is not JSON: {error}"))?;
        check_byte_level(&value)?;
        let tokens = tokens_of(&value, vocabulary)?;
        // Added tokens are cut out of a text by our own code, which knows a person's text from a template's markup.
        value["added_tokens"] = json!([]);
        for unused in ["post_processor", "truncation", "padding"] {
            value[unused] = Value::Null;
        }
        let bpe = Tokenizer::from_str(&value.to_string())
            .map_err(|error| format!("tokenizer.json does not fit together: {error}"))?;
        Ok(Self { bpe, tokens })
    }

    /// Id of a token by its text.
    pub(crate) fn id(&self, text: &str) -> Option<u32> {
        self.tokens.iter().position(|(token, kind)| token == text && *kind != UNUSED).map(|id| id as u32)
    }

    /// The tokenizer.
    pub(crate) fn into_tokenizer(self, named: &NamedTokens) -> ChatTokenizer {
        ChatTokenizer::new(self.bpe, self.tokens, named)
    }
}

/// The text of a `tokenizer.json` that tokenizes like `tokenizer`, and finds control tokens in any text.
pub(crate) fn write(tokenizer: &ChatTokenizer) -> Result<String, String> {
    let model = tokenizer.bpe().to_string(false).map_err(|error| error.to_string())?;
    let mut value: Value = serde_json::from_str(&model).map_err(|error| error.to_string())?;
    let numbered = tokenizer.tokens().iter().enumerate();
    let added = numbered.filter(|(_, (_, kind))| matches!(*kind, CONTROL | USER_DEFINED)).map(|(id, (text, kind))| {
        json!({
            "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": *kind == CONTROL,
        })
    });
    value["added_tokens"] = added.collect();
    value["decoder"] = json!({
        "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
    });
    Ok(value.to_string())
}

/// GGUF's name of the rule that cuts a text into words, and the merges as GGUF writes them.
pub(crate) fn gguf_rules(tokenizer: &ChatTokenizer) -> Result<(&'static str, Vec<String>), String> {
    let model = tokenizer.bpe().to_string(false).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_str(&model).map_err(|error| error.to_string())?;
    if !value["normalizer"].is_null() {
        return Err("its tokenizer normalises texts, which GGUF cannot say".to_owned());
    }
    let rule = ["smollm", "gpt-2"].into_iter().find(|rule| {
        let known = pre_tokenizer(rule).and_then(|known| serde_json::to_value(known).ok());
        known.is_some_and(|known| same_rule(&known, &value["pre_tokenizer"]))
    });
    let rule = rule.ok_or("its tokenizer cuts words by a rule that has no name in GGUF files")?;
    let merges = value["model"]["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
    let merges: Option<Vec<String>> = merges
        .iter()
        .map(|merge| match merge {
            Value::String(pair) => Some(pair.clone()),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some(format!("{left} {right}")),
                _ => None,
            },
            _ => None,
        })
        .collect();
    Ok((rule, merges.ok_or("a merge of its tokenizer is not a pair")?))
}

/// Whether two pre-tokenizers cut alike; `trim_offsets` only moves positions that nobody asks for.
fn same_rule(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys()).filter(|key| *key != "trim_offsets");
            keys.into_iter().all(|key| a.get(key).zip(b.get(key)).is_some_and(|(a, b)| same_rule(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_rule(a, b)),
        _ => a == b,
    }
}

/// Refuses a tokenizer whose tokens do not stand for bytes.
fn check_byte_level(value: &Value) -> Result<(), String> {
    let model = &value["model"];
    if model["type"].as_str().unwrap_or("BPE") != "BPE" || model["byte_fallback"].as_bool() == Some(true) {
        return Err("its tokenizer is not byte-level BPE, and no other is known".to_owned());
    }
    let affix = |key: &str| model[key].as_str().is_some_and(|text| !text.is_empty());
    if affix("continuing_subword_prefix") || affix("end_of_word_suffix") || !model["dropout"].is_null() {
        return Err("its tokenizer marks word parts or drops merges, which is not known".to_owned());
    }
    let outer = &value["pre_tokenizer"];
    let steps = outer["pretokenizers"].as_array().map_or(std::slice::from_ref(outer), Vec::as_slice);
    match steps.iter().find(|step| step["type"] == "ByteLevel") {
        None => Err("its tokenizer is not byte-level BPE, and no other is known".to_owned()),
        Some(step) if step["add_prefix_space"].as_bool() == Some(true) => {
            Err("its tokenizer puts a space before each text, which is not known".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// Text and type of each token, by id.
fn tokens_of(value: &Value, vocabulary: usize) -> Result<Vec<(String, usize)>, String> {
    let vocab = value["model"]["vocab"].as_object().ok_or("tokenizer.json has no vocabulary")?;
    let mut tokens = vec![(String::new(), UNUSED); vocabulary];
    let mut place = |text: &str, id: &Value, kind: usize| {
        let id = id.as_u64().ok_or_else(|| format!("the id of token \"{text}\" is not a number"))?;
        let slot = usize::try_from(id).ok().and_then(|id| tokens.get_mut(id));
        let slot = slot.ok_or_else(|| format!("token \"{text}\" has id {id}, the model {vocabulary} embeddings"))?;
        if slot.1 != UNUSED && slot.0 != text {
            return Err(format!("tokens \"{}\" and \"{text}\" have the same id", slot.0));
        }
        *slot = (text.to_owned(), kind);
        Ok(())
    };
    for (text, id) in vocab {
        place(text, id, NORMAL)?;
    }
    for added in value["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = added["content"].as_str().ok_or("an added token has no content")?;
        let special = added["special"].as_bool().unwrap_or(false);
        let widens = |key: &str| added[key].as_bool() == Some(true);
        if !special && (widens("single_word") || widens("lstrip") || widens("rstrip")) {
            return Err(format!("the added token \"{text}\" takes up the space around it, which is not known"));
        }
        place(text, &added["id"], if special { CONTROL } else { USER_DEFINED })?;
    }
    // A row that no token has still needs a name of its own, as GGUF files have it.
    let taken: HashSet<String> = tokens.iter().map(|(text, _)| text.clone()).collect();
    for (id, (text, _)) in tokens.iter_mut().enumerate().filter(|(_, (_, kind))| *kind == UNUSED) {
        *text = format!("[PAD{id}]");
        while taken.contains(text) {
            text.push(']');
        }
    }
    Ok(tokens)
}
