//! From the residual stream to scores of the targets, and the gradient's way back: only rows that predict a target are
//! looked at.

use std::ops::Range;

use anser_kernels::{
    CrossEntropyScratch, Element, Matrix, MatrixMut, OutputMatrix, RmsNorm, RmsNormBackward, Rows, TargetScores,
    WeightedTargets, cross_entropy, logit_gradients, matmul, rms_norm, rms_norm_backward, rms_norm_weight_gradient,
    widen,
};
use rayon::prelude::*;

use super::batch::{Batch, BatchScores};
use super::forward::Pass;
use super::parameters::Gradients;
use super::workspace::PerThread;

/// Most target rows that one task scores: each task reads the whole output matrix, so that few are better.
const ROWS: usize = 128;
/// Tokens of the vocabulary whose gradients one task sums: a multiple of a panel's columns.
const TOKENS: usize = 384;

/// The memory of the head, kept from batch to batch.
pub(super) struct HeadState<E> {
    /// Rows of the residual stream that predict a target.
    rows: Vec<usize>,
    targets: Vec<u32>,
    x: Vec<f32>,
    normalised: Vec<E>,
    scales: Vec<f32>,
    hidden: Vec<E>,
    /// Derivative of each log probability by its row of `hidden`.
    directions: Vec<f32>,
    log_sums: Vec<f32>,
    threads: PerThread<CrossEntropyScratch<E>>,
    logits: PerThread<Vec<f32>>,
}

impl<E: Element> HeadState<E> {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            rows: Vec::new(),
            targets: Vec::new(),
            x: Vec::new(),
            normalised: Vec::new(),
            scales: Vec::new(),
            hidden: Vec::new(),
            directions: Vec::new(),
            log_sums: Vec::new(),
            threads: PerThread::new(threads, CrossEntropyScratch::default),
            logits: PerThread::new(threads, Vec::new),
        }
    }

    /// Number of targets that were prepared.
    pub(super) fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Takes the rows that predict a target out of the residual stream `x` of a batch, through the final norm. `gradients`
    /// makes room for the way back.
    pub(super) fn prepare(&mut self, pass: &Pass<'_>, batch: &Batch, x: &[f32], gradients: bool) -> BatchScores {
        let network = pass.network;
        let width = network.config.hidden;
        self.rows.clear();
        self.targets.clear();
        for (index, &token) in batch.tokens.iter().enumerate().filter(|(index, _)| batch.learn[*index]) {
            self.rows.push(index - 1);
            self.targets.push(token);
        }
        let count = self.rows.len();
        self.x.clear();
        for &row in &self.rows {
            self.x.extend_from_slice(&x[row * width..(row + 1) * width]);
        }
        for rounded in [&mut self.normalised, &mut self.hidden] {
            rounded.resize(count * width, E::default());
        }
        self.scales.resize(count, 0.0);
        self.log_sums.resize(count, 0.0);
        self.directions.resize(if gradients { count * width } else { 0 }, 0.0);
        let norm = RmsNorm {
            x: &self.x,
            weight: &network.final_norm.weight,
            epsilon: network.config.norm_epsilon,
            normalised: &mut self.normalised,
            scales: &mut self.scales,
            out: &mut self.hidden,
        };
        rms_norm(pass.set, norm);
        BatchScores {
            log_probabilities: vec![0.0; count],
            likeliest: vec![false; count],
            targets_of_sequence: batch.targets_of_sequences(),
        }
    }

    /// Scores some of the prepared targets.
    pub(super) fn score(&mut self, pass: &Pass<'_>, span: Range<usize>, scores: &mut BatchScores) {
        let network = pass.network;
        let width = network.config.hidden;
        let rows = span.len().div_ceil(rayon::current_num_threads()).next_multiple_of(8).min(ROWS);
        let output = OutputMatrix { forward: &network.head.forward, backward: &network.head.backward };
        let threads = &self.threads;
        let directions: Vec<Option<&mut [f32]>> = if self.directions.is_empty() {
            (0..span.len().div_ceil(rows)).map(|_| None).collect()
        } else {
            let directions = &mut self.directions[span.start * width..span.end * width];
            directions.chunks_mut(rows * width).map(Some).collect()
        };
        let log_probabilities = scores.log_probabilities[span.clone()].par_chunks_mut(rows);
        let scored = log_probabilities.zip(scores.likeliest[span.clone()].par_chunks_mut(rows));
        let scored = scored.zip(self.log_sums[span.clone()].par_chunks_mut(rows));
        let hidden = self.hidden[span.start * width..span.end * width].par_chunks(rows * width);
        let rows_of = hidden.zip(self.targets[span].par_chunks(rows));
        scored.zip(rows_of).zip(directions).for_each(|(((scored, log_sums), (hidden, targets)), direction)| {
            let (log_probabilities, likeliest) = scored;
            let scores = TargetScores { log_probabilities, log_sums, likeliest };
            let hidden = Rows::dense(hidden, targets.len(), width);
            cross_entropy(output, hidden, targets, scores, direction, &mut threads.get());
        });
    }

    /// Takes the loss's derivative by each target's log probability back to the residual stream's gradient `dx`, and adds
    /// the gradients of the final norm and of the output matrix.
    pub(super) fn backward(&mut self, pass: &Pass<'_>, weights: &[f32], dx: &mut [f32], gradients: &mut Gradients) {
        let network = pass.network;
        let width = network.config.hidden;
        for (direction, &weight) in self.directions.chunks_exact_mut(width).zip(weights) {
            for value in direction {
                *value *= weight;
            }
        }
        if let Some(index) = network.final_norm.parameter {
            rms_norm_weight_gradient(pass.set, &self.directions, &self.normalised, &mut gradients.values[index]);
        }
        self.x.fill(0.0);
        let norm = RmsNormBackward {
            gradient: &self.directions,
            normalised: &self.normalised,
            scales: &self.scales,
            weight: &network.final_norm.weight,
            out: &mut self.x,
        };
        rms_norm_backward(pass.set, norm);
        for (&row, gradient) in self.rows.iter().zip(self.x.chunks_exact(width)) {
            dx[row * width..(row + 1) * width].copy_from_slice(gradient);
        }
        if let Some(index) = network.head.parameter {
            self.add_output_gradient(pass, weights, &mut gradients.values[index]);
        }
    }

    fn add_output_gradient(&self, pass: &Pass<'_>, weights: &[f32], out: &mut [f32]) {
        let width = pass.network.config.hidden;
        let count = self.rows.len();
        let mut hidden = vec![0.0; count * width];
        widen(pass.set, &self.hidden, &mut hidden);
        let weighted = WeightedTargets { targets: &self.targets, weights, log_sums: &self.log_sums };
        out.par_chunks_mut(TOKENS * width).enumerate().for_each(|(chunk, out)| {
            let tokens = out.len() / width;
            let mut logits = self.logits.get();
            logits.clear();
            logits.resize(count * tokens, 0.0);
            let rows = Rows::dense(&self.hidden, count, width);
            logit_gradients(&pass.network.head.forward, rows, chunk * TOKENS, weighted, &mut logits);
            let by_token = Matrix::new(&logits, count, tokens).transposed();
            matmul(by_token, Matrix::new(&hidden, count, width), MatrixMut::new(out, tokens, width), true);
        });
    }
}
