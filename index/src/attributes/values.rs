//! The values of one attribute and one type in a block: encoded small, and compared without being decoded.

use anser_core::AttributeKind;

use super::packed::{CodeRanges, Packed};
use super::plan::{Comparison, TextMatch};
use super::rows::{RowBits, Rows};
use super::texts::Texts;

/// Multiples of which times are stored, in nanoseconds: days to nanoseconds.
const SCALES: [i128; 7] = [86_400_000_000_000, 3_600_000_000_000, 60_000_000_000, 1_000_000_000, 1_000_000, 1000, 1];
/// Numbers of fewer rows are not worth a look for repeated ones.
const RANKED_ABOVE: usize = 64;

/// Values of one type with the rows that have them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) kind: AttributeKind,
    pub(super) rows: Rows,
    pub(super) values: Values,
}

/// Encoded values, in the order of their rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// Numbers: the code is what lies between `low` and the number, divided by `scale`.
    Offsets { scale: i64, low: i64, codes: Packed },
    /// Numbers of which many repeat, or that are larger than 64 bits: the code is the place among the different ones.
    Ranked { sorted: Box<[i128]>, codes: Packed },
    /// Texts: the code is the place among the different ones.
    Texts { sorted: Texts, codes: Packed },
    /// Lists of texts: `ends` says where each row's list ends among the codes.
    Lists { sorted: Texts, ends: Packed, codes: Packed },
}

/// Decoded values, in the order of their rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decoded {
    Numbers(Vec<i128>),
    /// Places in `Texts`.
    Texts(Texts, Vec<u64>),
    Lists(Texts, Vec<Vec<u64>>),
}

impl Values {
    /// The smallest encoding of `numbers`. Times have scales, other numbers none.
    pub(super) fn of_numbers(kind: AttributeKind, numbers: &[i128]) -> Self {
        let (low, high) = numbers.iter().fold((i128::MAX, i128::MIN), |(low, high), n| (low.min(*n), high.max(*n)));
        let scale = if kind == AttributeKind::Time {
            let divides = |scale: &&i128| numbers.iter().all(|number| is_multiple(*number, **scale));
            SCALES.iter().find(divides).copied().unwrap_or(1)
        } else {
            1
        };
        let offsets = match (i64::try_from(low / scale), i64::try_from(high / scale), i64::try_from(scale)) {
            (Ok(first), Ok(_), Ok(scale)) if low <= high => {
                let codes: Vec<u64> = numbers.iter().map(|n| steps(n - low, scale)).collect();
                Some(Self::Offsets { scale, low: first, codes: Packed::new(&codes) })
            }
            _ => None,
        };
        // Repeated numbers are looked for where offsets take four bytes or more, or do not exist.
        let wide = offsets.as_ref().is_none_or(|offsets| match offsets {
            Self::Offsets { codes, .. } => codes.len() > RANKED_ABOVE && codes.bytes() >= 4 * codes.len(),
            _ => false,
        });
        if !wide {
            return offsets.unwrap_or_else(|| Self::ranked(numbers));
        }
        let ranked = Self::ranked(numbers);
        match offsets {
            Some(offsets) if offsets.bytes() <= ranked.bytes() => offsets,
            _ => ranked,
        }
    }

    fn ranked(numbers: &[i128]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let codes: Vec<u64> = numbers.iter().map(|n| sorted.partition_point(|other| other < n) as u64).collect();
        Self::Ranked { sorted: sorted.into(), codes: Packed::new(&codes) }
    }

    /// Texts as the places of each in `forms`, which are different and in any order.
    pub(super) fn of_texts(forms: &[Box<[u8]>], places: &[u32]) -> Self {
        let (sorted, ranks) = rank(forms, places.iter().copied());
        let codes: Vec<u64> = places.iter().map(|place| ranks.get(*place as usize).copied().unwrap_or(0)).collect();
        Self::Texts { sorted, codes: Packed::new(&codes) }
    }

