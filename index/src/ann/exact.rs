//! The true nearest rows, through their codes.

use roaring::RoaringBitmap;

use super::codes::Codes;
use super::row_set::RowSet;
use super::top::{Scored, Top};
use super::vectors::{Vectors, dot};

/// Rows whose codes are scored at once.
const BLOCK: usize = 1024;

/// The `top` rows nearest to `query` among `rows` (all when `None`) without those `removed`, best first, exactly as a scan
/// of all vectors finds them.
///
/// A row x with the code y and a query q with the code p differ from their product by ⟨q, x⟩ - ⟨p, y⟩ = ⟨q, x - y⟩ +
/// ⟨q - p, y⟩, which by Cauchy and Schwarz is at most |q|·|x - y| + |q - p|·(|x| + |x - y|). A row that cannot be among
/// the best, whatever it lost, is never looked at.
pub(crate) fn exact_scan(
    vectors: &Vectors,
    codes: &Codes,
    query: &[f32],
    (rows, removed): (Option<&RowSet>, &RoaringBitmap),
    top: usize,
) -> Vec<Scored> {
    let coded = codes.query(query);
    let length = dot(query, query).sqrt();
    // What sums of f32 products in two different orders can differ by.
    let rounding = (query.len() + 16) as f32 * f32::EPSILON * length * codes.longest();
    let wanted: Vec<u32> = match rows {
        Some(rows) => rows.iter().filter(|row| !removed.contains(*row)).collect(),
        None => (0..codes.len() as u32).filter(|row| !removed.contains(*row)).collect(),
    };
    let mut bounds: Vec<f32> = Vec::with_capacity(wanted.len());
    let mut best = Top::new(top);
    let mut scores = Vec::new();
    for block in wanted.chunks(BLOCK) {
        codes.score(&coded, block, &mut scores);
        for (row, score) in block.iter().zip(&scores) {
            best.offer(*score, *row);
            let loss = codes.loss(*row);
            bounds.push(score + length * loss + coded.loss * (codes.longest() + loss) + rounding);
        }
    }
    let likely = best.into_best_first();
    let mut found = Top::new(top);
    let mut tried: Vec<u32> = likely.iter().map(|s| s.row).collect();
    for row in &tried {
        found.offer(dot(query, vectors.row(*row as usize)), *row);
    }
    tried.sort_unstable();
    for (row, bound) in wanted.iter().zip(&bounds) {
        if found.could_keep(*bound) && tried.binary_search(row).is_err() {
            found.offer(dot(query, vectors.row(*row as usize)), *row);
        }
    }
    found.into_best_first()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ann::made;

    proptest! {
        #[test]
        fn it_finds_to_the_bit_what_comparing_all_vectors_finds(
            count in 1usize..300,
            dimension in 1usize..140,
            clusters in 1usize..10,
            spread in -5.0f32..0.0,
            top in 0usize..40,
            removed in prop::collection::vec(0u32..300, 0..100),
            rows in prop::option::of(prop::collection::vec(0u32..300, 0..300)),
            seed: u64,
        ) {
            // Rows of a cluster are nearer to each other than their codes can tell.
            let data = made::clustered(count, dimension, (clusters, 10f32.powf(spread)), seed);
            let vectors = made::vectors(&data);
            let codes = made::codes(&vectors);
            let removed: RoaringBitmap = removed.into_iter().collect();
            let rows = rows.map(|rows| RowSet::new(count, rows));
            let counts = |row: u32| !removed.contains(row) && rows.as_ref().is_none_or(|rows| rows.contains(row));
            for query in [&data[0], &made::clustered(1, dimension, (1, 0.0), seed ^ 1)[0]] {
                let found = exact_scan(&vectors, &codes, query, (rows.as_ref(), &removed), top);
                let expected = made::nearest(&vectors, query, top, counts);
                prop_assert!(found.iter().map(|s| (s.row, s.score.to_bits())).eq(expected.iter().map(|s| (s.row, s.score.to_bits()))));
            }
        }
    }
}
