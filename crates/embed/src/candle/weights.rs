//! Tensors of safetensors files, found by name, checked for their shape and brought to the device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Error, Result, Tensor};

/// The files' tensors, as one name space.
pub(super) struct Weights {
    source: Source,
    names: BTreeSet<String>,
    /// What stands before every name, such as `bert.`.
    prefix: String,
    dtype: DType,
    device: Device,
}

/// Where tensors are taken from.
enum Source {
    /// Files, mapped into memory.
    Mapped(MmapedSafetensors),
    /// The machine's memory.
    Memory(BTreeMap<String, Tensor>),
}

/// Weight and bias of y = x·Wᵀ + b on the device.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// [inputs, outputs], a view of the file's [outputs, inputs].
    transposed: Tensor,
    bias: Option<Tensor>,
}

/// A norm of each row.
#[derive(Debug, Clone)]
pub(super) enum Norm {
    /// Mean removed and scaled to unit variance (Ba et al. 2016).
    Layer { weight: Tensor, bias: Tensor, epsilon: f32 },
    /// Scaled to unit mean square (Zhang and Sennrich 2019).
    Rms { weight: Tensor, epsilon: f32 },
}

impl Weights {
    /// Maps `paths`. Every name begins with what stands before `probe`, a tensor that the family always has.
    pub(super) fn open(paths: &[PathBuf], probe: &str, dtype: DType, device: &Device) -> Result<Self> {
        #[expect(unsafe_code, reason = "weights are mapped, not copied: they are read once and go to the device")]
        // SAFETY: a mapped file must not be changed while it is read; model files are written once under another name and
        // renamed into place, and never written again.
        let files = unsafe { MmapedSafetensors::multi(paths)? };
        let names: BTreeSet<String> = files.tensors().into_iter().map(|(name, _)| name).collect();
        let prefix = names
            .iter()
            .filter_map(|name| name.strip_suffix(probe))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            .min_by_key(|prefix| prefix.len())
            .ok_or_else(|| Error::msg(format!("tensor {probe} is missing")))?
            .to_owned();
        Ok(Self { source: Source::Mapped(files), names, prefix, dtype, device: device.clone() })
    }

    /// Takes tensors that are in memory.
    pub(super) fn of(tensors: BTreeMap<String, Tensor>, dtype: DType, device: &Device) -> Self {
        let names = tensors.keys().cloned().collect();
        Self { source: Source::Memory(tensors), names, prefix: String::new(), dtype, device: device.clone() }
    }

    /// The device that tensors are brought to.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Their type there.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(&format!("{}{name}", self.prefix))
    }

    /// The tensor `name`, which must have this shape.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        if !self.names.contains(&name) {
            return Err(Error::msg(format!("tensor {name} is missing")));
        }
        let tensor = match &self.source {
            Source::Mapped(files) => files.load(&name, &Device::Cpu)?,
            Source::Memory(tensors) => match tensors.get(&name) {
                Some(tensor) => tensor.clone(),
                None => return Err(Error::msg(format!("tensor {name} is missing"))),
            },
        };
        if tensor.dims() != shape {
            return Err(Error::msg(format!("tensor {name} has the shape {:?} instead of {shape:?}", tensor.dims())));
        }
        tensor.to_dtype(self.dtype)?.to_device(&self.device)
    }

    /// The products of `names`, one below another, as one; biases where the file has them.
    pub(super) fn linear(&self, names: &[(&str, usize)], inputs: usize) -> Result<Linear> {
        let mut weights = Vec::with_capacity(names.len());
        let mut biases = Vec::with_capacity(names.len());
        for (name, outputs) in names {
            weights.push(self.tensor(&format!("{name}.weight"), &[*outputs, inputs])?);
            let bias = format!("{name}.bias");
            biases.push(if self.has(&bias) { Some(self.tensor(&bias, &[*outputs])?) } else { None });
        }
        let bias = if biases.iter().any(Option::is_some) {
            let parts = biases.into_iter().zip(names).map(|(bias, (_, outputs))| match bias {
                Some(bias) => Ok(bias),
                None => Tensor::zeros(*outputs, self.dtype, &self.device),
            });
            Some(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
        } else {
            None
        };
        Ok(Linear { transposed: Tensor::cat(&weights, 0)?.t()?, bias })
    }

    /// The layer norm `name` of `width` columns. Old files call weight and bias gamma and beta; some have no bias.
    pub(super) fn layer_norm(&self, name: &str, width: usize, epsilon: f32) -> Result<Norm> {
        let [weight, bias] = if self.has(&format!("{name}.gamma")) { ["gamma", "beta"] } else { ["weight", "bias"] };
        let weight = self.tensor(&format!("{name}.{weight}"), &[width])?;
        let bias = format!("{name}.{bias}");
        let bias = if self.has(&bias) { self.tensor(&bias, &[width])? } else { weight.zeros_like()? };
        Ok(Norm::Layer { weight, bias, epsilon })
    }

    /// The layer norm `name`, if the file has one.
    pub(super) fn optional_layer_norm(&self, name: &str, width: usize, epsilon: f32) -> Result<Option<Norm>> {
        if self.has(&format!("{name}.weight")) { self.layer_norm(name, width, epsilon).map(Some) } else { Ok(None) }
    }

    /// The RMS norm `name` of `width` columns.
    pub(super) fn rms_norm(&self, name: &str, width: usize, epsilon: f32) -> Result<Norm> {
        Ok(Norm::Rms { weight: self.tensor(&format!("{name}.weight"), &[width])?, epsilon })
    }
}

impl Linear {
    /// The product of the rows of `x`, `[_, inputs]`.
    pub(super) fn product(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.transposed)?;
        match &self.bias {
            None => Ok(y),
            Some(bias) => y.broadcast_add(bias),
        }
    }
}

impl Norm {
    /// The norm of every row of `x`, which has no gaps.
    pub(super) fn of(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Layer { weight, bias, epsilon } => candle_nn::ops::layer_norm(x, weight, bias, *epsilon),
            Self::Rms { weight, epsilon } => candle_nn::ops::rms_norm(x, weight, *epsilon),
        }
    }
}