    /// Lists of texts, likewise.
    pub(super) fn of_lists<'a>(forms: &[Box<[u8]>], lists: impl Iterator<Item = &'a [u32]> + Clone) -> Self {
        let (sorted, ranks) = rank(forms, lists.clone().flatten().copied());
        let (mut codes, mut ends) = (Vec::new(), Vec::new());
        for list in lists {
            codes.extend(list.iter().map(|place| ranks.get(*place as usize).copied().unwrap_or(0)));
            ends.push(codes.len() as u64);
        }
        Self::Lists { sorted, ends: Packed::new(&ends), codes: Packed::new(&codes) }
    }

    pub(super) fn decode(&self) -> Decoded {
        match self {
            Self::Offsets { scale, low, codes } => {
                let number = |code: u64| (i128::from(*low) + i128::from(code)) * i128::from(*scale);
                Decoded::Numbers(codes.unpack().into_iter().map(number).collect())
            }
            Self::Ranked { sorted, codes } => {
                let number = |code: u64| sorted.get(code as usize).copied().unwrap_or(0);
                Decoded::Numbers(codes.unpack().into_iter().map(number).collect())
            }
            Self::Texts { sorted, codes } => Decoded::Texts(sorted.clone(), codes.unpack()),
            Self::Lists { sorted, ends, codes } => {
                let codes = codes.unpack();
                let lists = (0..ends.len()).map(|at| codes.get(run(ends, at)).unwrap_or(&[]).to_vec());
                Decoded::Lists(sorted.clone(), lists.collect())
            }
        }
    }

    /// Bytes it takes in memory, without the enumeration itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Offsets { codes, .. } => codes.bytes(),
            Self::Ranked { sorted, codes } => sorted.len() * 16 + codes.bytes(),
            Self::Texts { sorted, codes } => sorted.bytes() + codes.bytes(),
            Self::Lists { sorted, ends, codes } => sorted.bytes() + ends.bytes() + codes.bytes(),
        }
    }
}

/// Division of 128 bits is slow; most times fit into 64.
fn is_multiple(number: i128, scale: i128) -> bool {
    match (i64::try_from(number), i64::try_from(scale)) {
        (Ok(number), Ok(scale)) => number % scale == 0,
        _ => number % scale == 0,
    }
}

/// How many times `scale` goes into a distance.
fn steps(distance: i128, scale: i64) -> u64 {
    match u64::try_from(distance) {
        Ok(distance) => distance / scale as u64,
        Err(_) => (distance / i128::from(scale)) as u64,
    }
}

/// The forms that are used, in order, and the rank of each form.
fn rank(forms: &[Box<[u8]>], places: impl Iterator<Item = u32>) -> (Texts, Vec<u64>) {
    let mut used = vec![false; forms.len()];
    for place in places {
        if let Some(used) = used.get_mut(place as usize) {
            *used = true;
        }
    }
    let mut order: Vec<(&[u8], usize)> = forms
        .iter()
        .zip(&used)
        .enumerate()
        .filter(|(_, (_, used))| **used)
        .map(|(at, (form, _))| (&**form, at))
        .collect();
    order.sort_unstable();
    let mut ranks = vec![0; forms.len()];
    for (rank, (_, at)) in order.iter().enumerate() {
        if let Some(entry) = ranks.get_mut(*at) {
            *entry = rank as u64;
        }
    }
    (Texts::new(order.iter().map(|(form, _)| *form)), ranks)
}

/// Which codes are those of the list at `at`.
fn run(ends: &Packed, at: usize) -> std::ops::Range<usize> {
    let start = if at == 0 { 0 } else { ends.get(at - 1) as usize };
    start..ends.get(at) as usize
}

impl Part {
    /// The rows that pass; those that must be read to know are added to `open`.
    pub(super) fn passing(&self, comparison: &Comparison, open: &mut RowBits) -> RowBits {
        match &self.values {
            Values::Offsets { scale, low, codes } => {
                let ranges = comparison.ranges(self.kind).map_or(&[][..], Vec::as_slice);
                self.rows.select(&codes.within(&offset_ranges(ranges, *scale, *low)))
            }
            Values::Ranked { sorted, codes } => {
                let ranges = comparison.ranges(self.kind).map_or(&[][..], Vec::as_slice);
                let ranks = ranges
                    .iter()
                    .map(|(low, high)| (sorted.partition_point(|n| n < low), sorted.partition_point(|n| n <= high)));
                self.rows
                    .select(&codes.within(&ranks.filter(|(low, end)| low < end).map(closed).collect::<CodeRanges>()))
            }
            Values::Texts { sorted, codes } => {
                let (sure, unsure) = text_ranges(sorted, &comparison.texts);
                if !unsure.is_empty() {
                    open.or(&self.rows.select(&codes.within(&unsure)));
                }
                self.rows.select(&codes.within(&sure))
            }
            Values::Lists { sorted, ends, codes } => {
                let mut passing = vec![0; ends.len().div_ceil(64)];
                if comparison.members {
                    let (sure, unsure) = text_ranges(sorted, &comparison.texts);
                    passing = any_of_run(ends, &codes.within(&sure));
                    if !unsure.is_empty() {
                        open.or(&self.rows.select(&any_of_run(ends, &codes.within(&unsure))));
                    }
                }
                for list in &comparison.lists {
                    let wanted: Option<Vec<u64>> =
                        list.forms.iter().map(|form| sorted.position(form).map(|at| at as u64)).collect();
                    let Some(wanted) = wanted else { continue };
                    let equal = equal_runs(ends, codes, &wanted);
                    if list.certain {
                        passing.iter_mut().zip(equal).for_each(|(word, more)| *word |= more);
                    } else {
                        open.or(&self.rows.select(&equal));
                    }
                }
                self.rows.select(&passing)
            }
        }
    }
}

