//! One pass of a padded batch through an encoder, in candle's tensors: any family, any device, any float type.
//!
//! Padded places are hidden by a finite number, not by an infinite one: it is representable in 16-bit floats too, and a
//! row that sees nothing gives no NaN.

use anser_models::Pooling;
use candle_core::{D, DType, Device, Error, Result, Tensor};

use super::architecture::{Activation, Architecture, Positions};
use super::attention::{Mask, Rotary, attend};
use super::families;
use super::weights::{Linear, Norm, Weights};

/// What stands before the first layer and behind the last.
pub(super) struct Embeddings {
    /// [vocabulary, hidden].
    pub(super) tokens: Tensor,
    /// [most tokens, hidden].
    pub(super) positions: Option<Tensor>,
    /// [hidden], of token type 0.
    pub(super) token_type: Option<Tensor>,
    pub(super) norm: Option<Norm>,
    pub(super) last_norm: Option<Norm>,
}

/// The weights of a layer's attention.
pub(super) struct Attention {
    /// Queries, keys and values side by side.
    pub(super) projections: Linear,
    /// Of each head's queries and keys.
    pub(super) head_norms: Option<(Norm, Norm)>,
    pub(super) output: Linear,
    pub(super) norm: Option<Norm>,
}

/// The weights of a layer's feed-forward block.
pub(super) struct FeedForward {
    /// With a gate: first what goes through the activation, then what it is multiplied with.
    pub(super) up: Linear,
    pub(super) gated: bool,
    pub(super) down: Linear,
    pub(super) norm: Norm,
}

/// One layer.
pub(super) struct Layer {
    pub(super) attention: Attention,
    pub(super) feed_forward: FeedForward,
}

/// An encoder on a device.
pub(super) struct Encoder {
    architecture: Architecture,
    embeddings: Embeddings,
    layers: Vec<Layer>,
    rotary: Option<Rotary>,
    local_rotary: Option<Rotary>,
    pooling: Pooling,
    dtype: DType,
    device: Device,
}

impl Encoder {
    /// Brings the weights of `architecture` to their device. Texts have at most `max_tokens` tokens.
    pub(super) fn load(
        mut architecture: Architecture,
        weights: &Weights,
        pooling: Pooling,
        max_tokens: usize,
    ) -> Result<Self> {
        let embeddings = families::embeddings(weights, &architecture)?;
        architecture.max_tokens = architecture.max_tokens.min(max_tokens);
        let layers = (0..architecture.layers).map(|index| families::layer(weights, &architecture, index));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let (rotary, local_rotary) = match architecture.positions {
            Positions::Rotary { base, local_base } => {
                let rotary = |base| Rotary::new(architecture.head_dim, base, architecture.max_tokens, weights);
                (Some(rotary(base)?), architecture.window.map(|_| rotary(local_base)).transpose()?)
            }
            Positions::Learned { .. } | Positions::LinearBias => (None, None),
        };
        let (dtype, device) = (weights.dtype(), weights.device().clone());
        Ok(Self { architecture, embeddings, layers, rotary, local_rotary, pooling, dtype, device })
    }

    /// Heads of a layer.
    pub(super) fn heads(&self) -> usize {
        self.architecture.heads
    }

    /// One pooled vector for each text.
    pub(super) fn vectors(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let longest = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        if texts.iter().any(|ids| ids.is_empty()) {
            return Err(Error::msg("a text has no tokens"));
        }
        if longest > self.architecture.max_tokens {
            let most = self.architecture.max_tokens;
            return Err(Error::msg(format!("a text has {longest} tokens, and the model reads {most}")));
        }
        let mut padded = vec![0; texts.len() * longest];
        for (row, ids) in padded.chunks_exact_mut(longest).zip(texts) {
            for (place, id) in row.iter_mut().zip(*ids) {
                if *id as usize >= self.architecture.vocabulary {
                    return Err(Error::msg(format!("token {id} is outside the vocabulary")));
                }
                *place = *id;
            }
        }
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let ids = Tensor::from_vec(padded, texts.len() * longest, &self.device)?;
        let states = self.states(&ids, &lengths, longest)?;
        self.pooled(&states, &lengths, longest)?.to_dtype(DType::F32)?.to_vec2()
    }

