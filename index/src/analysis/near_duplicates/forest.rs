//! Pairs of rows, kept down to those that hold their groups together.
//!
//! Of any number of pairs only a maximum spanning forest is kept (Kruskal, "On the shortest spanning subtree of a graph
//! and the traveling salesman problem", 1956): the forest of old and new pairs is that of the old forest and the new
//! pairs, so ten thousand near-copies of one text need ten thousand pairs and not fifty million.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Two rows, the lower one first, and their cosine.
pub(super) type Pair = (u32, u32, f32);

/// New pairs at which the forest is made anew.
const PENDING: usize = 1 << 20;

/// The groups that pairs make.
#[derive(Debug)]
pub(super) struct Forest {
    /// The pairs kept.
    tree: Vec<Pair>,
    /// Pairs since the tree was made.
    pending: Vec<Pair>,
    /// For each row the lowest row of its group, as of the tree.
    group: Vec<u32>,
    /// For the lowest row of each group the weakest pair that holds it together.
    weakest: Vec<f32>,
}

impl Forest {
    /// Every one of `rows` rows by itself.
    pub(super) fn new(rows: usize) -> Self {
        Self {
            tree: Vec::new(),
            pending: Vec::new(),
            group: (0..rows as u32).collect(),
            weakest: vec![f32::INFINITY; rows],
        }
    }

    /// Whether a pair of at most this cosine would change nothing.
    pub(super) fn holds(&self, a: u32, b: u32, cosine: f32) -> bool {
        let group = self.group[a as usize];
        group == self.group[b as usize] && cosine <= self.weakest[group as usize]
    }

    /// Adds pairs.
    pub(super) fn add(&mut self, pairs: impl IntoIterator<Item = Pair>) {
        self.pending.extend(pairs);
        if self.pending.len() >= PENDING {
            self.settle();
        }
    }

    /// Brings all pairs added into the tree.
    pub(super) fn settle(&mut self) {
        self.tree.append(&mut self.pending);
        let mut root: Vec<u32> = (0..self.group.len() as u32).collect();
        strongest(&mut self.tree, &mut root, |row| row as usize);
        // Roots are the lowest rows of their groups.
        for row in 0..root.len() as u32 {
            self.group[row as usize] = find(&mut root, row);
        }
        self.weakest.fill(f32::INFINITY);
        for (a, _, cosine) in &self.tree {
            let weakest = &mut self.weakest[self.group[*a as usize] as usize];
            *weakest = weakest.min(*cosine);
        }
    }

    /// The lowest row of a row's group, as of the last time the pairs were settled.
    pub(super) fn group(&self, row: u32) -> u32 {
        self.group[row as usize]
    }

    /// Groups of at least two rows, largest first and then by lowest row, and the pairs that hold them together.
    pub(super) fn finish(mut self) -> (Vec<Vec<u32>>, Vec<Pair>) {
        self.settle();
        let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (row, group) in self.group.iter().enumerate() {
            groups.entry(*group).or_default().push(row as u32);
        }
        let mut groups: Vec<Vec<u32>> = groups.into_values().filter(|rows| rows.len() > 1).collect();
        groups.sort_by_key(|rows| (Reverse(rows.len()), rows.first().copied()));
        self.tree.sort_unstable_by_key(|(a, b, _)| (*a, *b));
        (groups, self.tree)
    }
}

/// Keeps of `pairs` a maximum spanning forest. `node` says which of `root`'s nodes a row is: rows may have several, which
/// only keeps more pairs.
pub(super) fn strongest(pairs: &mut Vec<Pair>, root: &mut [u32], node: impl Fn(u32) -> usize) {
    pairs.sort_unstable_by(|x, y| y.2.total_cmp(&x.2).then(x.0.cmp(&y.0)).then(x.1.cmp(&y.1)));
    pairs.retain(|(a, b, _)| {
        let (a, b) = (find(root, node(*a) as u32), find(root, node(*b) as u32));
        root[a.max(b) as usize] = a.min(b);
        a != b
    });
}

/// The root of a node; the way there is halved.
fn find(root: &mut [u32], mut node: u32) -> u32 {
    while root[node as usize] != node {
        root[node as usize] = root[root[node as usize] as usize];
        node = root[node as usize];
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_pairs_that_join_are_kept_whatever_the_order() {
        let mut pairs = vec![(0, 1, 0.96), (1, 2, 0.98), (0, 2, 0.97), (4, 5, 0.99), (3, 6, 0.95)];
        for _ in 0..pairs.len() {
            pairs.rotate_left(1);
            let mut forest = Forest::new(8);
            for pair in &pairs {
                forest.add([*pair]);
                forest.settle();
            }
            assert!(forest.holds(0, 1, 0.96) && !forest.holds(0, 1, 0.975) && !forest.holds(0, 4, 0.9));
            let (groups, kept) = forest.finish();
            assert_eq!(groups, [vec![0, 1, 2], vec![3, 6], vec![4, 5]]);
            assert_eq!(kept, [(0, 2, 0.97), (1, 2, 0.98), (3, 6, 0.95), (4, 5, 0.99)]);
        }
    }
}
