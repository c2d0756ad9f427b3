//! The memory of a pass: activations that the backward pass needs, gradients on their way, and scratch. It is kept from
//! batch to batch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anser_kernels::{AttentionScratch, Element, InstructionSet};

use super::layout::{Layout, ROWS};
use super::network::{Block, DOWN, GATE_UP, GROUPS, Network, OUT, QKV};

/// Everything that a pass writes, besides parameters' gradients.
pub(super) struct Workspace<E> {
    pub(super) layout: Layout,
    /// The residual stream [rows, hidden].
    pub(super) x: Vec<f32>,
    /// Its gradient.
    pub(super) dx: Vec<f32>,
    /// Activations: of every block that learns, or of one block when they are not kept.
    pub(super) saved: Vec<Saved<E>>,
    /// The residual stream before each block that learns, when activations are computed again.
    pub(super) inputs: Vec<Vec<f32>>,
    /// One block's gradients.
    pub(super) slopes: Vec<Slopes<E>>,
    /// Gradient of attention's result [rows, heads · `head_dim`].
    pub(super) d_attended: Vec<E>,
    /// Gradient of queries, keys and values, by unit.
    pub(super) d_qkv: Vec<E>,
    pub(super) threads: PerThread<Scratch<E>>,
}

/// What the backward pass of a block needs of its forward pass.
#[derive(Default)]
pub(super) struct Saved<E> {
    pub(super) rows: Vec<SavedRows<E>>,
    /// Rotated queries and keys, and values [rows, width].
    pub(super) qkv: Vec<E>,
    /// Attention's result, by unit.
    pub(super) attended: Vec<E>,
    /// Logarithms of the sums of attention's rows, by unit and head.
    pub(super) log_sums: Vec<f32>,
}

/// The same for one row block.
#[derive(Default)]
pub(super) struct SavedRows<E> {
    pub(super) normalised_in: Vec<E>,
    pub(super) scales_in: Vec<f32>,
    pub(super) normalised_mid: Vec<E>,
    pub(super) scales_mid: Vec<f32>,
    pub(super) gate_up: Vec<E>,
    /// The low-rank products A·x of each group.
    pub(super) low_rank: [Vec<E>; GROUPS],
}

/// Gradients of one row block in one transformer block, and what the weights' gradients are made from.
#[derive(Default)]
pub(super) struct Slopes<E> {
    /// Input of each group, after dropout.
    pub(super) inputs: [Vec<E>; GROUPS],
    /// Gradient of each group's output.
    pub(super) outputs: [Vec<E>; GROUPS],
    /// Gradient of each group's low-rank product.
    pub(super) low_rank: [Vec<E>; GROUPS],
    pub(super) norm_in: Vec<f32>,
    pub(super) norm_mid: Vec<f32>,
}

/// What one thread needs while it works on a row block or a unit.
pub(super) struct Scratch<E> {
    pub(super) attention: AttentionScratch<E>,
    /// Rows in the products' format: normalised, activations, dropped.
    pub(super) rows: Vec<E>,
    pub(super) dropped: Vec<E>,
    pub(super) wide: Vec<f32>,
    pub(super) narrow: Vec<f32>,
    pub(super) unit: [Vec<f32>; 3],
}

impl<E: Element> Scratch<E> {
    fn new(set: InstructionSet) -> Self {
        Self {
            attention: AttentionScratch::new(set),
            rows: Vec::new(),
            dropped: Vec::new(),
            wide: Vec::new(),
            narrow: Vec::new(),
            unit: Default::default(),
        }
    }
}

/// One `T` for each thread of a pool.
pub(super) struct PerThread<T>(Vec<Mutex<T>>);

impl<T> PerThread<T> {
    pub(super) fn new(threads: usize, make: impl Fn() -> T) -> Self {
        Self((0..threads.max(1)).map(|_| Mutex::new(make())).collect())
    }

