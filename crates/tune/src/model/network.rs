//! The decoder's weights, packed for both directions, and which of them learn.

use anser_generate::LlamaConfig;
use anser_kernels::{PackedMatrix, Rotary, Rows, WeightFormat};
use rayon::prelude::*;

use super::parameters::Parameter;

/// The matrices of a block, by what they share their input with. The order of the arrays in a block's state.
pub(super) const GROUPS: usize = 4;
pub(super) const QKV: usize = 0;
pub(super) const OUT: usize = 1;
pub(super) const GATE_UP: usize = 2;
pub(super) const DOWN: usize = 3;

/// Everything between tokens and scores.
pub(super) struct Network {
    pub(super) config: LlamaConfig,
    pub(super) rotary: Rotary,
    pub(super) embedding: Embedding,
    pub(super) blocks: Vec<Block>,
    pub(super) final_norm: Norm,
    pub(super) head: Head,
    /// The lowest block that a gradient has to reach; the number of blocks if none.
    pub(super) first: usize,
}

/// The table that tokens are looked up in.
pub(super) enum Embedding {
    /// The output matrix's rows.
    Tied,
    /// Rows of its own that do not learn, packed to save memory.
    Frozen(PackedMatrix),
    /// A parameter; when tied, also the output matrix.
    Learned(usize),
}

/// The output matrix [vocabulary, hidden].
pub(super) struct Head {
    pub(super) forward: PackedMatrix,
    pub(super) backward: PackedMatrix,
    pub(super) parameter: Option<usize>,
}

/// A norm's weight.
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) parameter: Option<usize>,
}

/// One transformer block.
pub(super) struct Block {
    pub(super) norm_in: Norm,
    pub(super) norm_mid: Norm,
    /// Query, key and value; output; gate and up; down.
    pub(super) groups: [Group; GROUPS],
}

/// Matrices with the same input, one below another: y = x·Wᵀ gives all their outputs side by side.
pub(super) struct Group {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) forward: PackedMatrix,
    /// Without rows where no gradient passes.
    pub(super) backward: PackedMatrix,
    pub(super) members: Vec<Member>,
    pub(super) update: Option<Update>,
}

/// One matrix of a group.
pub(super) struct Member {
    /// Its name in the model, without `.weight`.
    pub(super) name: String,
    /// Its first output among the group's.
    pub(super) offset: usize,
    pub(super) outputs: usize,
    /// The parameter that it is, if it learns itself.
    pub(super) weight: Option<usize>,
    pub(super) update: Option<MemberUpdate>,
}

/// The low-rank update of one matrix: scale·B·A.
#[derive(Clone, Copy)]
pub(super) struct MemberUpdate {
    /// Parameter A [rank, inputs].
    pub(super) a: usize,
    /// Parameter B [outputs, rank].
    pub(super) b: usize,
    pub(super) rank: usize,
    /// Its first direction among the group's.
    pub(super) first: usize,
    pub(super) scale: f32,
}

/// The low-rank updates of a group, stacked: all As one below another, all Bs as blocks on a diagonal, scaled.
pub(super) struct Update {
    /// Directions of all members, made even.
    pub(super) rank: usize,
    /// A: x to u.
    pub(super) down: PackedMatrix,
    /// The way back: gradient of u to that of x.
    pub(super) down_back: PackedMatrix,
    /// Scaled B: u to y.
    pub(super) up: PackedMatrix,
    /// The way back: gradient of y to that of u.
    pub(super) up_back: PackedMatrix,
}

impl Update {
    pub(super) fn new(rank: usize, format: WeightFormat) -> Self {
        let empty = || PackedMatrix::empty(format);
        Self { rank: rank.next_multiple_of(2), down: empty(), down_back: empty(), up: empty(), up_back: empty() }
    }
}

impl Norm {
    fn refresh(&mut self, parameters: &[Parameter]) {
        if let Some(index) = self.parameter {
            self.weight.copy_from_slice(&parameters[index].values);
        }
    }
}

