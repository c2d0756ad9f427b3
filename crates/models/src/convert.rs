//! An embedder of the BERT family as other files: ONNX or safetensors, in a folder that describes itself.

use std::fs;
use std::path::Path;

use anser_core::storage::write_atomic;
use serde_json::{Value, json};

use crate::folder::{FURTHER, TOKENIZER, WEIGHTS};
use crate::sentence_transformers::{CONFIG, LENGTH, MODULES, POOLING, PROMPTS, TOKENIZER_CONFIG};
use crate::small_file::read_small;
use crate::{Encoder, GraphFormat, ModelFiles, ModelRole, ModelsError, Pooling};

/// What an embedder becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvertTarget {
    /// `model.onnx`, with pooling and normalisation in the graph.
    Onnx(GraphFormat),
    /// `model.safetensors` in f32.
    Safetensors,
}

/// A file that a conversion wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertedFile {
    /// Its name in the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl ModelFiles {
    /// Writes this embedder into the folder `out`, with its tokenizer and the files of sentence-transformers that say how
    /// to use it, so that the folder is an embedder by itself. What lies there already is replaced when `force` says so.
    ///
    /// [`ModelsError::NotConvertible`] for models other than embedders and for a folder that is not empty; else whatever
    /// [`Encoder::read`] and [`Encoder::to_onnx`] refuse.
    pub fn convert(&self, target: ConvertTarget, out: &Path, force: bool) -> Result<Vec<ConvertedFile>, ModelsError> {
        let refused = |reason: String| ModelsError::NotConvertible { reason };
        if self.spec.role != ModelRole::Embedder {
            return Err(refused(format!("{} is no embedder", self.spec.name)));
        }
        let other = || refused(format!("{} is not of the BERT family, the only one that is converted", self.spec.name));
        let pooling = self.spec.pooling.ok_or_else(other)?;
        let taken = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
        if taken && !force {
            return Err(refused(format!(
                "{} is not empty; name another folder, or replace it with --force",
                out.display()
            )));
        }
        if let (Ok(from), Ok(to)) = (fs::canonicalize(&self.dir), fs::canonicalize(out))
            && from == to
        {
            return Err(refused(format!("{} is the model's own folder", out.display())));
        }
        let encoder = Encoder::read(self)?;
        fs::create_dir_all(out).map_err(ModelsError::io("create the folder", out))?;
        let [safetensors, onnx] = WEIGHTS.map(|name| out.join(name));
        // Other weights than the new ones would be read in their place.
        for stale in [&safetensors, &onnx, &out.join(FURTHER[2])] {
            if stale.exists() {
                fs::remove_file(stale).map_err(ModelsError::io("replace", stale))?;
            }
        }
        for name in [TOKENIZER, TOKENIZER_CONFIG, FURTHER[1]] {
            if let Ok(from) = self.path(name) {
                let to = out.join(name);
                fs::copy(&from, &to).map_err(ModelsError::io("copy to", &to))?;
            }
        }
        for (name, content) in self.descriptions(pooling, target)? {
            write_atomic(&out.join(name), format!("{content:#}\n").as_bytes())?;
        }
        match target {
            ConvertTarget::Onnx(format) => encoder.to_onnx(pooling, format)?.write(&onnx)?,
            ConvertTarget::Safetensors => encoder.write_safetensors(&safetensors)?,
        }
        let mut written = Vec::new();
        for name in WEIGHTS.into_iter().chain([TOKENIZER, CONFIG, TOKENIZER_CONFIG, FURTHER[1]]).chain(DESCRIPTIONS) {
            if let Ok(meta) = fs::metadata(out.join(name)) {
                written.push(ConvertedFile { name: name.to_owned(), bytes: meta.len() });
            }
        }
        Ok(written)
    }

    /// `config.json` and what sentence-transformers wants to know.
    fn descriptions(&self, pooling: Pooling, target: ConvertTarget) -> Result<Vec<(&'static str, Value)>, ModelsError> {
        let path = self.path(CONFIG)?;
        let mut config: Value = serde_json::from_slice(&read_small(&path)?)
            .map_err(|error| ModelsError::BadModelFile { path, reason: format!("is not JSON ({error})") })?;
        if let Some(config) = config.as_object_mut()
            && target == ConvertTarget::Safetensors
        {
            config.insert("torch_dtype".to_owned(), json!("float32"));
            if config.contains_key("type_vocab_size") {
                // Rows for other token types than the first are not kept.
                config.insert("type_vocab_size".to_owned(), json!(1));
            }
        }
        let module = |number: usize, kind: &str, path: &str| {
            json!({"idx": number, "name": number.to_string(), "path": path,
                "type": format!("sentence_transformers.models.{kind}")})
        };
        Ok(vec![
            (CONFIG, config),
            (
                MODULES,
                json!([
                    module(0, "Transformer", ""),
                    module(1, "Pooling", "1_Pooling"),
                    module(2, "Normalize", "2_Normalize")
                ]),
            ),
            (
                POOLING,
                json!({
                    "word_embedding_dimension": self.spec.dimension,
                    "pooling_mode_cls_token": pooling == Pooling::Cls,
                    "pooling_mode_mean_tokens": pooling == Pooling::Mean,
                    "pooling_mode_max_tokens": false,
                    "pooling_mode_mean_sqrt_len_tokens": false,
                }),
            ),
            (LENGTH, json!({"max_seq_length": self.spec.max_tokens, "do_lower_case": false})),
            (
                PROMPTS,
                json!({
                    "prompts": {"query": self.spec.query_prefix, "passage": self.spec.passage_prefix},
                    "matryoshka_dimensions": self.spec.dimensions,
                }),
            ),
        ])
    }
}

