//! How far two groupings of the same things agree, whatever the groups are numbered.
//!
//! Each is computed from the contingency table of the two; the definitions at the edges (one group, no agreement beyond
//! chance) are scikit-learn's.

use std::collections::HashMap;

/// How pure and how whole the groups found are, measured against the true ones. Rosenberg and Hirschberg, "V-measure: a
/// conditional entropy-based external cluster evaluation measure", 2007. Each figure is in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VMeasure {
    /// 1 when every group found holds things of one true group only.
    pub homogeneity: f64,
    /// 1 when the things of every true group are in one group found.
    pub completeness: f64,
    /// The harmonic mean of the two; 0 when both are 0.
    pub v_measure: f64,
}

/// The adjusted Rand index of two groupings: the share of pairs that both keep together or both keep apart, corrected for
/// chance. 1 for equal groupings, about 0 for unrelated ones, never below -1. Hubert and Arabie, "Comparing partitions",
/// 1985. Groupings without a pair to disagree on, and empty ones, agree fully.
///
/// Both slices hold one group number a thing; what one has beyond the other's length is left out.
pub fn adjusted_rand(a: &[u32], b: &[u32]) -> f64 {
    let table = Contingency::of(a, b);
    let pairs = |n: &f64| n * (n - 1.0) / 2.0;
    let both: f64 = table.cells.iter().map(|(_, n)| pairs(n)).sum();
    let (in_a, in_b): (f64, f64) = (table.a.iter().map(pairs).sum(), table.b.iter().map(pairs).sum());
    // Whole numbers: no pair is kept together by one of them only.
    if (in_a - both) + (in_b - both) < 0.5 {
        return 1.0;
    }
    let expected = in_a * (in_b / pairs(&table.total));
    (both - expected) / (f64::midpoint(in_a, in_b) - expected)
}

/// Homogeneity, completeness and their harmonic mean of the groups `found`, against the `truth`.
///
/// Both slices hold one group number a thing; what one has beyond the other's length is left out.
pub fn v_measure(truth: &[u32], found: &[u32]) -> VMeasure {
    let table = Contingency::of(truth, found);
    let mutual = table.mutual_information();
    let share = |entropy: f64| if entropy > 0.0 { (mutual / entropy).clamp(0.0, 1.0) } else { 1.0 };
    let homogeneity = share(table.entropy(&table.a));
    let completeness = share(table.entropy(&table.b));
    let sum = homogeneity + completeness;
    VMeasure {
        homogeneity,
        completeness,
        v_measure: if sum > 0.0 { 2.0 * homogeneity * completeness / sum } else { 0.0 },
    }
}

/// The mutual information of two groupings over the mean of their entropies, in [0, 1]. Two groupings of one group each
/// agree fully. Strehl and Ghosh, "Cluster ensembles", 2002, with the arithmetic mean.
///
/// Both slices hold one group number a thing; what one has beyond the other's length is left out.
pub fn normalized_mutual_information(a: &[u32], b: &[u32]) -> f64 {
    let table = Contingency::of(a, b);
    let mean = f64::midpoint(table.entropy(&table.a), table.entropy(&table.b));
    if mean > 0.0 { (table.mutual_information() / mean).clamp(0.0, 1.0) } else { 1.0 }
}

/// How many things are in each group of one grouping, of the other, and in each pair of groups.
struct Contingency {
    /// Pairs of places in `a` and `b`, and their count; in the order in which they first occur.
    cells: Vec<((usize, usize), f64)>,
    a: Vec<f64>,
    b: Vec<f64>,
    total: f64,
}

impl Contingency {
    fn of(a: &[u32], b: &[u32]) -> Self {
        let length = a.len().min(b.len());
        let ((a, in_a), (b, in_b)) = (places(&a[..length]), places(&b[..length]));
        let mut at = HashMap::new();
        let mut cells: Vec<((usize, usize), f64)> = Vec::new();
        for pair in a.into_iter().zip(b) {
            let cell = *at.entry(pair).or_insert_with(|| {
                cells.push((pair, 0.0));
                cells.len() - 1
            });
            cells[cell].1 += 1.0;
        }
        Self { cells, a: in_a, b: in_b, total: length as f64 }
    }

    /// In nats.
    fn entropy(&self, groups: &[f64]) -> f64 {
        if groups.len() < 2 {
            return 0.0;
        }
        groups.iter().map(|n| -n / self.total * (n / self.total).ln()).sum()
    }

    /// In nats.
    fn mutual_information(&self) -> f64 {
        let one =
            |&((a, b), n): &((usize, usize), f64)| n / self.total * (n * self.total / (self.a[a] * self.b[b])).ln();
        self.cells.iter().map(one).sum::<f64>().max(0.0)
    }
}

/// Groups numbered from 0 in the order in which they first occur, and the size of each.
fn places(groups: &[u32]) -> (Vec<usize>, Vec<f64>) {
    let (mut at, mut sizes) = (HashMap::new(), Vec::new());
    let numbered = groups
        .iter()
        .map(|group| {
            let place = *at.entry(group).or_insert_with(|| {
                sizes.push(0.0);
                sizes.len() - 1
            });
            sizes[place] += 1.0;
            place
        })
        .collect();
    (numbered, sizes)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn agrees_with_scikit_learn() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/clustering_figures.json")).unwrap();
        let cases = fixture["agreement"].as_array().unwrap();
        assert_eq!(cases.len(), 9);
        for case in cases {
            let groups = |name: &str| -> Vec<u32> {
                case[name].as_array().unwrap().iter().map(|group| group.as_u64().unwrap() as u32).collect()
            };
            let (a, b) = (groups("a"), groups("b"));
            let found = v_measure(&a, &b);
            for (name, found) in [
                ("adjusted_rand", adjusted_rand(&a, &b)),
                ("homogeneity", found.homogeneity),
                ("completeness", found.completeness),
                ("v_measure", found.v_measure),
                ("normalized_mutual_information", normalized_mutual_information(&a, &b)),
            ] {
                let expected = case[name].as_f64().unwrap();
                assert!((found - expected).abs() < 1e-9, "{} {name}: {found}, not {expected}", case["name"]);
            }
        }
    }

    #[test]
    fn figures_do_not_depend_on_the_numbers_of_groups() {
        let (a, b) = ([0, 0, 1, 1, 2, 2, 2], [5, 5, 5, 9, 9, 7, 7]);
        let (renamed, longer) = ([u32::MAX, u32::MAX, 3, 3, 0, 0, 0], [5, 5, 5, 9, 9, 7, 7, 1, 1]);
        assert!((adjusted_rand(&a, &b) - adjusted_rand(&renamed, &longer)).abs() < 1e-12);
        assert_eq!(v_measure(&a, &b), v_measure(&renamed, &longer));
    }
}
