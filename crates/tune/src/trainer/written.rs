//! Models as a run writes them into its folder: an adapter in PEFT's format, or a whole model folder.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anser_core::{Precision, TrainedKind};
use anser_generate::{BaseModel, ChatCodec, LlamaConfig};
use half::bf16;
use safetensors::tensor::{Dtype, View};
use serde_json::{Value, json};

use crate::TuneError;
use crate::model::TrainableModel;
use crate::rank_allocation::RankAllocation;

/// Folder of the model written after `step`, relative to the run's.
pub(crate) fn checkpoint_folder(step: usize) -> PathBuf {
    Path::new("checkpoints").join(format!("step-{step}"))
}

/// Writes a model that can be served into `folder`, which exists and is empty.
pub(crate) trait ModelWriter {
    /// What it writes.
    fn kind(&self) -> TrainedKind;

    /// Writes the files.
    fn write_files(
        &self,
        model: &TrainableModel,
        ranks: Option<&RankAllocation>,
        folder: &Path,
    ) -> Result<(), TuneError>;

    /// Puts the model at `folder` in one step, in place of any that an interrupted run left there.
    fn write(&self, model: &TrainableModel, ranks: Option<&RankAllocation>, folder: &Path) -> Result<(), TuneError> {
        replace_folder(folder, &|new| self.write_files(model, ranks, new))
    }
}

/// Makes a folder whole before it gets its name.
pub(crate) fn replace_folder(
    folder: &Path,
    fill: &dyn Fn(&Path) -> Result<(), TuneError>,
) -> Result<(), TuneError> {
    let new = folder.with_extension("part");
    for old in [&new, folder] {
        match std::fs::remove_dir_all(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(TuneError::io("replace", old, error));
            }
            _ => {}
        }
    }
    std::fs::create_dir_all(&new).map_err(|error| TuneError::io("create", &new, error))?;
    fill(&new)?;
    std::fs::rename(&new, folder).map_err(|error| TuneError::io("write", folder, error))
}

/// Copies a written model, by links where the file system has them.
pub(crate) fn copy_model(from: &Path, to: &Path) -> Result<(), TuneError> {
    replace_folder(to, &|new| {
        let entries = std::fs::read_dir(from).map_err(|error| TuneError::io("read", from, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| TuneError::io("read", from, error))?;
            let target = new.join(entry.file_name());
            std::fs::hard_link(entry.path(), &target)
                .or_else(|_| std::fs::copy(entry.path(), &target).map(|_| ()))
                .map_err(|error| TuneError::io("write", target, error))?;
        }
        Ok(())
    })
}

/// Writes low-rank updates.
pub(crate) struct AdapterWriter {
    /// Name of the base model.
    pub(crate) base: String,
}

impl ModelWriter for AdapterWriter {
    fn kind(&self) -> TrainedKind {
        TrainedKind::Adapter
    }

    fn write_files(
        &self,
        model: &TrainableModel,
        ranks: Option<&RankAllocation>,
        folder: &Path,
    ) -> Result<(), TuneError> {
        let mut adapter = model.adapter().ok_or_else(|| TuneError::Internal("the model has no adapter".to_owned()))?;
        adapter.config.base_model.clone_from(&self.base);
        if let Some(ranks) = ranks {
            ranks.compact(&mut adapter);
        }
        Ok(adapter.write(folder)?)
    }
}

/// What a model folder holds beside configuration and weights.
#[derive(Debug, Clone)]
pub(crate) struct TextFiles {
    /// Text of `tokenizer.json`.
    pub(crate) tokenizer_json: String,
    /// Jinja text of the chat template.
    pub(crate) chat_template: String,
    /// Text of the token that begins a text.
    pub(crate) bos: Option<String>,
    /// Text of the token that ends a text.
    pub(crate) eos: Option<String>,
}

