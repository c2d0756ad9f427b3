//! One pass over a batch: blocks up, head, and blocks down again.

use anser_core::StopReason;
use anser_kernels::{Element, InstructionSet};
use rayon::ThreadPool;
use rayon::prelude::*;

use super::backward::{BlockSlopes, block_backward};
use super::batch::{Batch, BatchObjective, BatchScores};
use super::forward::{Pass, block_forward};
use super::head::HeadState;
use super::layout::Layout;
use super::network::{Embedding, Network};
use super::parameters::{Gradients, Parameter};
use super::weight_gradients::{GradientScratch, add_gradients};
use super::workspace::Workspace;
use crate::TuneError;

/// Targets that are scored between two looks at the stop signal.
const STRETCH: usize = 1024;

/// The memory of passes in one number format.
pub(super) struct Passes<E> {
    workspace: Workspace<E>,
    head: HeadState<E>,
    scratch: GradientScratch<E>,
}

/// What a pass reads.
pub(super) struct Context<'a> {
    pub(super) pass: Pass<'a>,
    pub(super) parameters: &'a [Parameter],
    pub(super) pool: &'a ThreadPool,
    /// Asked at every block, on the calling thread.
    pub(super) stop: &'a dyn Fn() -> bool,
}

impl Context<'_> {
    fn network(&self) -> &Network {
        self.pass.network
    }

    /// The reason given here is the harder one: whoever set the signal knows whether it was a pause.
    fn go_on(&self) -> Result<(), TuneError> {
        if (self.stop)() { Err(TuneError::Stopped(StopReason::Cancel)) } else { Ok(()) }
    }
}

impl<E: Element> Passes<E> {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            workspace: Workspace::new(threads, InstructionSet::best()),
            head: HeadState::new(threads),
            scratch: GradientScratch::default(),
        }
    }

    /// Scores a batch without a way back.
    pub(super) fn score(&mut self, context: &Context<'_>, batch: &Batch) -> Result<BatchScores, TuneError> {
        let layout = Layout::new(batch, &context.network().config);
        self.workspace.prepare(layout, context.network(), 1, 0);
        self.blocks(context, batch, |_| Kept::Nothing)?;
        self.head(context, batch, false)
    }

    /// Scores a batch, asks `objective` for the loss's derivative and adds all gradients.
    pub(super) fn forward_backward(
        &mut self,
        context: &Context<'_>,
        batch: &Batch,
        objective: &dyn BatchObjective,
        gradients: &mut Gradients,
        recompute: bool,
    ) -> Result<BatchScores, TuneError> {
        let network = context.network();
        let (blocks, first) = (network.blocks.len(), network.first);
        let learning = blocks - first;
        let (kept, inputs) = if recompute { (1, learning) } else { (learning, 0) };
        let layout = Layout::new(batch, &network.config);
        self.workspace.prepare(layout, network, kept, inputs);
        self.blocks(context, batch, |block| match block.checked_sub(first) {
            Some(place) if recompute => Kept::Input(place),
            Some(place) => Kept::Activations(place),
            None => Kept::Nothing,
        })?;
        let scores = self.head(context, batch, true)?;

        self.workspace.prepare_backward(network);
        let weights = objective.gradient(&scores).weights;
        if weights.len() != scores.log_probabilities.len() {
            return Err(TuneError::Internal("the objective has not one weight for each target".into()));
        }
        let (head, workspace, pass) = (&mut self.head, &mut self.workspace, &context.pass);
        context.pool.install(|| head.backward(pass, &weights, &mut workspace.dx, gradients));
        for block in (first..blocks).rev() {
            context.go_on()?;
            if recompute {
                self.block_again(context, block);
            }
            let place = if recompute { 0 } else { block - first };
            let lowest = block == first && !network.embedding_learns();
            let Workspace { layout, dx, saved, slopes, d_attended, d_qkv, threads, .. } = &mut self.workspace;
            let scratch = &mut self.scratch;
            context.pool.install(|| {
                let out = BlockSlopes { dx, slopes, d_attended, d_qkv };
                block_backward(pass, (block, lowest), layout, &saved[place], out, threads);
                add_gradients(&network.blocks[block], &saved[place].rows, slopes, gradients, scratch);
            });
        }
        if let Embedding::Learned(index) = network.embedding {
            let width = network.config.hidden;
            for (&token, dx) in batch.tokens.iter().zip(self.workspace.dx.chunks_exact(width)) {
                let out = &mut gradients.values[index][token as usize * width..][..width];
                out.iter_mut().zip(dx).for_each(|(gradient, dx)| *gradient += dx);
            }
        }
        Ok(scores)
    }

    fn blocks(&mut self, context: &Context<'_>, batch: &Batch, kept: impl Fn(usize) -> Kept) -> Result<(), TuneError> {
        let (network, pass) = (context.network(), &context.pass);
        let width = network.config.hidden;
        let parameters = context.parameters;
        let Workspace { layout, x, saved, inputs, threads, .. } = &mut self.workspace;
        let rows = x.par_chunks_exact_mut(width).zip(&batch.tokens);
        context.pool.install(|| rows.for_each(|(x, &token)| network.embed(token, parameters, x)));
        for block in 0..network.blocks.len() {
            context.go_on()?;
            let place = match kept(block) {
                Kept::Activations(place) => place,
                Kept::Input(place) => {
                    inputs[place].copy_from_slice(x);
                    0
                }
                Kept::Nothing => 0,
            };
            context.pool.install(|| block_forward(pass, block, layout, x, (&mut saved[place], threads)));
        }
        Ok(())
    }

    /// Runs a block forward once more from its kept input.
    fn block_again(&mut self, context: &Context<'_>, block: usize) {
        let pass = &context.pass;
        let Workspace { layout, x, saved, inputs, threads, .. } = &mut self.workspace;
        x.copy_from_slice(&inputs[block - context.network().first]);
        context.pool.install(|| block_forward(pass, block, layout, x, (&mut saved[0], threads)));
    }

    fn head(&mut self, context: &Context<'_>, batch: &Batch, gradients: bool) -> Result<BatchScores, TuneError> {
        let (head, pass) = (&mut self.head, &context.pass);
        let mut scores = head.prepare(pass, batch, &self.workspace.x, gradients);
        for first in (0..head.targets()).step_by(STRETCH) {
            context.go_on()?;
            let span = first..(first + STRETCH).min(head.targets());
            context.pool.install(|| head.score(pass, span, &mut scores));
        }
        Ok(scores)
    }
}

/// What a block's forward pass leaves for the backward pass, and where.
enum Kept {
    Activations(usize),
    Input(usize),
    Nothing,
}
