//! A network's weights on a device.

use std::collections::HashMap;

use candle_core::{Error, Result, Tensor};

use super::Place;
use super::attention::Rotary;
use crate::model::network::{Embedding, GROUPS, Group, Network, Norm};
use crate::model::parameters::Parameter;

/// Everything between tokens and scores.
pub(super) struct DeviceWeights {
    /// [vocabulary, hidden].
    pub(super) embedding: Tensor,
    pub(super) blocks: Vec<DeviceBlock>,
    /// [hidden], in 32 bits as all norms.
    pub(super) final_norm: Tensor,
    /// [vocabulary, hidden].
    pub(super) head: Tensor,
    pub(super) rotary: Rotary,
}

/// One block.
pub(super) struct DeviceBlock {
    pub(super) norm_in: Tensor,
    pub(super) norm_mid: Tensor,
    pub(super) groups: [DeviceGroup; GROUPS],
}

/// Matrices with the same input.
pub(super) struct DeviceGroup {
    /// [outputs, inputs], one below another.
    pub(super) matrix: Tensor,
    /// Those of each member, where it has any.
    pub(super) updates: Vec<Option<DeviceUpdate>>,
}

/// A low-rank update.
pub(super) struct DeviceUpdate {
    /// [rank, inputs].
    pub(super) a: Tensor,
    /// [outputs, rank], the scale multiplied in.
    pub(super) b: Tensor,
}

impl DeviceWeights {
    /// The frozen tensors in their places. Parameters come with the first refresh.
    pub(super) fn new(place: &Place, network: &Network, frozen: &HashMap<String, Tensor>) -> Result<Self> {
        let find = |name: &str| {
            frozen.get(name).cloned().ok_or_else(|| Error::msg(format!("the tensor {name} is not on the device")))
        };
        let group = |group: &Group| {
            let members = group.members.iter().map(|member| find(&format!("{}.weight", member.name)));
            let matrix = Tensor::cat(&members.collect::<Result<Vec<_>>>()?, 0)?;
            Ok::<_, Error>(DeviceGroup { matrix, updates: group.members.iter().map(|_| None).collect() })
        };
        let norm = |norm: &Norm| place.exact(&norm.weight, &[norm.weight.len()]);
        let mut blocks = Vec::with_capacity(network.blocks.len());
        for block in &network.blocks {
            let [qkv, out, gate_up, down] = &block.groups;
            let groups = [group(qkv)?, group(out)?, group(gate_up)?, group(down)?];
            blocks.push(DeviceBlock { norm_in: norm(&block.norm_in)?, norm_mid: norm(&block.norm_mid)?, groups });
        }
        let embedding = find("model.embed_tokens.weight")?;
        let head = if network.config.tied_embeddings { embedding.clone() } else { find("lm_head.weight")? };
        let rotary = Rotary::new(place, &network.config)?;
        Ok(Self { embedding, blocks, final_norm: norm(&network.final_norm)?, head, rotary })
    }

    /// Takes over the values of all parameters.
    pub(super) fn refresh(&mut self, place: &Place, network: &Network, parameters: &[Parameter]) -> Result<()> {
        let matrix = |index: usize| {
            let Some(parameter) = parameters.get(index) else { candle_core::bail!("there is no parameter {index}") };
            place.matrix(&parameter.values, &parameter.shape)
        };
        let norm = |norm: &Norm, out: &mut Tensor| {
            if let Some(parameter) = norm.parameter.and_then(|index| parameters.get(index)) {
                *out = place.exact(&parameter.values, &parameter.shape)?;
            }
            Ok::<_, Error>(())
        };
        for (own, block) in self.blocks.iter_mut().zip(&network.blocks) {
            norm(&block.norm_in, &mut own.norm_in)?;
            norm(&block.norm_mid, &mut own.norm_mid)?;
            for (own, group) in own.groups.iter_mut().zip(&block.groups) {
                let learned: Vec<usize> = group.members.iter().filter_map(|member| member.weight).collect();
                if !learned.is_empty() {
                    let members = learned.into_iter().map(matrix).collect::<Result<Vec<_>>>()?;
                    own.matrix = Tensor::cat(&members, 0)?;
                }
                for (own, member) in own.updates.iter_mut().zip(&group.members) {
                    if let Some(update) = member.update {
                        let b = (matrix(update.b)? * f64::from(update.scale))?;
                        *own = Some(DeviceUpdate { a: matrix(update.a)?, b });
                    }
                }
            }
        }
        norm(&network.final_norm, &mut self.final_norm)?;
        if let Embedding::Learned(index) = network.embedding {
            self.embedding = matrix(index)?;
        }
        if let Some(index) = network.head.parameter {
            self.head = if network.config.tied_embeddings { self.embedding.clone() } else { matrix(index)? };
        }
        Ok(())
    }
}