    /// States behind the last layer, [texts · longest, hidden].
    fn states(&self, ids: &Tensor, lengths: &[usize], longest: usize) -> Result<Tensor> {
        let of = &self.architecture;
        let texts = lengths.len();
        let mut states = self.embeddings.tokens.index_select(ids, 0)?;
        if let Some(token_type) = &self.embeddings.token_type {
            states = states.broadcast_add(token_type)?;
        }
        if let Some(positions) = &self.embeddings.positions {
            let positions = positions.narrow(0, 0, longest)?.unsqueeze(0)?;
            let places = states.reshape((texts, longest, of.hidden))?.broadcast_add(&positions)?;
            states = places.reshape((texts * longest, of.hidden))?;
        }
        if let Some(norm) = &self.embeddings.norm {
            states = norm.of(&states)?;
        }
        let shape = (lengths, longest);
        let mask = Mask::new(of, shape, None, (self.dtype, &self.device))?;
        let local_mask = match of.window {
            Some(window) => Some(Mask::new(of, shape, Some(window.distance), (self.dtype, &self.device))?),
            None => None,
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let (mask, rotary) = match (of.window_of(index), &local_mask) {
                (Some(_), Some(local)) => (local, self.local_rotary.as_ref()),
                _ => (&mask, self.rotary.as_ref()),
            };
            states = layer.forward(of, &states, (texts, longest), (mask, rotary))?;
        }
        match &self.embeddings.last_norm {
            Some(norm) => norm.of(&states),
            None => Ok(states),
        }
    }

    /// [texts, hidden].
    fn pooled(&self, states: &Tensor, lengths: &[usize], longest: usize) -> Result<Tensor> {
        let (texts, hidden) = (lengths.len(), self.architecture.hidden);
        let row_of = |place: &dyn Fn(usize) -> usize| {
            let rows = lengths.iter().enumerate().map(|(text, length)| (text * longest + place(*length)) as u32);
            states.index_select(&Tensor::from_vec(rows.collect(), texts, &self.device)?, 0)
        };
        match self.pooling {
            Pooling::Cls => row_of(&|_| 0),
            Pooling::LastToken => row_of(&|length| length - 1),
            Pooling::Mean => {
                let mut shares = vec![0.0_f32; texts * longest];
                for (row, length) in shares.chunks_exact_mut(longest).zip(lengths) {
                    row[..*length].fill(1.0 / *length as f32);
                }
                let shares = Tensor::from_vec(shares, (texts, 1, longest), &self.device)?;
                let states = states.reshape((texts, longest, hidden))?.to_dtype(DType::F32)?;
                shares.matmul(&states)?.squeeze(1)
            }
        }
    }
}

impl Layer {
    /// `states` [texts · longest, hidden] behind this layer.
    fn forward(
        &self,
        of: &Architecture,
        states: &Tensor,
        shape: (usize, usize),
        (mask, rotary): (&Mask, Option<&Rotary>),
    ) -> Result<Tensor> {
        let Self { attention, feed_forward } = self;
        let norm_if = |wanted: bool, norm: Option<&Norm>, x: Tensor| match norm {
            Some(norm) if wanted => norm.of(&x),
            _ => Ok(x),
        };
        let normal = norm_if(of.pre_norm, attention.norm.as_ref(), states.clone())?;
        let projected = attention.projections.product(&normal)?;
        let mixed = attend(of, &projected, shape, attention.head_norms.as_ref(), (mask, rotary))?;
        let sum = (attention.output.product(&mixed)? + states)?;
        let states = norm_if(!of.pre_norm, attention.norm.as_ref(), sum)?;

        let normal = norm_if(of.pre_norm, Some(&feed_forward.norm), states.clone())?;
        let inner = feed_forward.up.product(&normal)?;
        let inner = if feed_forward.gated {
            let gate = of.activation.of(&inner.narrow(D::Minus1, 0, of.intermediate)?)?;
            (gate * inner.narrow(D::Minus1, of.intermediate, of.intermediate)?)?
        } else {
            of.activation.of(&inner)?
        };
        norm_if(!of.pre_norm, Some(&feed_forward.norm), (feed_forward.down.product(&inner)? + states)?)
    }
}

impl Activation {
    fn of(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::Relu => x.relu(),
            Self::Silu => x.silu(),
        }
    }
}
