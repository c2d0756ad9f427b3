//! Small unsigned codes in the narrowest width that holds them, and comparing all of them with a range at once.

/// Codes in order. How wide they are depends on the largest of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Packed {
    /// So many zeros.
    Zeros(usize),
    /// Zeros and ones: so many, the first in the lowest bit of the first word.
    Bits(usize, Box<[u64]>),
    /// Up to 255.
    Bytes(Box<[u8]>),
    /// Up to 65,535.
    Shorts(Box<[u16]>),
    /// Up to 2^32 - 1.
    Words(Box<[u32]>),
    /// Any.
    Longs(Box<[u64]>),
}

/// Disjoint inclusive ranges of codes, ascending.
pub(super) type CodeRanges = Vec<(u64, u64)>;

/// More ranges than this are looked up in a table instead of being compared one after the other.
const FEW_RANGES: usize = 4;

impl Packed {
    pub(super) fn new(codes: &[u64]) -> Self {
        let most = codes.iter().copied().max().unwrap_or(0);
        match most {
            0 => Self::Zeros(codes.len()),
            1 => {
                let words = codes.chunks(64).map(|chunk| gather(chunk, |code| code == 1));
                Self::Bits(codes.len(), words.collect())
            }
            2..=0xff => Self::Bytes(codes.iter().map(|code| *code as u8).collect()),
            0x100..=0xffff => Self::Shorts(codes.iter().map(|code| *code as u16).collect()),
            0x1_0000..=0xffff_ffff => Self::Words(codes.iter().map(|code| *code as u32).collect()),
            _ => Self::Longs(codes.into()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Zeros(count) | Self::Bits(count, _) => *count,
            Self::Bytes(codes) => codes.len(),
            Self::Shorts(codes) => codes.len(),
            Self::Words(codes) => codes.len(),
            Self::Longs(codes) => codes.len(),
        }
    }

    /// The code at `at`; 0 beyond the last.
    pub(super) fn get(&self, at: usize) -> u64 {
        match self {
            Self::Zeros(_) => 0,
            Self::Bits(_, words) => words.get(at / 64).map_or(0, |word| word >> (at % 64) & 1),
            Self::Bytes(codes) => codes.get(at).map_or(0, |code| u64::from(*code)),
            Self::Shorts(codes) => codes.get(at).map_or(0, |code| u64::from(*code)),
            Self::Words(codes) => codes.get(at).map_or(0, |code| u64::from(*code)),
            Self::Longs(codes) => codes.get(at).copied().unwrap_or(0),
        }
    }

    /// All codes.
    pub(super) fn unpack(&self) -> Vec<u64> {
        match self {
            Self::Zeros(count) => vec![0; *count],
            Self::Bits(count, _) => (0..*count).map(|at| self.get(at)).collect(),
            Self::Bytes(codes) => codes.iter().map(|code| u64::from(*code)).collect(),
            Self::Shorts(codes) => codes.iter().map(|code| u64::from(*code)).collect(),
            Self::Words(codes) => codes.iter().map(|code| u64::from(*code)).collect(),
            Self::Longs(codes) => codes.to_vec(),
        }
    }

    /// The first position whose code is at least `wanted`; the codes must ascend.
    pub(super) fn lower_bound(&self, wanted: u64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle) < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Bytes it takes in memory, without the enumeration itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Zeros(_) => 0,
            Self::Bits(_, words) | Self::Longs(words) => words.len() * 8,
            Self::Bytes(codes) => codes.len(),
            Self::Shorts(codes) => codes.len() * 2,
            Self::Words(codes) => codes.len() * 4,
        }
    }

    /// One bit for each position, the first in the lowest bit of the first word: whether its code lies in `ranges`.
    pub(super) fn within(&self, ranges: &[(u64, u64)]) -> Vec<u64> {
        match self {
            Self::Zeros(count) => {
                let inside = ranges.iter().any(|(low, _)| *low == 0);
                ones(if inside { *count } else { 0 }, *count)
            }
            Self::Bits(count, words) => {
                let has = |code: u64| ranges.iter().any(|(low, high)| (*low..=*high).contains(&code));
                match (has(0), has(1)) {
                    (false, false) => ones(0, *count),
                    (false, true) => words.to_vec(),
                    (true, false) => {
                        let all = ones(*count, *count);
                        all.iter().zip(words).map(|(all, word)| all & !word).collect()
                    }
                    (true, true) => ones(*count, *count),
                }
            }
            Self::Bytes(codes) => narrow(codes, ranges, 0xff),
            Self::Shorts(codes) => narrow(codes, ranges, 0xffff),
            Self::Words(codes) => wide(codes, ranges),
            Self::Longs(codes) => wide(codes, ranges),
        }
    }
}

