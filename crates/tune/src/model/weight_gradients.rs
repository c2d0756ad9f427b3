//! Gradients of a block's parameters, from what its backward pass left behind. Each is a sum over all rows, taken in their
//! order whatever the number of threads: work is cut along the parameters instead.

use anser_kernels::{Element, PackedMatrix, Rows, RowsMut, outer_sum};
use rayon::prelude::*;

use super::layout::ROWS;
use super::network::{Block, GROUPS, Group, Norm};
use super::parameters::Gradients;
use super::workspace::{SavedRows, Slopes, front};

/// Columns of a low-rank gradient that one task sums.
const COLUMNS: usize = 192;

/// Memory that is kept from block to block.
#[derive(Default)]
pub(super) struct GradientScratch<E> {
    sums: Vec<Vec<f32>>,
    stacked: Vec<E>,
    left: Vec<E>,
}

/// Adds the gradients of all parameters of `block` to `gradients`.
pub(super) fn add_gradients<E: Element>(
    block: &Block,
    saved: &[SavedRows<E>],
    slopes: &[Slopes<E>],
    gradients: &mut Gradients,
    scratch: &mut GradientScratch<E>,
) {
    add_low_rank(block, saved, slopes, gradients, scratch);
    for (index, group) in block.groups.iter().enumerate() {
        if group.members.iter().any(|member| member.weight.is_some()) {
            add_weights(group, index, slopes, gradients, scratch);
        }
    }
    let norm_in = slopes.iter().map(|slopes| &slopes.norm_in);
    add_norm(&block.norm_in, norm_in, gradients);
    let norm_mid = slopes.iter().map(|slopes| &slopes.norm_mid);
    add_norm(&block.norm_mid, norm_mid, gradients);
}

fn add_norm<'a>(norm: &Norm, sums: impl Iterator<Item = &'a Vec<f32>>, gradients: &mut Gradients) {
    let Some(index) = norm.parameter else { return };
    for sum in sums {
        gradients.values[index].iter_mut().zip(sum).for_each(|(gradient, sum)| *gradient += sum);
    }
}

/// One task: some columns of the gradient of a group's A, or of one member's Bᵀ.
struct Task {
    group: usize,
    member: Option<usize>,
    /// First column among the group's inputs or outputs.
    column: usize,
    columns: usize,
    /// First direction, and how many.
    first: usize,
    rank: usize,
}

fn tasks(block: &Block) -> Vec<Task> {
    let mut tasks = Vec::new();
    let mut cut = |group: usize, member: Option<usize>, span: (usize, usize), directions: (usize, usize)| {
        for column in (0..span.1).step_by(COLUMNS) {
            tasks.push(Task {
                group,
                member,
                column: span.0 + column,
                columns: COLUMNS.min(span.1 - column),
                first: directions.0,
                rank: directions.1,
            });
        }
    };
    for (index, group) in block.groups.iter().enumerate() {
        let Some(update) = &group.update else { continue };
        cut(index, None, (0, group.inputs), (0, update.rank));
        for (place, member) in group.members.iter().enumerate() {
            if let Some(own) = member.update {
                cut(index, Some(place), (member.offset, member.outputs), (own.first, own.rank));
            }
        }
    }
    tasks
}

fn add_low_rank<E: Element>(
    block: &Block,
    saved: &[SavedRows<E>],
    slopes: &[Slopes<E>],
    gradients: &mut Gradients,
    scratch: &mut GradientScratch<E>,
) {
    let tasks = tasks(block);
    if scratch.sums.len() < tasks.len() {
        scratch.sums.resize_with(tasks.len(), Vec::new);
    }
    let sums = &mut scratch.sums[..tasks.len()];
    tasks.par_iter().zip(sums.par_iter_mut()).for_each(|(task, sums)| {
        sums.clear();
        sums.resize(task.rank * task.columns, 0.0);
        for (saved, slopes) in saved.iter().zip(slopes) {
            sum_rows(block, task, (saved, slopes), sums);
        }
    });
    for (task, sums) in tasks.iter().zip(sums) {
        let group = &block.groups[task.group];
        match task.member {
            None => add_a(group, task, sums, gradients),
            Some(member) => add_b(group, member, task, sums, gradients),
        }
    }
}

