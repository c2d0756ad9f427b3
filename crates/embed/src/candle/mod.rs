//! Encoders in candle's tensors: the engine for GPUs, and on a processor for families that no other engine runs.
//!
//! The passes are our own, over candle's operations; the crate of ready models serves the tests as a reference. Those
//! models give NaN in 16-bit floats where a mask is involved, count positions in the weights' number format, or do not
//! mask padding at all.

mod architecture;
mod attention;
mod batches;
pub(crate) mod device;
mod encoder;
mod families;
mod graph;
#[cfg(test)]
mod tests;
mod weights;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anser_core::{Device, DeviceFault};
use anser_models::{ModelFiles, Pooling};

use crate::backend::{Backend, Batching, Input, Session};
use crate::candle::architecture::Architecture;
use crate::candle::batches::{Room, batches, halving};
use crate::candle::encoder::Encoder;
use crate::candle::weights::Weights;
use crate::{EmbedError, NumberFormat};

/// Its configuration's name in a model's folder.
const CONFIG: &str = "config.json";
/// The graph's name there.
const GRAPH: &str = "model.onnx";
/// Longest text of a model whose catalogue entry names none.
const MOST_TOKENS: usize = 8192;
/// Attention scores of one layer that a pass may hold: 1 GiB in 16 bits.
const SCORES: usize = 1 << 29;

/// An encoder on a device.
pub(crate) struct CandleBackend {
    encoder: Arc<Encoder>,
    device: Device,
    format: NumberFormat,
}

impl CandleBackend {
    /// Whether `files` hold the weights of a family that can be run.
    pub(crate) fn supports(files: &ModelFiles) -> bool {
        let described =
            |path: PathBuf| fs::read_to_string(path).is_ok_and(|config| Architecture::read(&config).is_ok());
        if weight_files(files).is_empty() {
            anser_models::Encoder::readable(files)
        } else {
            files.path(CONFIG).is_ok_and(described)
        }
    }

    /// Brings the weights in `files` to `device`, in `format`: those of its safetensors files or, for the BERT family,
    /// those of its ONNX graph.
    pub(crate) fn load(
        files: &ModelFiles,
        pooling: Pooling,
        format: NumberFormat,
        device: Device,
    ) -> Result<Self, EmbedError> {
        let model = || files.spec.name.clone();
        let opened = device::open(device)?;
        let dtype = device::number_type(&opened, format).ok_or_else(|| EmbedError::UnfitSpec {
            model: model(),
            role: "an embedder on candle",
            reason: "candle multiplies no 8-bit integers: choose f32 or bf16".to_owned(),
        })?;
        let paths = weight_files(files);
        let path = match paths.first() {
            Some(path) => path.clone(),
            None => files.path(GRAPH)?,
        };
        let failed = |error: &candle_core::Error| {
            let failure = device::failure(device, error);
            if failure.fault == DeviceFault::Failed {
                EmbedError::BadFile { model: model(), path: path.clone(), reason: failure.report }
            } else {
                failure.into()
            }
        };
        let (architecture, weights) = if paths.is_empty() {
            let encoder = anser_models::Encoder::read(files)?;
            let architecture = graph::architecture(&encoder.config).map_err(|error| failed(&error))?;
            let tensors = graph::tensors(encoder).map_err(|error| failed(&error))?;
            (architecture, Weights::of(tensors, dtype, &opened))
        } else {
            let path = files.path(CONFIG)?;
            let config = fs::read_to_string(&path).map_err(|source| EmbedError::Read { path: path.clone(), source })?;
            let architecture = Architecture::read(&config).map_err(|reason| EmbedError::BadFile {
                model: model(),
                path: path.clone(),
                reason,
            })?;
            let weights = Weights::open(&paths, families::probe(architecture.family), dtype, &opened);
            (architecture, weights.map_err(|error| failed(&error))?)
        };
        let max_tokens = files.spec.max_tokens.unwrap_or(MOST_TOKENS);
        let encoder = Encoder::load(architecture, &weights, pooling, max_tokens).map_err(|error| failed(&error))?;
        Ok(Self { encoder: Arc::new(encoder), device, format })
    }

    /// Engine, format and, when it is not the processor, device.
    pub(crate) fn title(format: NumberFormat, device: Device) -> String {
        match device {
            Device::Cpu => format!("candle {format}"),
            device => format!("candle {format} on {device}"),
        }
    }

    fn room(&self) -> Room {
        // A GPU is idle until thousands of rows are in one product; a processor's caches hold few.
        let tokens = if self.device.is_cpu() { 1024 } else { 65_536 };
        Room { tokens, scores: SCORES, heads: self.encoder.heads() }
    }
}

/// The safetensors files of `files`, in order of their names.
fn weight_files(files: &ModelFiles) -> Vec<PathBuf> {
    let names = files.spec.files.iter().map(|file| file.name.as_str());
    let mut paths: Vec<PathBuf> = names
        .filter(|name| {
            name.strip_suffix(".safetensors").is_some_and(|stem| stem == "model" || stem.starts_with("model-"))
        })
        .map(|name| files.dir.join(name))
        .collect();
    paths.sort();
    paths
}

impl Backend for CandleBackend {
    fn name(&self) -> String {
        Self::title(self.format, self.device)
    }

    fn batching(&self) -> Batching {
        Batching::Padded
    }

    fn run_tokens(&self) -> usize {
        self.room().tokens
    }

    fn shares_weights(&self) -> bool {
        true
    }

    fn most_sessions(&self) -> usize {
        1
    }

    fn session(&self, _threads: usize) -> Result<Box<dyn Session>, EmbedError> {
        Ok(Box::new(CandleSession { encoder: Arc::clone(&self.encoder), device: self.device, room: self.room() }))
    }
}

/// What runs an encoder.
struct CandleSession {
    encoder: Arc<Encoder>,
    device: Device,
    room: Room,
}

impl Session for CandleSession {
    fn run(&mut self, batch: &[Input]) -> Result<Vec<Vec<f32>>, String> {
        let lengths: Vec<usize> = batch.iter().map(|input| input.ids.len()).collect();
        let mut vectors = vec![Vec::new(); batch.len()];
        for indices in batches(&lengths, self.room) {
            let texts: Vec<&[u32]> =
                indices.iter().filter_map(|index| batch.get(*index)).map(|input| input.ids.as_slice()).collect();
            let made = halving(&texts, &mut |texts| {
                self.encoder.vectors(texts).map_err(|error| {
                    let failure = device::failure(self.device, &error);
                    if failure.fault == DeviceFault::OutOfMemory && texts.len() > 1 {
                        // What did not fit once is not tried again.
                        let places = texts.iter().map(|ids| ids.len()).max().unwrap_or(0) * texts.len();
                        self.room.tokens = self.room.tokens.min(places / 2);
                    }
                    let reason = if self.device.is_cpu() { failure.report.clone() } else { failure.to_string() };
                    (failure.fault, reason)
                })
            })?;
            for (index, vector) in indices.into_iter().zip(made) {
                if let Some(place) = vectors.get_mut(index) {
                    *place = vector;
                }
            }
        }
        Ok(vectors)
    }
}