/// Names of what describes a model, besides `config.json`.
const DESCRIPTIONS: [&str; 4] = [MODULES, POOLING, LENGTH, PROMPTS];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EmbedderSettings;
    use crate::encoder::tests::{FAMILIES, example, model};

    fn source(folder: &Path, encoder: &Encoder) -> ModelFiles {
        encoder.write_safetensors(&folder.join("model.safetensors")).unwrap();
        let mut config = encoder.config.to_json();
        config["dim"] = json!(encoder.config.hidden);
        fs::write(folder.join(CONFIG), config.to_string()).unwrap();
        fs::write(folder.join(TOKENIZER), "{}").unwrap();
        let mut files = model(folder, &["model.safetensors", CONFIG, TOKENIZER]);
        files.spec.query_prefix = "query: ".to_owned();
        files.spec.pooling = Some(Pooling::Cls);
        files.spec.dimensions = vec![4];
        files
    }

    #[test]
    fn a_converted_folder_is_the_same_embedder_by_itself() {
        for family in FAMILIES {
            let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let encoder = example(family, 3);
            let files = source(from.path(), &encoder);
            for target in [ConvertTarget::Onnx(GraphFormat::F32), ConvertTarget::Safetensors] {
                let out = to.path().join(format!("{target:?}"));
                let written = files.convert(target, &out, false).unwrap();
                assert!(written.iter().all(|file| file.bytes > 0) && written.len() >= 7, "{written:?}");
                let read = ModelFiles::from_folder("x", &out, &EmbedderSettings::default()).unwrap();
                assert_eq!(Encoder::read(&read).unwrap(), encoder, "{family:?} {target:?}");
                let (a, b) = (&read.spec, &files.spec);
                assert_eq!((a.pooling, a.max_tokens, a.dimension), (b.pooling, b.max_tokens, b.dimension));
                assert_eq!(
                    (&a.query_prefix, &a.passage_prefix, &a.dimensions),
                    (&b.query_prefix, &b.passage_prefix, &b.dimensions)
                );
            }
        }
    }

    #[test]
    fn nothing_is_replaced_unless_asked_and_never_the_model_itself() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = source(from.path(), &example(FAMILIES[0], 3));
        let onnx = ConvertTarget::Onnx(GraphFormat::Int8);
        files.convert(onnx, to.path(), false).unwrap();
        let message = files.convert(onnx, to.path(), false).unwrap_err().to_string();
        assert!(message.contains("--force"), "{message}");
        files.convert(ConvertTarget::Safetensors, to.path(), true).unwrap();
        assert!(!to.path().join("model.onnx").exists() && to.path().join("model.safetensors").exists());
        assert!(files.convert(onnx, from.path(), true).unwrap_err().to_string().contains("own folder"));
        assert!(from.path().join("model.safetensors").exists());
        let mut other = files;
        other.spec.role = ModelRole::Reranker;
        assert!(other.convert(onnx, to.path(), true).is_err());
    }
}