    /// The calling thread's own. Not to be held while the thread waits for others of its pool.
    pub(super) fn get(&self) -> MutexGuard<'_, T> {
        self.0[rayon::current_thread_index().unwrap_or(0) % self.0.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slice of exactly `length` numbers at the front of `buffer`, which grows but never shrinks.
pub(super) fn front<T: Copy + Default>(buffer: &mut Vec<T>, length: usize) -> &mut [T] {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
    &mut buffer[..length]
}

impl<E: Element> Workspace<E> {
    pub(super) fn new(threads: usize, set: InstructionSet) -> Self {
        Self {
            layout: Layout::default(),
            x: Vec::new(),
            dx: Vec::new(),
            saved: Vec::new(),
            inputs: Vec::new(),
            slopes: Vec::new(),
            d_attended: Vec::new(),
            d_qkv: Vec::new(),
            threads: PerThread::new(threads, || Scratch::new(set)),
        }
    }

    /// Makes room for a forward pass, with activations of `kept` blocks and the inputs of `inputs` blocks.
    pub(super) fn prepare(&mut self, layout: Layout, network: &Network, kept: usize, inputs: usize) {
        let hidden = network.config.hidden;
        self.x.resize(layout.rows * hidden, 0.0);
        self.saved.truncate(kept.max(1));
        self.saved.resize_with(kept.max(1), Saved::default);
        if let Some(block) = network.blocks.first() {
            self.saved.iter_mut().for_each(|saved| saved.prepare(&layout, network, block));
        }
        self.inputs.resize_with(inputs, Vec::new);
        self.inputs.iter_mut().for_each(|input| input.resize(layout.rows * hidden, 0.0));
        self.layout = layout;
    }

    /// Makes room for a backward pass over the batch that was prepared for.
    pub(super) fn prepare_backward(&mut self, network: &Network) {
        let (config, layout) = (&network.config, &self.layout);
        self.dx.clear();
        self.dx.resize(layout.rows * config.hidden, 0.0);
        self.d_attended.resize(layout.rows * config.heads * config.head_dim, E::default());
        self.d_qkv.resize(layout.rows * (config.heads + 2 * config.kv_heads) * config.head_dim, E::default());
        self.slopes.resize_with(layout.row_blocks(), Slopes::default);
        if let Some(block) = network.blocks.first() {
            for (index, slopes) in self.slopes.iter_mut().enumerate() {
                let rows = layout.block_rows(index).len();
                for (group, matrix) in block.groups.iter().enumerate() {
                    slopes.inputs[group].resize(rows * matrix.inputs, E::default());
                    slopes.outputs[group].resize(rows * matrix.outputs, E::default());
                }
            }
        }
    }
}

impl<E: Element> Saved<E> {
    fn prepare(&mut self, layout: &Layout, network: &Network, block: &Block) {
        let config = &network.config;
        self.qkv.resize(layout.rows * block.attention_width(), E::default());
        self.attended.resize(layout.rows * config.heads * config.head_dim, E::default());
        self.log_sums.resize(layout.rows * config.heads, 0.0);
        self.rows.resize_with(layout.row_blocks(), SavedRows::default);
        for (index, saved) in self.rows.iter_mut().enumerate() {
            let rows = layout.block_rows(index).len();
            for normalised in [&mut saved.normalised_in, &mut saved.normalised_mid] {
                normalised.resize(rows * config.hidden, E::default());
            }
            for scales in [&mut saved.scales_in, &mut saved.scales_mid] {
                scales.resize(rows, 0.0);
            }
            saved.gate_up.resize(rows * block.groups[GATE_UP].outputs, E::default());
        }
    }
}

/// Bytes of what [`Workspace`] holds for `rows` rows with `kept` blocks of activations and `inputs` inputs.
pub(super) fn bytes<E: Element>(network: &Shape, rows: usize, kept: usize, inputs: usize) -> usize {
    let element = size_of::<E>();
    let saved = (network.saved_elements() * element + 4 * (2 + network.heads)) * kept.max(1);
    let slopes = network.slope_elements() * element;
    rows.next_multiple_of(ROWS) * (saved + slopes + network.hidden * 4 * (2 + inputs))
}

/// Widths that decide how much memory a row takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) hidden: usize,
    pub(super) heads: usize,
    /// Queries, keys and values; attention's result; gate and up together.
    pub(super) widths: [usize; 3],
    /// Directions of all updates of a block.
    pub(super) rank: usize,
}

impl Shape {
    fn saved_elements(self) -> usize {
        2 * self.hidden + self.widths.iter().sum::<usize>() + self.rank
    }

    fn slope_elements(self) -> usize {
        let [qkv, attended, gate_up] = self.widths;
        let groups = [(self.hidden, qkv), (attended, self.hidden), (self.hidden, gate_up), (gate_up / 2, self.hidden)];
        let sides: [usize; GROUPS] = groups.map(|(inputs, outputs)| inputs + outputs);
        sides[QKV] + sides[OUT] + sides[GATE_UP] + sides[DOWN] + attended + qkv + self.rank
    }
}
