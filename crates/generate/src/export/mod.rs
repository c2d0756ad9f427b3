//! Writing a model: the base alone or with an adapter merged into it, as a Hugging Face folder or as GGUF.

mod folder;
mod gguf;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anser_core::storage::folder_of;

pub use folder::{FloatFormat, export_safetensors, export_safetensors_as, write_model_folder};
pub use gguf::{GgufFormat, export_gguf};

use crate::adapter::LoraAdapter;
use crate::base::BaseModel;
use crate::{GenerateError, LlamaConfig};

/// A model whose tensors are the base's with an adapter's updates added.
struct Merged<'a> {
    base: &'a mut BaseModel,
    adapter: Option<&'a LoraAdapter>,
}

impl<'a> Merged<'a> {
    fn new(base: &'a mut BaseModel, adapter: Option<&'a LoraAdapter>) -> Result<Self, GenerateError> {
        if let Some(adapter) = adapter {
            adapter.check(base.config())?;
        }
        Ok(Self { base, adapter })
    }

    fn config(&self) -> &LlamaConfig {
        self.base.config()
    }

    /// The values of a tensor: W + scale · B A where the adapter has an update of it.
    fn tensor(&mut self, name: &str) -> Result<Vec<f32>, GenerateError> {
        let mut values = self.base.tensor(name)?;
        let update =
            name.strip_suffix(".weight").zip(self.adapter).and_then(|(name, adapter)| adapter.updates.get(name));
        if let Some(pair) = update {
            for (value, delta) in values.iter_mut().zip(pair.delta()) {
                *value += delta;
            }
        }
        Ok(values)
    }
}

/// Replaces `path` by what `write` puts into a file beside it, once that is whole.
fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<(), GenerateError>,
) -> Result<(), GenerateError> {
    let failed = |source| GenerateError::Write { path: path.to_owned(), source };
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}.{}.part", std::process::id()));
    let result = File::create(&unfinished).map_err(failed).and_then(|mut file| {
        let mut writer = BufWriter::with_capacity(1 << 20, &mut file);
        write(&mut writer)?;
        writer.flush().map_err(failed)?;
        drop(writer);
        file.sync_all().map_err(failed)?;
        fs::rename(&unfinished, path).map_err(failed)
    });
    if result.is_err() {
        fs::remove_file(&unfinished).ok();
    }
    result
}

/// Refuses numbers that 16-bit floats cannot hold.
fn check_half(name: &str, values: &[f32]) -> Result<(), GenerateError> {
    match values.iter().find(|value| value.abs() > half::f16::MAX.to_f32()) {
        Some(value) => Err(GenerateError::Export(format!(
            "{name} holds {value}, which is too large for 16-bit floats; export it in f32 or bf16"
        ))),
        None => Ok(()),
    }
}
