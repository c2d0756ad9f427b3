//! Makes every row of a graph reachable.
//!
//! A builder that keeps only the nearest links of a row can cut a crowd of equal or nearly equal vectors off from the
//! rest: their links fill up with one another. A search would then never enter the crowd, or never leave it.

use std::collections::VecDeque;

/// Adds links to layer 0 (`base[row]` is the row's number and its neighbours) until every row can be reached from
/// `entry`, but for those that `reached` says need not be. An unreached row is linked from the first reached row that its own links lead to, which is close to it. Returns
/// how many links were added.
pub(crate) fn make_reachable(base: &mut [(u32, Vec<u32>)], entry: u32, mut reached: Vec<bool>) -> usize {
    let mut added = 0;
    spread(base, entry, &mut reached);
    for row in 0..base.len() as u32 {
        if reached[row as usize] {
            continue;
        }
        let from = nearest_reached(base, row, &reached).unwrap_or(entry);
        base[from as usize].1.push(row);
        added += 1;
        spread(base, row, &mut reached);
    }
    added
}

/// Marks everything that can be reached from `start`.
fn spread(base: &[(u32, Vec<u32>)], start: u32, reached: &mut [bool]) {
    reached[start as usize] = true;
    let mut open = vec![start];
    while let Some(row) = open.pop() {
        for next in &base[row as usize].1 {
            if !std::mem::replace(&mut reached[*next as usize], true) {
                open.push(*next);
            }
        }
    }
}

/// The first reached row on a breadth-first walk from `start`.
fn nearest_reached(base: &[(u32, Vec<u32>)], start: u32, reached: &[bool]) -> Option<u32> {
    let mut seen = std::collections::HashSet::from([start]);
    let mut open = VecDeque::from([start]);
    while let Some(row) = open.pop_front() {
        for next in &base[row as usize].1 {
            if reached[*next as usize] {
                return Some(*next);
            }
            if seen.insert(*next) {
                open.push_back(*next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all_reached(base: &[(u32, Vec<u32>)], entry: u32) -> bool {
        let mut reached = vec![false; base.len()];
        spread(base, entry, &mut reached);
        reached.iter().all(|r| *r)
    }

    #[test]
    fn a_cut_off_row_is_linked_from_where_its_links_lead() {
        // 0 <-> 1, and 3 -> 2 -> 1, which nobody links to; 4 knows nobody.
        let mut base = vec![(0, vec![1]), (1, vec![0]), (2, vec![1]), (3, vec![2]), (4, vec![])];
        assert_eq!(make_reachable(&mut base, 0, vec![false; 5]), 3);
        assert_eq!(base[1].1, [0, 2]);
        assert_eq!(base[2].1, [1, 3]);
        assert_eq!(base[0].1, [1, 4]);
    }

    proptest! {
        #[test]
        fn every_row_is_reached_and_a_whole_graph_is_left_alone(
            links in prop::collection::vec(prop::collection::vec(0u32..30, 0..4), 30),
            entry in 0u32..30,
        ) {
            let mut base: Vec<(u32, Vec<u32>)> = links.into_iter().enumerate().map(|(i, l)| (i as u32, l)).collect();
            make_reachable(&mut base, entry, vec![false; 30]);
            prop_assert!(all_reached(&base, entry));
            let whole = base.clone();
            prop_assert_eq!(make_reachable(&mut base, entry, vec![false; 30]), 0);
            prop_assert_eq!(base, whole);
        }
    }
}