impl TextFiles {
    /// Those of a model that was read.
    pub(crate) fn of_codec(codec: &ChatCodec) -> Result<Self, TuneError> {
        let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Self {
            tokenizer_json: codec.tokenizer_json()?,
            chat_template: codec.chat_template().to_owned(),
            bos: named(codec.bos_text()),
            eos: named(codec.eos_text()),
        })
    }

    /// Id of a control token.
    fn id(&self, token: Option<&String>) -> Option<u32> {
        let tokenizer: Value = serde_json::from_str(&self.tokenizer_json).ok()?;
        let added = tokenizer.get("added_tokens")?.as_array()?;
        let found = added.iter().find(|added| added.get("content").and_then(Value::as_str) == token.map(String::as_str));
        found?.get("id")?.as_u64()?.try_into().ok()
    }
}

/// Writes every weight, with what a model folder needs beside them.
pub(crate) struct FolderWriter {
    pub(crate) config: LlamaConfig,
    pub(crate) texts: TextFiles,
    pub(crate) precision: Precision,
    /// Where the tensors that did not learn come from; a model from scratch has none.
    pub(crate) base: Option<RefCell<BaseModel>>,
}

impl ModelWriter for FolderWriter {
    fn kind(&self) -> TrainedKind {
        TrainedKind::Full
    }

    fn write_files(
        &self,
        model: &TrainableModel,
        _ranks: Option<&RankAllocation>,
        folder: &Path,
    ) -> Result<(), TuneError> {
        // What was multiplied in 16 bits loses nothing by being written in 16 bits.
        let (dtype, name) = match self.precision {
            Precision::F32 => (Dtype::F32, "float32"),
            Precision::Bf16 => (Dtype::BF16, "bfloat16"),
        };
        let mut tensors: BTreeMap<String, WrittenTensor<'_>> = model
            .weights()
            .map(|(name, shape, values)| (name.to_owned(), WrittenTensor::new(shape.to_vec(), values, dtype)))
            .collect();
        if let Some(base) = &self.base {
            for (name, shape) in BaseModel::tensor_names(&self.config) {
                if !tensors.contains_key(&name) {
                    let values = base.borrow_mut().tensor(&name)?;
                    tensors.insert(name, WrittenTensor::new(shape, Cow::Owned(values), dtype).converted());
                }
            }
        }
        // What transformers looks for before it reads a file.
        let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let path = folder.join("model.safetensors");
        safetensors::serialize_to_file(tensors, Some(about), &path).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(error) => TuneError::io("write", &path, error),
            error => TuneError::Internal(error.to_string()),
        })?;
        let texts = &self.texts;
        let tokenizer = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": texts.bos,
            "eos_token": texts.eos,
            "chat_template": texts.chat_template,
            "model_max_length": self.config.context,
            "clean_up_tokenization_spaces": false,
        });
        let (bos, eos) = (texts.id(texts.bos.as_ref()), texts.id(texts.eos.as_ref()));
        let files = [
            ("config.json", self.config.to_json(name, bos, eos)),
            ("tokenizer.json", texts.tokenizer_json.clone()),
            ("tokenizer_config.json", format!("{tokenizer:#}\n")),
            ("chat_template.jinja", texts.chat_template.clone()),
        ];
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|error| TuneError::io("write", path, error))?;
        }
        Ok(())
    }
}

/// A tensor in the format it is written in.
struct WrittenTensor<'a> {
    shape: Vec<usize>,
    dtype: Dtype,
    values: Cow<'a, [f32]>,
    /// The bytes, when they are already made and the values gone.
    bytes: Option<Vec<u8>>,
}

impl<'a> WrittenTensor<'a> {
    fn new(shape: Vec<usize>, values: Cow<'a, [f32]>, dtype: Dtype) -> Self {
        Self { shape, dtype, values, bytes: None }
    }

    /// Gives the values' memory up for the bytes, which may be half of it.
    fn converted(self) -> Self {
        let bytes = Some(self.data().into_owned());
        Self { values: Cow::Borrowed(&[]), bytes, ..self }
    }
}

impl View for WrittenTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.bytes {
            Some(bytes) => Cow::Borrowed(bytes),
            None if self.dtype == Dtype::BF16 => {
                self.values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()
            }
            None => self.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * if self.dtype == Dtype::BF16 { 2 } else { 4 }
    }
}
