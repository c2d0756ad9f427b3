//! Which examples are held out for validation: a share of each label or topic, with everything that asks the same on one
//! side.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::checks::{Neighbours, inseparable, label_of_rows, similar_dot};
use super::dataset::{Dataset, Row};
use super::example::MINIMUM_EXAMPLES;

/// Most examples that are held out; more cost time at every evaluation and tell nothing new.
pub(super) const MAX_VALIDATION: usize = 1000;

/// Examples of one topic, about.
const PER_TOPIC: usize = 40;

/// Most topics.
const MAX_TOPICS: usize = 20;

/// Rounds of k-means; topics only need to be rough.
const ROUNDS: usize = 8;

/// How examples were spread over both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strata {
    Labels,
    Topics,
    Lengths,
}

impl Strata {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Topics => "topics",
            Self::Lengths => "lengths",
        }
    }
}

/// The ids of the rows to hold out, and by what they were spread. Empty when too few rows would be left to train on.
pub(super) fn hold_out(data: &Dataset, neighbours: &Neighbours, share: f64, seed: u64) -> (BTreeSet<usize>, Strata) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (strata, stratum_of) = strata_of(data, neighbours);
    let all = data.rows.len();
    let wanted = ((all as f64 * share).round() as usize).min(MAX_VALIDATION).min(all.saturating_sub(MINIMUM_EXAMPLES));
    let mut groups = inseparable(data, neighbours);
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut place: BTreeMap<usize, usize> = BTreeMap::new();
    for (row, stratum) in data.rows.iter().zip(&stratum_of) {
        let group = groups.of(row.id);
        members.entry(group).or_default().push(row.id);
        // A group lies where its first row lies.
        place.entry(group).or_insert(*stratum);
    }
    let mut by_stratum: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (group, stratum) in &place {
        by_stratum.entry(*stratum).or_default().push(*group);
    }
    let sizes: BTreeMap<usize, usize> =
        by_stratum.iter().map(|(stratum, groups)| (*stratum, groups.iter().map(|g| members[g].len()).sum())).collect();
    let quotas = quotas(&sizes, wanted);
    let mut held_out = BTreeSet::new();
    let mut left = Vec::new();
    for (stratum, mut groups) in by_stratum {
        groups.shuffle(&mut rng);
        let mut quota = quotas.get(&stratum).copied().unwrap_or(0);
        // The last group stays, so that every label and topic is trained on.
        groups.pop();
        for group in groups {
            let size = members[&group].len();
            if size <= quota {
                quota -= size;
                held_out.extend(&members[&group]);
            } else {
                left.push(group);
            }
        }
    }
    left.shuffle(&mut rng);
    for group in left {
        if held_out.len() + members[&group].len() <= wanted {
            held_out.extend(&members[&group]);
        }
    }
    (held_out, strata)
}

/// How many to take of each stratum: its share, rounded by largest remainders so that the sum is `wanted`.
fn quotas(sizes: &BTreeMap<usize, usize>, wanted: usize) -> BTreeMap<usize, usize> {
    let all: usize = sizes.values().sum();
    let mut quotas: BTreeMap<usize, usize> = sizes.iter().map(|(s, n)| (*s, wanted * n / all.max(1))).collect();
    let mut remainders: Vec<(usize, usize)> = sizes.iter().map(|(s, n)| (wanted * n % all.max(1), *s)).collect();
    remainders.sort_by_key(|(remainder, stratum)| (std::cmp::Reverse(*remainder), *stratum));
    let missing = wanted.saturating_sub(quotas.values().sum());
    for (_, stratum) in remainders.into_iter().take(missing) {
        *quotas.entry(stratum).or_default() += 1;
    }
    quotas
}

/// The stratum of each row: its label, its topic where questions are embedded, or the quarter of its answer's length.
fn strata_of(data: &Dataset, neighbours: &Neighbours) -> (Strata, Vec<usize>) {
    if let Some(labels) = label_of_rows(data) {
        let names: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
        let number: BTreeMap<&str, usize> = names.into_iter().enumerate().map(|(at, name)| (name, at)).collect();
        return (Strata::Labels, labels.iter().map(|label| number[label.as_str()]).collect());
    }
    let vectors: Option<Vec<&[f32]>> = data.rows.iter().map(|row| neighbours.vector(row.id)).collect();
    match vectors {
        Some(vectors) if vectors.len() >= 2 * PER_TOPIC => (Strata::Topics, topics(&vectors)),
        _ => (Strata::Lengths, length_quarters(&data.rows)),
    }
}

fn length_quarters(rows: &[Row]) -> Vec<usize> {
    let length = |row: &Row| row.answer().chars().count();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| (length(&rows[*at]), *at));
    let mut quarters = vec![0; rows.len()];
    for (rank, at) in order.into_iter().enumerate() {
        quarters[at] = rank * 4 / rows.len().max(1);
    }
    quarters
}

/// Spherical k-means. It begins with vectors that lie far from those chosen before, so nothing is drawn.
fn topics(vectors: &[&[f32]]) -> Vec<usize> {
    let k = (vectors.len() / PER_TOPIC).clamp(2, MAX_TOPICS);
    let mut centres: Vec<Vec<f32>> = vec![vectors[0].to_vec()];
    let mut nearest: Vec<f32> = vectors.iter().map(|v| similar_dot(v, &centres[0])).collect();
    while centres.len() < k {
        let Some(far) = (0..vectors.len()).min_by(|a, b| nearest[*a].total_cmp(&nearest[*b])) else { break };
        centres.push(vectors[far].to_vec());
        let centre = &centres[centres.len() - 1];
        for (best, vector) in nearest.iter_mut().zip(vectors) {
            *best = best.max(similar_dot(vector, centre));
        }
    }
    let assign = |centres: &[Vec<f32>]| -> Vec<usize> {
        let score = |vector: &[f32], centre: usize| similar_dot(vector, &centres[centre]);
        let best = |vector: &[f32]| {
            (0..centres.len())
                .max_by(|a, b| score(vector, *a).total_cmp(&score(vector, *b)).then(b.cmp(a)))
                .unwrap_or(0)
        };
        vectors.iter().map(|vector| best(vector)).collect()
    };
    let mut of = assign(&centres);
    for _ in 0..ROUNDS {
        for (number, centre) in centres.iter_mut().enumerate() {
            let mut sum = vec![0.0f32; centre.len()];
            for vector in vectors.iter().zip(&of).filter(|(_, topic)| **topic == number).map(|(vector, _)| vector) {
                sum.iter_mut().zip(*vector).for_each(|(s, x)| *s += x);
            }
            let norm = similar_dot(&sum, &sum).sqrt();
            if norm > 0.0 {
                *centre = sum.into_iter().map(|s| s / norm).collect();
            }
        }
        let next = assign(&centres);
        if next == of {
            break;
        }
        of = next;
    }
    of
}
