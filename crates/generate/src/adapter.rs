//! [`LoraAdapter`]: low-rank updates of a model's projections (Hu et al. 2021), in the file format of the Python package
//! peft.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anser_core::storage::write_atomic;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::adapter_config::AdapterConfig;
use crate::config::{PROJECTIONS, part_of};
use crate::safetensors::{Fault, TensorFiles};
use crate::{GenerateError, LlamaConfig};

const CONFIG_FILE: &str = "adapter_config.json";
const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// What PEFT puts before the name that a tensor has in the model.
const KEY_PREFIX: &str = "base_model.model.";
/// Largest rank that is read.
const HIGHEST_RANK: usize = 4096;

/// Low-rank updates beside the projections of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraAdapter {
    /// How the adapter was shaped, and for which model.
    pub config: AdapterConfig,
    /// The update of each projection, by its name in the model (`model.layers.0.self_attn.q_proj`).
    pub updates: BTreeMap<String, LoraPair>,
}

/// The update of one projection: its output grows by `scale · B(A x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraPair {
    /// `[rank, inputs]`, row-major.
    pub a: Vec<f32>,
    /// `[outputs, rank]`, row-major.
    pub b: Vec<f32>,
    /// Rows of `a`.
    pub rank: usize,
    /// Width of the projection's input.
    pub inputs: usize,
    /// Width of the projection's output.
    pub outputs: usize,
    /// Factor on the update: alpha / rank in PEFT's terms.
    pub scale: f32,
}

impl LoraPair {
    /// `scale · B A`, `[outputs, inputs]`, row-major: what a merged weight matrix gains.
    pub fn delta(&self) -> Vec<f32> {
        let mut delta = vec![0.0; self.outputs * self.inputs];
        for (row, weights) in delta.chunks_exact_mut(self.inputs.max(1)).zip(self.b.chunks_exact(self.rank.max(1))) {
            for (weight, direction) in weights.iter().zip(self.a.chunks_exact(self.inputs.max(1))) {
                let factor = self.scale * weight;
                for (value, along) in row.iter_mut().zip(direction) {
                    *value += factor * along;
                }
            }
        }
        delta
    }

    fn fits(&self) -> bool {
        self.a.len() == self.rank * self.inputs && self.b.len() == self.outputs * self.rank
    }
}

impl LoraAdapter {
    /// Reads `adapter_config.json` and `adapter_model.safetensors` of `folder`. Every update must be whole and on a
    /// projection of a llama block.
    pub fn read(folder: &Path) -> Result<Self, GenerateError> {
        let damaged = |file: &str, reason: String| GenerateError::AdapterDamaged { path: folder.join(file), reason };
        let unsupported =
            |reason: String| GenerateError::AdapterUnsupported { adapter: folder.display().to_string(), reason };
        let config_path = folder.join(CONFIG_FILE);
        let text = fs::read_to_string(&config_path)
            .map_err(|source| GenerateError::Read { path: config_path.clone(), source })?;
        let value =
            serde_json::from_str(&text).map_err(|error| damaged(CONFIG_FILE, format!("it is not JSON: {error}")))?;
        let config = AdapterConfig::from_json(&value).map_err(unsupported)?;

        let weights = folder.join(WEIGHTS_FILE);
        if !weights.is_file() && folder.join("adapter_model.bin").is_file() {
            return Err(unsupported(format!("its weights are pickled; save them as {WEIGHTS_FILE}")));
        }
        let mut files = TensorFiles::open(&[weights]).map_err(adapter_error)?;
        let mut names: Vec<String> = Vec::new();
        for key in files.names() {
            let (name, half) = split_key(key)
                .ok_or_else(|| unsupported(format!("its tensor {key} is not on a projection of a llama block")))?;
            if half == Half::A {
                names.push(name.to_owned());
            } else if files.shape(&key_of(name, Half::A)).is_none() {
                return Err(damaged(WEIGHTS_FILE, format!("{name} has lora_B but no lora_A")));
            }
        }
        let mut updates = BTreeMap::new();
        for name in names {
            let shape = |half| match files.shape(&key_of(&name, half)) {
                Some((&[rows, columns], true)) => Ok((rows, columns)),
                Some(_) => Err(damaged(WEIGHTS_FILE, format!("{name} is not a matrix of floats"))),
                None => Err(damaged(WEIGHTS_FILE, format!("{name} has lora_A but no lora_B"))),
            };
            let ((rank, inputs), (outputs, b_rank)) = (shape(Half::A)?, shape(Half::B)?);
            if rank != b_rank || rank == 0 || rank > HIGHEST_RANK || inputs == 0 || outputs == 0 {
                return Err(damaged(
                    WEIGHTS_FILE,
                    format!("{name} has lora_A [{rank}, {inputs}] and lora_B [{outputs}, {b_rank}]"),
                ));
            }
            if config.rank_of(&name) != rank {
                return Err(damaged(
                    WEIGHTS_FILE,
                    format!("{name} has rank {rank}, its configuration says {}", config.rank_of(&name)),
                ));
            }
            let scale = (config.alpha_of(&name) / rank as f64) as f32;
            let a = files.read(&key_of(&name, Half::A)).map_err(adapter_error)?;
            let b = files.read(&key_of(&name, Half::B)).map_err(adapter_error)?;
            if a.iter().chain(&b).any(|value| !value.is_finite()) {
                return Err(damaged(WEIGHTS_FILE, format!("{name} holds a number that is not finite")));
            }
            updates.insert(name, LoraPair { a, b, rank, inputs, outputs, scale });
        }
        if updates.is_empty() {
            return Err(damaged(WEIGHTS_FILE, "it holds no update".to_owned()));
        }
        Ok(Self { config, updates })
    }