fn sum_rows<E: Element>(block: &Block, task: &Task, rows: (&SavedRows<E>, &Slopes<E>), sums: &mut [f32]) {
    let (saved, slopes) = rows;
    let group = &block.groups[task.group];
    let Some(update) = &group.update else { return };
    let (narrow, wide, width) = match task.member {
        None => (&slopes.low_rank[task.group], &slopes.inputs[task.group], group.inputs),
        Some(_) => (&saved.low_rank[task.group], &slopes.outputs[task.group], group.outputs),
    };
    let rows = wide.len() / width;
    outer_sum(
        group.forward.instructions(),
        Rows::new(&narrow[task.first..], rows, task.rank, update.rank),
        Rows::new(&wide[task.column..], rows, task.columns, width),
        RowsMut::dense(sums, task.rank, task.columns),
    );
}

fn add_a(group: &Group, task: &Task, sums: &[f32], gradients: &mut Gradients) {
    for own in group.members.iter().filter_map(|member| member.update) {
        let gradient = &mut gradients.values[own.a];
        for direction in 0..own.rank {
            let sums = &sums[(own.first + direction) * task.columns..][..task.columns];
            let out = &mut gradient[direction * group.inputs + task.column..][..task.columns];
            out.iter_mut().zip(sums).for_each(|(gradient, sum)| *gradient += sum);
        }
    }
}

fn add_b(group: &Group, member: usize, task: &Task, sums: &[f32], gradients: &mut Gradients) {
    let member = &group.members[member];
    let Some(own) = member.update else { return };
    let rows = gradients.values[own.b].chunks_exact_mut(own.rank).skip(task.column - member.offset);
    for (column, row) in rows.take(task.columns).enumerate() {
        for (direction, gradient) in row.iter_mut().enumerate() {
            *gradient += own.scale * sums[direction * task.columns + column];
        }
    }
}

/// dW = dYᵀ·X: the depth of this product are the rows of the batch.
fn add_weights<E: Element>(
    group: &Group,
    index: usize,
    slopes: &[Slopes<E>],
    gradients: &mut Gradients,
    scratch: &mut GradientScratch<E>,
) {
    debug_assert!(index < GROUPS);
    let rows: usize = slopes.iter().map(|slopes| slopes.inputs[index].len() / group.inputs).sum();
    let stacked = front(&mut scratch.stacked, rows * group.inputs);
    for (out, slopes) in stacked.chunks_mut(ROWS * group.inputs).zip(slopes) {
        out.copy_from_slice(&slopes.inputs[index]);
    }
    let mut inputs = PackedMatrix::empty(E::FORMAT);
    inputs.assign_transposed_in_parallel(Rows::dense(stacked, rows, group.inputs));
    let stride = rows.next_multiple_of(2);
    let left = front(&mut scratch.left, group.outputs * stride);
    transpose(slopes, index, (group.outputs, stride), left);
    for member in &group.members {
        let Some(weight) = member.weight else { continue };
        let left = &left[member.offset * stride..];
        let tiles = gradients.values[weight].par_chunks_mut(ROWS * group.inputs);
        tiles.enumerate().for_each(|(tile, out)| {
            let outputs = out.len() / group.inputs;
            let left = Rows::new(&left[tile * ROWS * stride..], outputs, rows, stride);
            inputs.product(left, None, RowsMut::dense(out, outputs, group.inputs), true);
        });
    }
}

/// Writes the columns of a group's output gradients, of all row blocks, as rows of `stride` numbers that end in zeros.
fn transpose<E: Element>(slopes: &[Slopes<E>], group: usize, (columns, stride): (usize, usize), out: &mut [E]) {
    const TILE: usize = 16;
    out.par_chunks_mut(TILE * stride).enumerate().for_each(|(tile, out)| {
        let mut row = 0;
        for slopes in slopes {
            for values in slopes.outputs[group].chunks_exact(columns) {
                for (out, &value) in out.chunks_exact_mut(stride).zip(&values[tile * TILE..]) {
                    out[row] = value;
                }
                row += 1;
            }
        }
        out.chunks_exact_mut(stride).for_each(|out| out[row..].fill(E::default()));
    });
}
