//! Models as a run writes them into its folder: an adapter in PEFT's format, or a whole model folder.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::{Precision, TrainedKind};
use anser_generate::{BaseModel, ChatCodec, FloatFormat, GenerateError, LlamaConfig, write_model_folder};

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
pub(crate) fn replace_folder(folder: &Path, fill: &dyn Fn(&Path) -> Result<(), TuneError>) -> Result<(), TuneError> {
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

/// Writes every weight, with what a model folder needs beside them.
pub(crate) struct FolderWriter {
    pub(crate) config: LlamaConfig,
    pub(crate) codec: Arc<ChatCodec>,
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
        let format = match self.precision {
            Precision::F32 => FloatFormat::F32,
            Precision::Bf16 => FloatFormat::Bf16,
        };
        let learned: BTreeMap<&str, Cow<'_, [f32]>> = model.weights().map(|(name, _, values)| (name, values)).collect();
        let mut tensor = |name: &str| match (learned.get(name), &self.base) {
            (Some(values), _) => Ok(values.to_vec()),
            (None, Some(base)) => base.borrow_mut().tensor(name),
            (None, None) => Err(GenerateError::Export(format!("the model has no tensor {name}"))),
        };
        Ok(write_model_folder(folder, &self.config, &self.codec, format, &mut tensor)?)
    }
}
