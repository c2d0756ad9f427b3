//! What the files of a sentence-transformers model say about it: pooling, longest text, prompts and dimensions.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::small_file::read_small;
use crate::wheel::check_entry_name;
use crate::{ModelsError, Pooling};

/// The shape of the network, in every model.
pub(crate) const CONFIG: &str = "config.json";
/// The list of modules: what comes after the network.
pub(crate) const MODULES: &str = "modules.json";
/// The longest text, in the folder of a sentence-transformers model.
pub(crate) const LENGTH: &str = "sentence_bert_config.json";
/// Prompts.
pub(crate) const PROMPTS: &str = "config_sentence_transformers.json";
/// The tokenizer's own idea of the longest text, among other things.
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Where the pooling usually is described.
pub(crate) const POOLING: &str = "1_Pooling/config.json";

/// What a user says about an embedder, in place of what its files say or leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmbedderSettings {
    /// How token vectors become one.
    pub pooling: Option<Pooling>,
    /// Put before a query.
    pub query_prefix: Option<String>,
    /// Put before a passage.
    pub passage_prefix: Option<String>,
    /// Most tokens that are read of a text.
    pub max_tokens: Option<usize>,
    /// Lengths to which vectors may be cut.
    pub dimensions: Option<Vec<usize>>,
}

/// What is known of an embedder besides its weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EmbedderFacts {
    pub(crate) dimension: usize,
    pub(crate) dimensions: Vec<usize>,
    pub(crate) max_tokens: usize,
    pub(crate) pooling: Pooling,
    pub(crate) query_prefix: String,
    pub(crate) passage_prefix: String,
}

impl EmbedderFacts {
    /// Reads what the files in `folder` say; `settings` go first. Fails with [`ModelsError::UnsupportedModel`] when the
    /// model does more after its network than pool and normalise.
    pub(crate) fn read(folder: &Path, settings: &EmbedderSettings) -> Result<Self, ModelsError> {
        let files = Files { folder };
        let config = files
            .json(CONFIG)?
            .ok_or_else(|| ModelsError::FolderIncomplete { folder: folder.to_owned(), file: CONFIG.to_owned() })?;
        let dimension = first_count(&config, &["hidden_size", "dim", "d_model", "n_embd"])
            .ok_or_else(|| files.damaged(CONFIG, "gives no hidden size"))?;
        let prompts = files.json(PROMPTS)?.unwrap_or(Value::Null);
        let mut dimensions = match &settings.dimensions {
            Some(dimensions) => dimensions.clone(),
            None => counts(&config, "matryoshka_dimensions")
                .or(counts(&prompts, "matryoshka_dimensions"))
                .unwrap_or_default(),
        };
        dimensions.retain(|cut| *cut < dimension && *cut > 0);
        dimensions.sort_unstable();
        dimensions.dedup();
        let pooling = files.pooling()?;
        Ok(Self {
            dimension,
            dimensions,
            max_tokens: match settings.max_tokens {
                Some(most) => most,
                None => files.max_tokens(&config)?,
            },
            // Without a list of modules, sentence-transformers takes the mean.
            pooling: settings.pooling.or(pooling).unwrap_or(Pooling::Mean),
            query_prefix: settings
                .query_prefix
                .clone()
                .unwrap_or_else(|| prompt(&prompts, &["query", "search_query", "retrieval.query"])),
            passage_prefix: settings
                .passage_prefix
                .clone()
                .unwrap_or_else(|| prompt(&prompts, &["passage", "document", "search_document", "retrieval.passage"])),
        })
    }
}

struct Files<'a> {
    folder: &'a Path,
}

