//! Sets of a block's rows: as bits, to compute with, and as kept beside the values of some of the rows.

/// Rows of a block: what lies in one block is written anew when one of its rows changes.
pub(super) const BLOCK_ROWS: usize = 1 << 14;
const WORDS: usize = BLOCK_ROWS / 64;

/// A set of rows of a block, one bit each.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RowBits(Box<[u64]>);

impl RowBits {
    pub(super) fn none() -> Self {
        Self(vec![0; WORDS].into())
    }

    pub(super) fn all() -> Self {
        Self(vec![u64::MAX; WORDS].into())
    }

    /// The first `count` rows.
    pub(super) fn first(count: usize) -> Self {
        let mut made = Self::none();
        made.0.iter_mut().enumerate().for_each(|(at, word)| {
            *word = match count.saturating_sub(at * 64) {
                64.. => u64::MAX,
                some => (1 << some) - 1,
            };
        });
        made
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.0.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, row: usize) {
        if let Some(word) = self.0.get_mut(row / 64) {
            *word |= 1 << (row % 64);
        }
    }

    pub(super) fn unset(&mut self, row: usize) {
        if let Some(word) = self.0.get_mut(row / 64) {
            *word &= !(1 << (row % 64));
        }
    }

    pub(super) fn and(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    pub(super) fn or(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub(super) fn invert(&mut self) {
        self.0.iter_mut().for_each(|word| *word = !*word);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The rows in it, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| bits(*word).map(move |bit| at * 64 + bit))
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.0
    }

    /// The set whose words these are; `None` for another number of words.
    pub(super) fn from_words(words: Vec<u64>) -> Option<Self> {
        (words.len() == WORDS).then(|| Self(words.into()))
    }
}

/// The positions of the ones in a word, ascending.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

/// Which rows have a value, in the order of the values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rows {
    /// The first so many.
    First(usize),
    /// Few, ascending.
    Few(Box<[u16]>),
    /// Many of many.
    Many(RowBits),
}

/// A list of rows takes 16 bits for each, a set one bit for each row of the block.
const FEW: usize = BLOCK_ROWS / 16;

impl Rows {
    /// `rows` ascend.
    pub(super) fn new(rows: &[u16]) -> Self {
        if rows.last().is_none_or(|last| usize::from(*last) + 1 == rows.len()) {
            return Self::First(rows.len());
        }
        if rows.len() < FEW {
            return Self::Few(rows.into());
        }
        let mut set = RowBits::none();
        for row in rows {
            set.set(usize::from(*row));
        }
        Self::Many(set)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::First(count) => *count,
            Self::Few(rows) => rows.len(),
            Self::Many(set) => set.count(),
        }
    }

    /// All of them, ascending.
    pub(super) fn to_vec(&self) -> Vec<u16> {
        match self {
            Self::First(count) => (0..*count as u16).collect(),
            Self::Few(rows) => rows.to_vec(),
            Self::Many(set) => set.iter().map(|row| row as u16).collect(),
        }
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<usize> {
        match self {
            Self::First(count) => (*count > 0).then_some(0),
            Self::Few(rows) => rows.first().map(|row| usize::from(*row)),
            Self::Many(set) => set.iter().next(),
        }
    }

    /// The rows whose values are at the positions that `chosen` has, a bit for each position.
    pub(super) fn select(&self, chosen: &[u64]) -> RowBits {
        let mut set = RowBits::none();
        match self {
            Self::First(_) => set.0.iter_mut().zip(chosen).for_each(|(word, chosen)| *word = *chosen),
            Self::Few(rows) => {
                for (at, word) in chosen.iter().enumerate() {
                    for position in bits(*word) {
                        if let Some(row) = rows.get(at * 64 + position) {
                            set.set(usize::from(*row));
                        }
                    }
                }
            }
            Self::Many(present) => {
                let mut position = 0;
                for (word, present) in set.0.iter_mut().zip(&present.0) {
                    for bit in bits(*present) {
                        let chosen = chosen.get(position / 64).map_or(0, |word| word >> (position % 64) & 1);
                        *word |= chosen << bit;
                        position += 1;
                    }
                }
            }
        }
        set
    }

    /// Bytes it takes in memory, without the enumeration itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::First(_) => 0,
            Self::Few(rows) => rows.len() * 2,
            Self::Many(_) => WORDS * 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = Vec<u16>> {
        let some = |share: usize| {
            prop::collection::btree_set(0u16..BLOCK_ROWS as u16, 0..share).prop_map(|set| set.into_iter().collect())
        };
        prop_oneof![some(40), some(3 * FEW), (0..200u16).prop_map(|count| (0..count).collect())]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn rows_are_kept_and_selected_by_position(list in rows(), seed in any::<u64>()) {
            let rows = Rows::new(&list);
            prop_assert_eq!(rows.to_vec(), list.clone());
            prop_assert_eq!(rows.len(), list.len());
            prop_assert_eq!(rows.first(), list.first().map(|row| usize::from(*row)));
            let wanted = |at: usize| (at as u64).wrapping_mul(seed | 1) >> 7 & 1 == 1;
            let mut chosen = vec![0u64; list.len().div_ceil(64)];
            (0..list.len()).filter(|at| wanted(*at)).for_each(|at| chosen[at / 64] |= 1 << (at % 64));
            let expected: Vec<usize> =
                list.iter().enumerate().filter(|(at, _)| wanted(*at)).map(|(_, row)| usize::from(*row)).collect();
            prop_assert_eq!(rows.select(&chosen).iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn sets_combine_as_sets_do() {
        for count in [0, 1, 63, 64, 65, 1000, BLOCK_ROWS] {
            let mut set = RowBits::first(count);
            assert_eq!((set.count(), set.iter().last(), set.is_empty()), (count, count.checked_sub(1), count == 0));
            set.invert();
            assert_eq!(set.count(), BLOCK_ROWS - count);
            set.or(&RowBits::first(count));
            assert_eq!(set, RowBits::all());
            set.unset(5);
            assert!(!set.has(5) && set.has(6));
            set.and(&RowBits::first(7));
            assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6]);
            set.set(5);
            assert_eq!(set, RowBits::from_words(RowBits::first(7).words().to_vec()).unwrap());
        }
    }
}