fn closed((low, end): (usize, usize)) -> (u64, u64) {
    (low as u64, end as u64 - 1)
}

/// The offsets of numbers in `ranges`.
fn offset_ranges(ranges: &[(i128, i128)], scale: i64, low: i64) -> CodeRanges {
    let (scale, low) = (i128::from(scale), i128::from(low));
    let offset = |(from, to): &(i128, i128)| {
        // Rounded up, respectively down, to a multiple of the scale.
        let first = from.div_euclid(scale) + i128::from(from.rem_euclid(scale) > 0);
        let (first, last) = (first.saturating_sub(low), to.div_euclid(scale).saturating_sub(low));
        let some = last >= 0 && first <= last && first <= i128::from(u64::MAX);
        some.then(|| (first.max(0) as u64, last.min(i128::from(u64::MAX)) as u64))
    };
    ranges.iter().filter_map(offset).collect()
}

/// The places of texts that pass, and of those that leave it open.
fn text_ranges(sorted: &Texts, wanted: &TextMatch) -> (CodeRanges, CodeRanges) {
    match wanted {
        TextMatch::Range { from, to, open } => {
            let bound = |form: &[u8], above| sorted.lower_bound(0, form, above);
            let first = from.as_ref().map_or(0, |form| bound(form, false));
            let end = to.as_ref().map_or(sorted.len(), |form| bound(form, false));
            let unsure = open.as_ref().map(|(low, high)| (bound(low, false), bound(high, true)));
            let ranges = |range: Option<(usize, usize)>| {
                range.filter(|(low, end)| low < end).map(closed).into_iter().collect::<CodeRanges>()
            };
            (ranges(Some((first, end))), ranges(unsure))
        }
        TextMatch::Points(points) => {
            let (mut sure, mut unsure) = (CodeRanges::new(), CodeRanges::new());
            let mut take = |at: usize, certain: bool| {
                let ranges = if certain { &mut sure } else { &mut unsure };
                match ranges.last_mut() {
                    Some((_, last)) if *last + 1 == at as u64 => *last = at as u64,
                    _ => ranges.push((at as u64, at as u64)),
                }
            };
            // Few are looked up, many are merged with the texts that there are.
            let few = points.len() * 8 < sorted.len();
            let mut at = 0;
            for (form, certain) in points {
                if few {
                    at = sorted.lower_bound(at, form, false);
                } else {
                    while at < sorted.len() && sorted.get(at) < form.as_slice() {
                        at += 1;
                    }
                }
                if at < sorted.len() && sorted.get(at) == form.as_slice() {
                    take(at, *certain);
                }
            }
            (sure, unsure)
        }
    }
}

/// One bit for each list: whether one of its codes is marked.
fn any_of_run(ends: &Packed, marked: &[u64]) -> Vec<u64> {
    let mut found = vec![0; ends.len().div_ceil(64)];
    let mut start = 0;
    for (at, end) in ends.unpack().into_iter().enumerate() {
        let has = |code: u64| marked.get(code as usize / 64).is_some_and(|word| word >> (code % 64) & 1 == 1);
        if (start..end).any(has)
            && let Some(word) = found.get_mut(at / 64)
        {
            *word |= 1 << (at % 64);
        }
        start = end;
    }
    found
}

/// One bit for each list: whether its codes are `wanted`.
fn equal_runs(ends: &Packed, codes: &Packed, wanted: &[u64]) -> Vec<u64> {
    let mut found = vec![0; ends.len().div_ceil(64)];
    for at in 0..ends.len() {
        let run = run(ends, at);
        let equal = run.len() == wanted.len() && run.zip(wanted).all(|(at, wanted)| codes.get(at) == *wanted);
        if equal && let Some(word) = found.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }
    found
}