impl Group {
    /// Takes over the values of this group's parameters.
    pub(super) fn refresh(&mut self, parameters: &[Parameter]) {
        self.refresh_update(parameters);
        if self.members.iter().any(|member| member.weight.is_some()) {
            let mut stacked = Vec::with_capacity(self.outputs * self.inputs);
            for index in self.members.iter().filter_map(|member| member.weight) {
                stacked.extend_from_slice(&parameters[index].values);
            }
            let rows = Rows::dense(&stacked, self.outputs, self.inputs);
            self.forward.assign(rows);
            self.backward.assign_transposed(rows);
        }
    }

    fn refresh_update(&mut self, parameters: &[Parameter]) {
        let Some(update) = &mut self.update else { return };
        let (rank, inputs) = (update.rank, self.inputs);
        let mut a = vec![0.0; rank * inputs];
        let mut b = vec![0.0; self.outputs * rank];
        for member in &self.members {
            let Some(own) = member.update else { continue };
            a[own.first * inputs..][..own.rank * inputs].copy_from_slice(&parameters[own.a].values);
            let rows = parameters[own.b].values.chunks_exact(own.rank);
            for (output, values) in rows.enumerate() {
                let row = &mut b[(member.offset + output) * rank + own.first..][..own.rank];
                row.iter_mut().zip(values).for_each(|(b, value)| *b = own.scale * value);
            }
        }
        let (a, b) = (Rows::dense(&a, rank, inputs), Rows::dense(&b, self.outputs, rank));
        update.down.assign(a);
        update.down_back.assign_transposed(a);
        update.up.assign(b);
        update.up_back.assign_transposed(b);
    }

    /// Whether anything in it learns.
    pub(super) fn learns(&self) -> bool {
        self.members.iter().any(|member| member.weight.is_some() || member.update.is_some())
    }
}

impl Block {
    /// Whether anything in it learns.
    pub(super) fn learns(&self) -> bool {
        let norms = [&self.norm_in, &self.norm_mid];
        norms.iter().any(|norm| norm.parameter.is_some()) || self.groups.iter().any(Group::learns)
    }

    /// Width of a row of queries, keys and values.
    pub(super) fn attention_width(&self) -> usize {
        self.groups[QKV].outputs
    }
}

impl Network {
    /// Frees the packed matrices of a model that a device multiplies.
    pub(super) fn unpack(&mut self, format: WeightFormat) {
        let empty = || PackedMatrix::empty(format);
        for group in self.blocks.iter_mut().flat_map(|block| &mut block.groups) {
            (group.forward, group.backward) = (empty(), empty());
        }
        (self.head.forward, self.head.backward) = (empty(), empty());
        if let Embedding::Frozen(table) = &mut self.embedding {
            *table = empty();
        }
    }

    /// Takes over the values of all parameters.
    pub(super) fn refresh(&mut self, parameters: &[Parameter]) {
        self.blocks.par_iter_mut().for_each(|block| {
            block.norm_in.refresh(parameters);
            block.norm_mid.refresh(parameters);
            block.groups.iter_mut().for_each(|group| group.refresh(parameters));
        });
        self.final_norm.refresh(parameters);
        if let Some(index) = self.head.parameter {
            let rows = Rows::dense(&parameters[index].values, self.config.vocabulary, self.config.hidden);
            self.head.forward.assign_in_parallel(rows);
            self.head.backward.assign_transposed_in_parallel(rows);
        }
    }

    /// Whether a gradient has to reach the embedding table through the blocks.
    pub(super) fn embedding_learns(&self) -> bool {
        matches!(self.embedding, Embedding::Learned(_))
    }

    /// A token's row of the embedding table.
    pub(super) fn embed(&self, token: u32, parameters: &[Parameter], out: &mut [f32]) {
        let (token, hidden) = (token as usize, self.config.hidden);
        match &self.embedding {
            Embedding::Tied => self.head.forward.row(token, out),
            Embedding::Frozen(table) => table.row(token, out),
            Embedding::Learned(index) => {
                out.copy_from_slice(&parameters[*index].values[token * hidden..(token + 1) * hidden]);
            }
        }
    }
}