impl Files<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn damaged(&self, name: &str, reason: &str) -> ModelsError {
        ModelsError::BadModelFile { path: self.path(name), reason: reason.to_owned() }
    }

    fn unsupported(&self, name: &str, reason: String) -> ModelsError {
        ModelsError::UnsupportedModel { path: self.path(name), reason }
    }

    /// The file as JSON; `None` when there is none.
    fn json(&self, name: &str) -> Result<Option<Value>, ModelsError> {
        let path = self.path(name);
        if !path.is_file() {
            return Ok(None);
        }
        let text = read_small(&path)?;
        serde_json::from_slice(&text).map(Some).map_err(|error| self.damaged(name, &format!("is not JSON ({error})")))
    }

    /// The pooling that the list of modules leads to; `None` without a list.
    fn pooling(&self) -> Result<Option<Pooling>, ModelsError> {
        let Some(modules) = self.json(MODULES)? else {
            return self.json(POOLING)?.map(|file| self.pooling_of(POOLING, &file)).transpose();
        };
        let modules = modules.as_array().ok_or_else(|| self.damaged(MODULES, "is not a list"))?;
        let mut found = None;
        for module in modules {
            let kind = module.get("type").and_then(Value::as_str).unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" | "Normalize" => {}
                "Pooling" => {
                    let folder = module.get("path").and_then(Value::as_str).unwrap_or_default();
                    let name = format!("{folder}/config.json");
                    check_entry_name(&name)
                        .map_err(|why| self.damaged(MODULES, &format!("names a module that {why}")))?;
                    let file = self.json(&name)?.ok_or_else(|| ModelsError::FolderIncomplete {
                        folder: self.folder.to_owned(),
                        file: name.clone(),
                    })?;
                    found = Some(self.pooling_of(&name, &file)?);
                }
                other => {
                    let reason = format!(
                        "asks for a module of the type \"{}\", and only pooling and normalisation are done after the \
                         network",
                        shown(other)
                    );
                    return Err(self.unsupported(MODULES, reason));
                }
            }
        }
        Ok(found)
    }

    fn pooling_of(&self, name: &str, file: &Value) -> Result<Pooling, ModelsError> {
        let mut modes: Vec<&str> = match file.get("pooling_mode") {
            Some(Value::String(mode)) => vec![mode],
            Some(Value::Array(modes)) => modes.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let flags = file.as_object().into_iter().flatten().filter(|(_, flag)| flag.as_bool() == Some(true));
        modes.extend(flags.filter_map(|(key, _)| key.strip_prefix("pooling_mode_")));
        if file.get("include_prompt").and_then(Value::as_bool) == Some(false) {
            return Err(self.unsupported(name, "leaves prompts out of the pooling, which is not done".to_owned()));
        }
        match modes.as_slice() {
            ["cls_token" | "cls"] => Ok(Pooling::Cls),
            ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
            ["lasttoken"] => Ok(Pooling::LastToken),
            other => Err(self.unsupported(
                name,
                format!(
                    "asks for the pooling \"{}\", and only cls, mean and last token are done",
                    shown(&other.join(", "))
                ),
            )),
        }
    }

    fn max_tokens(&self, config: &Value) -> Result<usize, ModelsError> {
        let stated = self.json(LENGTH)?.and_then(|file| first_count(&file, &["max_seq_length"]));
        let positions = first_count(config, &["max_position_embeddings", "n_positions", "max_trained_positions"]);
        // RoBERTa's positions begin behind the padding token's.
        let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let unused = if matches!(kind, "roberta" | "xlm-roberta" | "camembert" | "mpnet") {
            config.get("pad_token_id").and_then(Value::as_u64).unwrap_or(1).saturating_add(1) as usize
        } else {
            0
        };
        let tokenizer = self.json(TOKENIZER_CONFIG)?.and_then(|file| first_count(&file, &["model_max_length"]));
        let room = positions.map(|positions| positions.saturating_sub(unused));
        let most = [stated.or(tokenizer), room].into_iter().flatten().min().filter(|most| *most > 0);
        most.ok_or_else(|| self.damaged(CONFIG, "gives no number of positions, and no other file the longest text"))
    }
}

/// The first of `keys` that holds a whole number above 0.
fn first_count(file: &Value, keys: &[&str]) -> Option<usize> {
    let number = |key: &&str| file.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    keys.iter().find_map(number).filter(|count| *count > 0)
}

fn counts(file: &Value, key: &str) -> Option<Vec<usize>> {
    let list = file.get(key)?.as_array()?;
    Some(list.iter().filter_map(Value::as_u64).filter_map(|n| usize::try_from(n).ok()).collect())
}

/// The prompt under the first of `names` that there is, or the default one.
fn prompt(file: &Value, names: &[&str]) -> String {
    let prompts = file.get("prompts");
    let of = |name: &str| prompts.and_then(|prompts| prompts.get(name)).and_then(Value::as_str);
    let default = || file.get("default_prompt_name").and_then(Value::as_str).and_then(of);
    names.iter().find_map(|name| of(name)).or_else(default).unwrap_or_default().to_owned()
}

fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const BERT: &str = r#"{"model_type": "bert", "hidden_size": 384, "max_position_embeddings": 512}"#;
    const THREE: &str = r#"[{"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
        {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]"#;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn read(files: &[(&str, &str)]) -> Result<EmbedderFacts, ModelsError> {
        EmbedderFacts::read(folder(files).path(), &EmbedderSettings::default())
    }

    #[test]
    fn a_whole_sentence_transformers_folder_is_understood() {
        let files = [
            (
                CONFIG,
                r#"{"model_type": "nomic_bert", "n_embd": 768, "n_positions": 8192, "matryoshka_dimensions": [768, 256, 64]}"#,
            ),
            (MODULES, THREE),
            (POOLING, r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#),
            (LENGTH, r#"{"max_seq_length": 2048}"#),
            (PROMPTS, r#"{"prompts": {"search_query": "search_query: ", "search_document": "search_document: "}}"#),
        ];
        let facts = read(&files).unwrap();
        assert_eq!((facts.dimension, facts.max_tokens, facts.pooling), (768, 2048, Pooling::Cls));
        assert_eq!(facts.dimensions, [64, 256]);
        assert_eq!(
            (facts.query_prefix.as_str(), facts.passage_prefix.as_str()),
            ("search_query: ", "search_document: ")
        );

        let settings = EmbedderSettings {
            pooling: Some(Pooling::Mean),
            query_prefix: Some(String::new()),
            max_tokens: Some(100),
            ..EmbedderSettings::default()
        };
        let facts = EmbedderFacts::read(folder(&files).path(), &settings).unwrap();
        assert_eq!((facts.pooling, facts.max_tokens, facts.query_prefix.as_str()), (Pooling::Mean, 100, ""));
        assert_eq!(facts.passage_prefix, "search_document: ");
    }

    #[test]
    fn what_is_not_said_follows_from_the_network() {
        let facts = read(&[(CONFIG, BERT)]).unwrap();
        assert_eq!((facts.max_tokens, facts.pooling), (512, Pooling::Mean));
        let roberta = BERT.replace("\"bert\"", "\"xlm-roberta\"").replace("512", "514");
        assert_eq!(read(&[(CONFIG, &roberta)]).unwrap().max_tokens, 512);
        let tokenizer = (TOKENIZER_CONFIG, r#"{"model_max_length": 1000000000000000019884624838656}"#);
        assert_eq!(read(&[(CONFIG, BERT), tokenizer]).unwrap().max_tokens, 512);
        assert_eq!(
            read(&[(CONFIG, BERT), (TOKENIZER_CONFIG, r#"{"model_max_length": 128}"#)]).unwrap().max_tokens,
            128
        );
        let last = (POOLING, r#"{"pooling_mode_lasttoken": true, "include_prompt": true}"#);
        assert_eq!(read(&[(CONFIG, BERT), (MODULES, THREE), last]).unwrap().pooling, Pooling::LastToken);
        let instruct = (PROMPTS, r#"{"prompts": {"query": "Instruct: "}, "default_prompt_name": "query"}"#);
        assert_eq!(read(&[(CONFIG, BERT), instruct]).unwrap().passage_prefix, "Instruct: ");
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let pooling = |mode: &str| format!("{{\"pooling_mode_{mode}\": true}}");
        let (both, max) =
            (r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#, pooling("max_tokens"));
        let dense = THREE.replace("Normalize\"", "Dense\"");
        let climbing = THREE.replace("1_Pooling", "../1_Pooling");
        for (files, expected) in [
            (vec![(CONFIG, BERT), (MODULES, &dense), (POOLING, r#"{"pooling_mode": "mean"}"#)], "Dense"),
            (vec![(CONFIG, BERT), (MODULES, THREE), (POOLING, &max)], "max_tokens"),
            (vec![(CONFIG, BERT), (MODULES, THREE), (POOLING, both)], "cls_token, mean_tokens"),
            (vec![(CONFIG, BERT), (MODULES, THREE)], "1_Pooling"),
            (vec![(CONFIG, BERT), (MODULES, &climbing)], "climbs"),
            (vec![(CONFIG, BERT), (MODULES, "{")], "not JSON"),
            (vec![(CONFIG, "{}")], "hidden size"),
            (vec![], CONFIG),
        ] {
            let message = read(&files).unwrap_err().to_string();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_json_is_understood_or_refused(texts in proptest::collection::vec("[\\[\\]{}\":,a-z0-9_. -]{0,60}", 4)) {
            let names = [MODULES, POOLING, LENGTH, PROMPTS];
            let mut files: Vec<(&str, &str)> = names.into_iter().zip(texts.iter().map(String::as_str)).collect();
            files.push((CONFIG, BERT));
            let _ = read(&files);
        }
    }
}