/// `count` bits of which the first `set` are 1.
fn ones(set: usize, count: usize) -> Vec<u64> {
    let mut words = vec![0; count.div_ceil(64)];
    let (full, rest) = (set / 64, set % 64);
    words.iter_mut().take(full).for_each(|word| *word = u64::MAX);
    if rest > 0
        && let Some(word) = words.get_mut(full)
    {
        *word = (1 << rest) - 1;
    }
    words
}

/// Up to 64 answers in one word.
fn gather<T: Copy>(codes: &[T], inside: impl Fn(T) -> bool) -> u64 {
    codes.iter().enumerate().fold(0, |word, (at, code)| word | u64::from(inside(*code)) << at)
}

fn each_word<T: Copy>(codes: &[T], inside: impl Fn(T) -> bool) -> Vec<u64> {
    let (chunks, rest) = codes.as_chunks::<64>();
    let mut words: Vec<u64> = chunks.iter().map(|chunk| gather(chunk, &inside)).collect();
    if !rest.is_empty() {
        words.push(gather(rest, inside));
    }
    words
}

/// Codes of few possible values: many ranges become a table of all values.
fn narrow<T: Copy + Into<u64>>(codes: &[T], ranges: &[(u64, u64)], most: u64) -> Vec<u64> {
    if ranges.len() <= FEW_RANGES {
        return wide(codes, ranges);
    }
    let mut table = vec![false; most as usize + 1];
    for (low, high) in ranges {
        let (low, high) = (*low.min(&(most + 1)) as usize, (*high).min(most) as usize);
        table.iter_mut().take(high + 1).skip(low).for_each(|entry| *entry = true);
    }
    each_word(codes, |code| table.get(code.into() as usize).copied().unwrap_or(false))
}

fn wide<T: Copy + Into<u64>>(codes: &[T], ranges: &[(u64, u64)]) -> Vec<u64> {
    if ranges.len() > FEW_RANGES {
        return each_word(codes, |code| {
            let code = code.into();
            let next = ranges.partition_point(|(low, _)| *low <= code);
            next > 0 && ranges.get(next - 1).is_some_and(|(_, high)| code <= *high)
        });
    }
    let mut found = vec![0; codes.len().div_ceil(64)];
    for (low, high) in ranges {
        let (low, span) = (*low, high - low);
        let one = each_word(codes, |code| code.into().wrapping_sub(low) <= span);
        found.iter_mut().zip(one).for_each(|(word, more)| *word |= more);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Codes up to each width, and ranges among them.
    fn codes() -> impl Strategy<Value = Vec<u64>> {
        prop::sample::select(&[0u64, 1, 9, 0xff, 0x1ff, 0xffff, 0x1_ffff, 0xffff_ffff, u64::MAX][..])
            .prop_flat_map(|most| prop::collection::vec(0..=most, 0..200))
    }

    fn ranges() -> impl Strategy<Value = CodeRanges> {
        let bound = prop_oneof![0u64..12, 0u64..0x2_0000, any::<u64>()];
        prop::collection::btree_set(bound, 0..16).prop_map(|bounds| {
            let bounds: Vec<u64> = bounds.into_iter().collect();
            bounds.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn packed_codes_are_the_codes(codes in codes(), ranges in ranges(), wanted in any::<u64>()) {
            let packed = Packed::new(&codes);
            prop_assert_eq!(packed.unpack(), codes.clone());
            prop_assert_eq!(packed.len(), codes.len());
            let found = packed.within(&ranges);
            prop_assert_eq!(found.len(), codes.len().div_ceil(64));
            for (at, code) in codes.iter().enumerate() {
                prop_assert_eq!(packed.get(at), *code);
                let expected = ranges.iter().any(|(low, high)| low <= code && code <= high);
                prop_assert_eq!(found[at / 64] >> (at % 64) & 1 == 1, expected, "{} in {:?}", code, ranges);
            }
            let beyond = found.last().map_or(0, |last| last >> ((codes.len() - 1) % 64) >> 1);
            prop_assert_eq!(beyond, 0);
            let mut ascending = codes;
            ascending.sort_unstable();
            let at = ascending.partition_point(|code| *code < wanted);
            prop_assert_eq!(Packed::new(&ascending).lower_bound(wanted), at);
        }
    }
}
