//! Which documents of a group are kept, and which kept one stands for each of the others.

use std::collections::HashMap;

use anser_core::CancelToken;
use anser_index::analysis::Vectors;

use super::facts::Facts;
use super::{DuplicateOptions, KeepRule, ROUNDING};
use crate::EngineError;

/// Sums of one product of vectors: enough for full vector registers.
const LANES: usize = 16;

/// Comparisons between two looks at the cancel token.
const BLOCK: usize = 4096;

/// A document of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed {
    pub(super) row: u32,
    /// The row of the kept document that stands for it; its own when it is kept.
    pub(super) kept: u32,
    /// Cosine with that document.
    pub(super) similarity: f32,
    /// Whether it is redundant and reads like that document.
    pub(super) exact_copy: bool,
}

impl Placed {
    pub(super) fn is_kept(&self) -> bool {
        self.row == self.kept
    }
}

/// Goes through the rows of a group, the best first by the rule, and keeps each that is not within the threshold of one
/// kept before. So everything that is not kept says nearly the same as something that is, also where the group is a long
/// chain whose ends have little in common. The result lists each kept document followed by those it stands for, nearest
/// first.
pub(super) fn resolve(
    options: &DuplicateOptions,
    vectors: &Vectors,
    group: &[u32],
    facts: &HashMap<u32, Facts>,
    cancel: &CancelToken,
) -> Result<Vec<Placed>, EngineError> {
    let missing = || EngineError::internal("a document of a group was not read");
    let mut best_first: Vec<(u32, Facts)> = group
        .iter()
        .map(|row| facts.get(row).map(|facts| (*row, *facts)).ok_or_else(missing))
        .collect::<Result<_, _>>()?;
    best_first.sort_by(|(a, x), (b, y)| {
        let newest = y.newest.unwrap_or(f64::NEG_INFINITY).total_cmp(&x.newest.unwrap_or(f64::NEG_INFINITY));
        let by_rule = match options.keep {
            KeepRule::First => std::cmp::Ordering::Equal,
            KeepRule::Longest => y.length.cmp(&x.length),
            KeepRule::Newest => newest.then(y.length.cmp(&x.length)),
        };
        by_rule.then(a.cmp(b))
    });
    let mut kept: Vec<(u32, Facts)> = Vec::new();
    let mut placed: Vec<(usize, Placed)> = Vec::with_capacity(group.len());
    for (row, facts) in best_first {
        let mut nearest: Option<(usize, f32)> = None;
        for (block, rows) in kept.chunks(BLOCK).enumerate() {
            cancel.check()?;
            for (at, (other, _)) in rows.iter().enumerate() {
                let similarity = dot(vectors.row(row as usize), vectors.row(*other as usize));
                if nearest.is_none_or(|(_, best)| similarity > best) {
                    nearest = Some((block * BLOCK + at, similarity));
                }
            }
        }
        let near = nearest.filter(|(_, similarity)| *similarity >= options.threshold - ROUNDING);
        if let Some((at, similarity)) = near {
            let (other, like) = kept[at];
            let exact_copy = like.content == facts.content;
            placed.push((at, Placed { row, kept: other, similarity: similarity.clamp(-1.0, 1.0), exact_copy }));
        } else {
            placed.push((kept.len(), Placed { row, kept: row, similarity: 1.0, exact_copy: false }));
            kept.push((row, facts));
        }
    }
    placed.sort_by(|(a, x), (b, y)| {
        a.cmp(b)
            .then(y.is_kept().cmp(&x.is_kept()))
            .then(y.similarity.total_cmp(&x.similarity))
            .then(y.exact_copy.cmp(&x.exact_copy))
            .then(x.row.cmp(&y.row))
    });
    Ok(placed.into_iter().map(|(_, placed)| placed).collect())
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        lanes.iter_mut().zip(x.iter().zip(y)).for_each(|(lane, (x, y))| *lane += x * y);
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit vectors in the plane at these angles, in degrees.
    fn at(degrees: &[f32]) -> Vectors {
        Vectors::new(degrees.iter().flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect(), 2).unwrap()
    }

    fn facts(of: &[(usize, u128, Option<f64>)]) -> HashMap<u32, Facts> {
        (0..).zip(of.iter().map(|&(length, content, newest)| Facts { length, content, newest })).collect()
    }

    fn kept(keep: KeepRule, degrees: &[f32], of: &[(usize, u128, Option<f64>)]) -> Vec<(u32, u32)> {
        // cos 20° is 0.94.
        let options = DuplicateOptions { threshold: 0.93, keep, ..DuplicateOptions::default() };
        let group: Vec<u32> = (0..).take(degrees.len()).collect();
        let placed = resolve(&options, &at(degrees), &group, &facts(of), &CancelToken::new()).unwrap();
        placed.iter().map(|p| (p.row, p.kept)).collect()
    }

    #[test]
    fn the_ends_of_a_chain_are_both_kept() {
        let of = [(9, 0, None), (5, 1, None), (7, 2, None), (4, 3, None)];
        assert_eq!(kept(KeepRule::Longest, &[0.0, 20.0, 40.0, 42.0], &of), [(0, 0), (1, 0), (2, 2), (3, 2)]);
    }

    #[test]
    fn each_rule_keeps_its_own() {
        let of = [(5, 0, Some(1.0)), (9, 1, None), (5, 0, Some(3.0)), (9, 3, Some(2.0))];
        let degrees = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(kept(KeepRule::First, &degrees, &of)[0], (0, 0));
        assert_eq!(kept(KeepRule::Longest, &degrees, &of)[0], (1, 1));
        assert_eq!(kept(KeepRule::Newest, &degrees, &of)[0], (2, 2));
    }

    #[test]
    fn exact_copies_are_told_from_near_ones() {
        let of = [(5, 7, None), (5, 7, None), (5, 8, None)];
        let options = DuplicateOptions { threshold: 1.0, ..DuplicateOptions::default() };
        let found = resolve(&options, &at(&[10.0; 3]), &[0, 1, 2], &facts(&of), &CancelToken::new()).unwrap();
        assert_eq!(
            found.iter().map(|p| (p.row, p.exact_copy)).collect::<Vec<_>>(),
            [(0, false), (1, true), (2, false)]
        );
        assert!(found.iter().all(|p| p.kept == 0));
    }
}
