//! One head's attention in sums of `f32`, for every instruction set and format.

use super::{Head, HeadScratch, LANES, Line};
use crate::element::{Element, Rows, RowsMut};
use crate::exponential::{exp, multiply_add};
use crate::instructions::{InstructionSet, versions};

/// Queries that go through together.
const TILE: usize = 4;

type Vector = [f32; LANES];

#[inline(always)]
fn vector(line: &Line) -> Vector {
    line.0.map(f32::from_bits)
}

/// Head, result and memory; the head's result is written over what is there.
pub(super) fn attend_head<E: Element>(
    set: InstructionSet,
    input: &Rows<'_, E>,
    head: Head,
    out: &mut RowsMut<'_, E>,
    scratch: &mut HeadScratch,
) {
    let blocks = input.rows.div_ceil(LANES);
    let vectors = head.width.div_ceil(LANES);
    scratch.keys.resize(blocks * head.width, Line::default());
    scratch.values.resize(input.rows * vectors, Line::default());
    scratch.scores.resize(blocks * TILE, Line::default());
    turn_keys(set, input, head, &mut scratch.keys);
    spread_values(set, input, head, &mut scratch.values);
    for first in (0..input.rows).step_by(TILE) {
        let rows = (input.rows - first).min(TILE);
        // Rows that the last tile does not have are its last row once more.
        let query = |index: usize| {
            let row = input.row(first + index.min(rows - 1));
            &row[head.queries..head.queries + head.width]
        };
        score_tile(set, [query(0), query(1), query(2), query(3)], &scratch.keys, &mut scratch.scores);
        let scale = 1.0 / (head.width as f32).sqrt();
        let mut inverses = [0.0; TILE];
        for (inverse, scores) in inverses.iter_mut().zip(scratch.scores.chunks_exact_mut(blocks)) {
            *inverse = 1.0 / weights(set, scores, input.rows, scale);
        }
        for vector in 0..vectors {
            let sums = weighted_values(set, &scratch.scores, &scratch.values[vector..], (input.rows, vectors));
            let columns = (head.width - vector * LANES).min(LANES);
            for (index, (sums, inverse)) in sums.iter().zip(inverses).enumerate().take(rows) {
                let start = (first + index) * out.stride + head.queries + vector * LANES;
                for (out, sum) in out.values[start..start + columns].iter_mut().zip(sums) {
                    *out = E::from_f32(sum * inverse);
                }
            }
        }
    }
}

/// Keys as lines [tokens / 16, width]: line `column` of a block has that column of sixteen tokens; tokens that there are
/// not are zeros.
#[inline(always)]
fn turn_keys_body<E: Element, const FMA: bool>(input: &Rows<'_, E>, head: Head, keys: &mut [Line]) {
    for (block, lines) in keys.chunks_exact_mut(head.width).enumerate() {
        for lane in 0..LANES {
            let token = block * LANES + lane;
            if token < input.rows {
                for (line, key) in lines.iter_mut().zip(&input.row(token)[head.keys..]) {
                    line.0[lane] = key.to_f32().to_bits();
                }
            } else {
                for line in lines.iter_mut() {
                    line.0[lane] = 0;
                }
            }
        }
    }
}

versions! { fn turn_keys<E>(input: &Rows<'_, E>, head: Head, keys: &mut [Line]) = turn_keys_body }

/// Values as lines [tokens, width / 16]; columns that there are not are zeros.
#[inline(always)]
fn spread_values_body<E: Element, const FMA: bool>(input: &Rows<'_, E>, head: Head, values: &mut [Line]) {
    for (token, lines) in values.chunks_exact_mut(head.width.div_ceil(LANES)).enumerate() {
        let row = &input.row(token)[head.values..head.values + head.width];
        for (line, row) in lines.iter_mut().zip(row.chunks(LANES)) {
            line.0[row.len()..].fill(0);
            for (number, value) in line.0.iter_mut().zip(row) {
                *number = value.to_f32().to_bits();
            }
        }
    }
}

versions! { fn spread_values<E>(input: &Rows<'_, E>, head: Head, values: &mut [Line]) = spread_values_body }

/// Products of four queries with all keys: lines [4, tokens / 16].
#[inline(always)]
fn score_tile_body<E: Element, const FMA: bool>(queries: [&[E]; TILE], keys: &[Line], scores: &mut [Line]) {
    let width = queries[0].len();
    let blocks = keys.len() / width;
    for (block, keys) in keys.chunks_exact(width).enumerate() {
        let mut sums = [[0.0_f32; LANES]; TILE];
        for (column, key) in keys.iter().enumerate() {
            let key = vector(key);
            for (sums, query) in sums.iter_mut().zip(&queries) {
                let query = query[column].to_f32();
                for lane in 0..LANES {
                    sums[lane] = multiply_add::<FMA>(query, key[lane], sums[lane]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            scores[row * blocks + block].0 = sums.map(f32::to_bits);
        }
    }
}

versions! { fn score_tile<E>(queries: [&[E]; TILE], keys: &[Line], scores: &mut [Line]) = score_tile_body }

/// Turns a row of scores into e^(scale·(score − the greatest)) and returns their sum; scores behind the last token become
/// zeros.
#[inline(always)]
fn weights_body<const FMA: bool>(scores: &mut [Line], tokens: usize, scale: f32) -> f32 {
    let whole = tokens / LANES;
    let mut maxima = [f32::NEG_INFINITY; LANES];
    for line in &scores[..whole] {
        let values = vector(line);
        for lane in 0..LANES {
            maxima[lane] = if values[lane] > maxima[lane] { values[lane] } else { maxima[lane] };
        }
    }
    let rest = tokens - whole * LANES;
    if rest > 0 {
        for (maximum, &bits) in maxima.iter_mut().zip(&scores[whole].0[..rest]) {
            *maximum = maximum.max(f32::from_bits(bits));
        }
    }
    let maximum = maxima.iter().fold(f32::NEG_INFINITY, |maximum, &value| maximum.max(value));
    let mut sums = [0.0_f32; LANES];
    for (index, line) in scores.iter_mut().enumerate() {
        let kept = (tokens - index * LANES).min(LANES);
        let values = vector(line);
        let mut weights = [0.0_f32; LANES];
        for lane in 0..LANES {
            let weight = exp::<FMA>((values[lane] - maximum) * scale);
            weights[lane] = if lane < kept { weight } else { 0.0 };
            sums[lane] += weights[lane];
        }
        line.0 = weights.map(f32::to_bits);
    }
    sums.iter().sum()
}

versions! { fn weights(scores: &mut [Line], tokens: usize, scale: f32) -> f32 = weights_body }

/// Sums of sixteen columns of the values, which lie `stride` lines apart, under four rows of weights.
#[inline(always)]
fn weighted_values_body<const FMA: bool>(
    weights: &[Line],
    values: &[Line],
    (tokens, stride): (usize, usize),
) -> [Vector; TILE] {
    let mut sums = [[0.0_f32; LANES]; TILE];
    let blocks = tokens.div_ceil(LANES);
    for (token, value) in values.iter().step_by(stride).enumerate() {
        let value = vector(value);
        for (row, sums) in sums.iter_mut().enumerate() {
            let weight = f32::from_bits(weights[row * blocks + token / LANES].0[token % LANES]);
            for lane in 0..LANES {
                sums[lane] = multiply_add::<FMA>(weight, value[lane], sums[lane]);
            }
        }
    }
    sums
}

versions! {
    fn weighted_values(weights: &[Line], values: &[Line], shape: (usize, usize)) -> [Vector; TILE] = weighted_values_body
}
