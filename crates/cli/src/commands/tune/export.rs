//! `anser tune export`: a tuned model as one whole, for other programs.

use std::path::PathBuf;

use anser_core::TrainedKind;
use anser_generate::{BaseModel, GgufFormat, LoraAdapter, export_gguf, export_safetensors};
use clap::{Args, ValueEnum};

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// How the weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A folder in Hugging Face's layout
    Safetensors,
    /// One GGUF file of 16-bit floats
    #[value(name = "gguf-f16")]
    GgufF16,
    /// One GGUF file of 8-bit blocks
    #[value(name = "gguf-q8_0")]
    GgufQ8,
    /// One GGUF file of 4-bit blocks
    #[value(name = "gguf-q4_1")]
    GgufQ4,
}

/// Arguments of `anser tune export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser tune export ft:… --format gguf-q8_0 --out model.gguf\n  anser tune export ft:… --format safetensors --out merged/\n  anser tune export my-model/ --format gguf-f16 --out model.gguf"
)]
pub(crate) struct ExportArgs {
    /// The tuned model, `ft:…`, or any model by name or path
    model: String,
    /// How the weights are written
    #[arg(long, value_enum, default_value_t = Format::Safetensors)]
    format: Format,
    /// The folder (safetensors) or file (GGUF) to write
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

impl ExportArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let progress = terminal.progress();
        let store = compose::model_store(settings);
        let (base, adapter) = if self.model.starts_with("ft:") {
            let engine = compose::engine(settings, progress.clone())?;
            let tuned = engine.tuned_model(&self.model)?;
            match tuned.kind {
                TrainedKind::Full => (tuned.folder, None),
                TrainedKind::Adapter => {
                    (compose::locate(&store, &tuned.base, progress.as_ref())?, Some(LoraAdapter::read(&tuned.folder)?))
                }
            }
        } else {
            (compose::locate(&store, &self.model, progress.as_ref())?, None)
        };
        let mut base = BaseModel::open(&base)?;
        let out = &self.out;
        match self.format {
            Format::Safetensors => export_safetensors(&mut base, adapter.as_ref(), out)?,
            Format::GgufF16 => export_gguf(&mut base, adapter.as_ref(), GgufFormat::F16, out)?,
            Format::GgufQ8 => export_gguf(&mut base, adapter.as_ref(), GgufFormat::Q8_0, out)?,
            Format::GgufQ4 => export_gguf(&mut base, adapter.as_ref(), GgufFormat::Q4_1, out)?,
        }
        if terminal.is_json() {
            return terminal.json(&serde_json::json!({"model": self.model, "path": self.out}));
        }
        terminal.line(format!("wrote {}", self.out.display()))
    }
}
