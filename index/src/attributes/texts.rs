//! The different texts of a block, in order. Of long texts only the beginning and a hash are kept, so that columns of
//! long texts stay small; the few rows where that leaves a comparison open are read from the database.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use super::packed::Packed;

/// Bytes of a text that is kept whole.
const KEPT_BYTES: usize = 64;
/// Follows the beginning of a long text. No text in UTF-8 has this byte, so a long text comes after the text that is
/// only its beginning and before all that differ from it there.
const CUT: u8 = 0xff;

/// What is kept of a text. Kept forms are in the order of their texts, except those of long texts with one beginning.
pub(super) fn kept(text: &str) -> Cow<'_, [u8]> {
    if is_short(text) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut form = beginning(text);
    form.extend_from_slice(&xxh3_64(text.as_bytes()).to_be_bytes());
    Cow::Owned(form)
}

/// Whether a text is kept whole.
pub(super) fn is_short(text: &str) -> bool {
    text.len() <= KEPT_BYTES
}

/// The first and the last kept form that long texts with the beginning of `text` can have.
pub(super) fn forms_like(text: &str) -> (Vec<u8>, Vec<u8>) {
    let (mut low, mut high) = (beginning(text), beginning(text));
    low.extend_from_slice(&[0; 8]);
    high.extend_from_slice(&[u8::MAX; 8]);
    (low, high)
}

fn beginning(text: &str) -> Vec<u8> {
    let mut form: Vec<u8> = text.bytes().take(KEPT_BYTES).collect();
    form.push(CUT);
    form
}

/// Different kept forms, ascending.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Texts {
    bytes: Box<[u8]>,
    /// Where each ends in `bytes`.
    ends: Packed,
}

impl Texts {
    /// `forms` ascend.
    pub(super) fn new<'a>(forms: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for form in forms {
            bytes.extend_from_slice(form);
            ends.push(bytes.len() as u64);
        }
        Self { bytes: bytes.into(), ends: Packed::new(&ends) }
    }

    /// From the two columns it is stored as; `None` where they do not fit each other or the forms do not ascend.
    pub(super) fn from_parts(bytes: &[u8], ends: Packed) -> Option<Self> {
        let made = Self { bytes: bytes.into(), ends };
        let whole = made.ends.len() == 0 && bytes.is_empty()
            || made.ends.len() > 0 && made.ends.get(made.ends.len() - 1) == bytes.len() as u64;
        let ascending = (1..made.len()).all(|at| made.ends.get(at - 1) <= made.ends.get(at))
            && (1..made.len()).all(|at| made.get(at - 1) < made.get(at));
        (whole && ascending).then_some(made)
    }

    pub(super) fn parts(&self) -> (&[u8], &Packed) {
        (&self.bytes, &self.ends)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The form at `at`; empty beyond the last.
    pub(super) fn get(&self, at: usize) -> &[u8] {
        if at >= self.len() {
            return &[];
        }
        let start = if at == 0 { 0 } else { self.ends.get(at - 1) as usize };
        self.bytes.get(start..self.ends.get(at) as usize).unwrap_or(&[])
    }

    /// The first position at or after `from` whose form is not below `wanted`, or is above it where `above`.
    pub(super) fn lower_bound(&self, from: usize, wanted: &[u8], above: bool) -> usize {
        let (mut low, mut high) = (from, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let form = self.get(middle);
            if form < wanted || above && form == wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Where `wanted` is.
    pub(super) fn position(&self, wanted: &[u8]) -> Option<usize> {
        let at = self.lower_bound(0, wanted, false);
        (at < self.len() && self.get(at) == wanted).then_some(at)
    }

    /// Bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_forms_have_the_order_of_their_texts() {
        let long = |end: &str| format!("{}{end}", "x".repeat(KEPT_BYTES));
        let cut = format!("{}ä…", "x".repeat(KEPT_BYTES - 1));
        let texts = ["", "a", "x", &"x".repeat(63), &long(""), &long("a"), &cut, "y", "ä", "\u{10ffff}"];
        let sorted: Vec<Vec<u8>> = texts.iter().map(|text| kept(text).into_owned()).collect();
        assert!(sorted.is_sorted());
        assert_ne!(kept(&long("a")), kept(&long("b")));
        let (low, high) = forms_like(&long("a"));
        assert!(low[..] <= kept(&long("b"))[..] && kept(&long("c"))[..] <= high[..]);
        assert!(kept(&long(""))[..] < low[..] && high[..] < kept("y")[..]);
        let dictionary = Texts::new(sorted.iter().map(Vec::as_slice));
        for (at, form) in sorted.iter().enumerate() {
            assert_eq!((dictionary.get(at), dictionary.position(form)), (&form[..], Some(at)));
        }
        assert_eq!(dictionary.position(b"xa"), None);
        assert_eq!((dictionary.lower_bound(0, b"xa", false), dictionary.lower_bound(0, b"a", true)), (3, 2));
        let (bytes, ends) = dictionary.parts();
        assert_eq!(Texts::from_parts(bytes, ends.clone()).unwrap(), dictionary);
        assert_eq!(Texts::from_parts(b"ba", Packed::new(&[1, 2])), None);
        assert_eq!(Texts::from_parts(b"ab", Packed::new(&[1])), None);
    }
}
