//! A set of rows of one segment, asked once for every row that a search meets.

/// Rows of a segment as a bitmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowSet {
    words: Vec<u64>,
    len: usize,
}

impl RowSet {
    /// The `rows` of a segment that has `total` of them; others are left out, and their order does not matter.
    pub(crate) fn new(total: usize, rows: impl IntoIterator<Item = u32>) -> Self {
        let mut words = vec![0u64; total.div_ceil(64)];
        for row in rows.into_iter().filter(|row| (*row as usize) < total) {
            if let Some(word) = words.get_mut(row as usize / 64) {
                *word |= 1 << (row % 64);
            }
        }
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        Self { words, len }
    }

    /// How many rows it holds.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds `row`.
    pub(crate) fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Its rows, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(at as u32 * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_it_was_given(total in 0usize..300, rows: Vec<u16>) {
            let rows = rows.into_iter().map(|row| u32::from(row % 400));
            let expected: std::collections::BTreeSet<u32> = rows.clone().filter(|row| (*row as usize) < total).collect();
            let set = RowSet::new(total, rows);
            prop_assert_eq!(set.len(), expected.len());
            prop_assert!(set.iter().eq(expected.iter().copied()));
            prop_assert!((0..500).all(|row| set.contains(row) == expected.contains(&row)));
        }
    }
}