    /// Writes the adapter into `folder`, which is made if need be; each file is replaced whole. Ranks and scales that
    /// differ from the configuration's go into PEFT's `rank_pattern` and `alpha_pattern`.
    pub fn write(&self, folder: &Path) -> Result<(), GenerateError> {
        let mut bytes: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::with_capacity(2 * self.updates.len());
        for (name, pair) in &self.updates {
            if !pair.fits() || split_name(name).is_none() {
                return Err(GenerateError::Export(format!("the update of {name} does not fit together")));
            }
            let little_endian = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
            bytes.push((key_of(name, Half::A), vec![pair.rank, pair.inputs], little_endian(&pair.a)));
            bytes.push((key_of(name, Half::B), vec![pair.outputs, pair.rank], little_endian(&pair.b)));
        }
        let views = bytes.iter().map(|(key, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (key.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| GenerateError::Export(error.to_string()))?;
        // What transformers looks for before it reads a file.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let file =
            safetensors::serialize(views, Some(metadata)).map_err(|error| GenerateError::Export(error.to_string()))?;
        write_atomic(&folder.join(WEIGHTS_FILE), &file)?;
        let config = self.config.to_json(&self.updates);
        write_atomic(&folder.join(CONFIG_FILE), config.as_bytes())?;
        Ok(())
    }

    /// Bytes of memory that the updates take.
    pub fn bytes(&self) -> usize {
        self.updates.values().map(|pair| (pair.a.len() + pair.b.len()) * size_of::<f32>()).sum()
    }

    /// Whether every update fits a model of shape `model`; the error names the first that does not.
    pub fn check(&self, model: &LlamaConfig) -> Result<(), GenerateError> {
        let refuse = |reason: String| {
            Err(GenerateError::AdapterUnsupported { adapter: format!("for {}", self.config.base_model), reason })
        };
        for (name, pair) in &self.updates {
            let place = split_name(name).filter(|(block, _)| *block < model.blocks);
            let Some((outputs, inputs)) = place.and_then(|(_, projection)| model.projection(projection)) else {
                return refuse(format!("the model has no projection {name}"));
            };
            if (pair.outputs, pair.inputs) != (outputs, inputs) || pair.rank == 0 || !pair.fits() {
                return refuse(format!(
                    "its update of {name} is [{}, {}], the model's matrix [{outputs}, {inputs}]",
                    pair.outputs, pair.inputs
                ));
            }
        }
        Ok(())
    }
}

/// Which factor of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    A,
    B,
}

fn key_of(name: &str, half: Half) -> String {
    let half = if half == Half::A { "lora_A" } else { "lora_B" };
    format!("{KEY_PREFIX}{name}.{half}.weight")
}

fn split_key(key: &str) -> Option<(&str, Half)> {
    let rest = key.strip_prefix(KEY_PREFIX)?.strip_suffix(".weight")?;
    let (name, half) = match rest.strip_suffix(".lora_A") {
        Some(name) => (name, Half::A),
        None => (rest.strip_suffix(".lora_B")?, Half::B),
    };
    split_name(name).map(|_| (name, half))
}

/// Block and projection of `model.layers.0.self_attn.q_proj`.
pub(crate) fn split_name(name: &str) -> Option<(usize, &'static str)> {
    let (number, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, projection) = rest.split_once('.')?;
    let projection = PROJECTIONS.into_iter().find(|known| *known == projection)?;
    let block: usize = number.parse().ok()?;
    // "+1" and "01" are numbers too, but not names of the same tensor.
    (part == part_of(projection) && block.to_string() == number).then_some((block, projection))
}

fn adapter_error(fault: Fault) -> GenerateError {
    match fault {
        Fault::Io(path, source) => GenerateError::Read { path, source },
        Fault::Damaged(path, reason) => GenerateError::AdapterDamaged { path, reason },
    }
}
