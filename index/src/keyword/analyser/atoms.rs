//! Where the words of a text begin and end, and which of them belong together.

use anser_core::ByteSpan;
use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};

use super::script::Script;

/// A word in which letters meet digits more often is a code.
const MOST_CHANGES: usize = 2;

/// Letters and digits without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Atom {
    pub(super) span: ByteSpan,
    script: Script,
}

/// Atoms that belong together.
#[derive(Debug)]
pub(super) enum Group<'a> {
    /// Words joined by punctuation, or a single one.
    Words(&'a [Atom]),
    /// Words of a script with pairs, without a gap between them.
    Run(&'a [Atom]),
}

/// Finds atoms; keeps its memory from text to text.
#[derive(Clone)]
pub(super) struct Atoms {
    segmenter: WordSegmenterBorrowed<'static>,
    found: Vec<Atom>,
}

/// What lies between two atoms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// Nothing.
    Touching,
    /// A mark that makes one expression of both.
    Tight,
    Apostrophe,
    /// A separator of thousands between digits.
    Thousands,
}

impl Atoms {
    pub(super) fn new() -> Self {
        let segmenter = WordSegmenter::new_dictionary(WordBreakInvariantOptions::default());
        Self { segmenter, found: Vec::new() }
    }

    /// Shows `each` the groups of `text`, in order.
    pub(super) fn each_group(&mut self, text: &str, each: &mut dyn FnMut(Group<'_>)) {
        let mut rest = 0;
        for piece in text.split(|c: char| c.is_ascii_whitespace()) {
            let start = rest;
            rest += piece.len() + 1;
            if piece.is_empty() {
                continue;
            }
            self.found.clear();
            if piece.is_ascii() {
                self.find_ascii(piece, start);
            } else {
                self.find(piece, start);
            }
            group(text, &mut self.found, each);
        }
    }

    fn find_ascii(&mut self, piece: &str, offset: usize) {
        let mut start = None;
        for (at, byte) in piece.bytes().chain([b' ']).enumerate() {
            if byte.is_ascii_alphanumeric() {
                start.get_or_insert(at);
            } else if let Some(start) = start.take() {
                self.push(piece, offset, (start, at));
            }
        }
    }

    /// By Unicode Standard Annex 29 and dictionaries of the scripts without spaces. What the annex leaves together around
    /// punctuation is taken apart, since what belongs together is decided by [`group`].
    fn find(&mut self, piece: &str, offset: usize) {
        let mut last = 0;
        let segmenter = self.segmenter;
        for (end, kind) in segmenter.segment_str(piece).iter_with_word_type() {
            let start = std::mem::replace(&mut last, end);
            let Some(segment) = piece.get(start..end).filter(|_| kind.is_word_like()) else { continue };
            let mut at = start;
            for part in segment.split_inclusive(is_mark) {
                let word = part.trim_end_matches(is_mark);
                if !word.is_empty() {
                    self.push(piece, offset, (at, at + word.len()));
                }
                at += part.len();
            }
        }
    }

    fn push(&mut self, piece: &str, offset: usize, (start, end): (usize, usize)) {
        let script = Script::of_word(piece.get(start..end).unwrap_or_default());
        self.found.push(Atom { span: ByteSpan { start: offset + start, end: offset + end }, script });
    }
}

pub(super) fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}' | '\u{2018}' | '\u{2bc}' | '\u{ff07}')
}

/// Punctuation inside what Annex 29 takes for one word.
fn is_mark(c: char) -> bool {
    c.is_ascii_punctuation()
        || is_apostrophe(c)
        || matches!(c, '\u{b7}' | '\u{2024}' | '\u{2027}' | '\u{ff0e}' | '\u{ff3f}')
}

/// Cuts `atoms` where nothing joins them, and shows the groups to `each`.
fn group(text: &str, atoms: &mut Vec<Atom>, each: &mut dyn FnMut(Group<'_>)) {
    join_words(text, atoms);
    let mut start = 0;
    for end in 1..=atoms.len() {
        let joined = match (atoms.get(end - 1), atoms.get(end)) {
            (Some(a), Some(b)) if a.script.has_pairs() || b.script.has_pairs() => {
                a.script == b.script && joint(text, *a, *b) == Some(Joint::Touching)
            }
            // Words that touch were cut apart by a dictionary.
            (Some(a), Some(b)) => joint(text, *a, *b).is_some_and(|joint| joint != Joint::Touching),
            _ => false,
        };
        if !joined {
            let group = atoms.get(start..end).unwrap_or_default();
            let run = group.first().is_some_and(|atom| atom.script.has_pairs());
            each(if run { Group::Run(group) } else { Group::Words(group) });
            start = end;
        }
    }
}

/// Makes one atom of a contraction and of a number with separators, and leaves out possessive endings and elided articles.
fn join_words(text: &str, atoms: &mut Vec<Atom>) {
    let mut kept = 0usize;
    for at in 0..atoms.len() {
        let Some(&next) = atoms.get(at) else { break };
        let before = kept.checked_sub(1).and_then(|last| atoms.get(last)).copied();
        let word = |atom: Atom| atom.span.slice(text).unwrap_or_default();
        let replaced = before.and_then(|before| match joint(text, before, next)? {
            Joint::Apostrophe if matches!(word(next), "s" | "S") => Some(before),
            Joint::Apostrophe if is_elided(word(before)) && word(next).chars().nth(2).is_some() => Some(next),
            Joint::Apostrophe | Joint::Thousands => {
                Some(Atom { span: ByteSpan { end: next.span.end, ..before.span }, ..before })
            }
            _ => None,
        });
        if replaced.is_none() {
            kept += 1;
        }
        if let Some(place) = kept.checked_sub(1).and_then(|last| atoms.get_mut(last)) {
            *place = replaced.unwrap_or(next);
        }
    }
    atoms.truncate(kept);
}

/// French and Italian articles, pronouns and prepositions that lose their vowel before another.
fn is_elided(word: &str) -> bool {
    ["l", "d", "j", "m", "t", "s", "n", "c", "qu", "dell", "all", "nell", "sull", "dall", "un"]
        .iter()
        .any(|elided| elided.eq_ignore_ascii_case(word))
}

/// What joins two neighbours; `None` when they are apart.
fn joint(text: &str, a: Atom, b: Atom) -> Option<Joint> {
    let gap = text.get(a.span.end..b.span.start)?;
    let mut marks = gap.chars();
    let Some(mark) = marks.next() else { return Some(Joint::Touching) };
    if marks.next().is_some() {
        return None;
    }
    let digit = |c: Option<char>| c.is_some_and(char::is_numeric);
    let before = a.span.slice(text).unwrap_or_default();
    let after = b.span.slice(text).unwrap_or_default();
    let digits = digit(before.chars().next_back()) && digit(after.chars().next());
    match mark {
        _ if is_apostrophe(mark) => (!digits).then_some(Joint::Apostrophe),
        ',' if digits => {
            let numbers = before.bytes().all(|b| b.is_ascii_digit() || b == b',') && after.len() == 3;
            (numbers && after.bytes().all(|b| b.is_ascii_digit())).then_some(Joint::Thousands)
        }
        '/' | ':' if digits => Some(Joint::Tight),
        '-' | '_' | '.' | '@' | '&' | '+' | '\u{2010}' | '\u{2011}' | '\u{2013}' | '\u{b7}' => Some(Joint::Tight),
        _ => None,
    }
}

/// Whether words that are joined are a code, a number, an address or an identifier rather than words.
pub(super) fn is_code(text: &str, words: &[Atom]) -> bool {
    let (Some(head), Some(tail)) = (words.first(), words.last()) else { return false };
    let all = text.get(head.span.start..tail.span.end).unwrap_or_default();
    all.contains(|c: char| c.is_numeric() || matches!(c, '_' | '@'))
}

/// Appends the parts of the word under `span`: those between which a small letter meets a capital, as in identifiers, or
/// letters meet digits. A word that alternates more often is a code and stays whole, and so does one like "iPhone".
pub(super) fn split_word(text: &str, span: ByteSpan, parts: &mut Vec<ByteSpan>) {
    let word = span.slice(text).unwrap_or_default();
    let cuts = |humps: bool| {
        let neighbours = word.char_indices().zip(word.chars().skip(1));
        neighbours.filter_map(move |((at, before), after)| {
            let hump = humps && before.is_lowercase() && after.is_uppercase();
            let cut = hump || (before.is_numeric() != after.is_numeric());
            cut.then_some((at + before.len_utf8(), hump))
        })
    };
    let humps = cuts(true).filter(|(_, hump)| *hump).count();
    let ends = cuts(true).map(|(at, _)| at).chain([word.len()]);
    let shortest = ends.scan(0, |start, end| Some(end - std::mem::replace(start, end))).min().unwrap_or_default();
    let camel = shortest >= 2 && (humps >= 2 || (humps == 1 && begins_small(word)));
    let few = cuts(camel).filter(|(_, hump)| !hump).count() <= MOST_CHANGES;
    let mut start = span.start;
    for (at, _) in cuts(camel).filter(|_| few) {
        parts.push(ByteSpan { start, end: span.start + at });
        start = span.start + at;
    }
    parts.push(ByteSpan { start, end: span.end });
}

fn begins_small(word: &str) -> bool {
    word.chars().next().is_some_and(char::is_lowercase)
}

/// The characters under `span` as readers see them: letters with what is written onto them, Korean syllables whole.
pub(super) fn clusters(text: &str, span: ByteSpan, out: &mut Vec<ByteSpan>) {
    out.clear();
    for (at, c) in span.slice(text).unwrap_or_default().char_indices() {
        let (start, end) = (span.start + at, span.start + at + c.len_utf8());
        let joins = matches!(c, '\u{1160}'..='\u{11ff}' | '\u{300}'..='\u{36f}' | '\u{3099}' | '\u{309a}')
            || matches!(c, '\u{ff9e}' | '\u{ff9f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}');
        match out.last_mut() {
            Some(before) if joins => before.end = end,
            _ => out.push(ByteSpan { start, end }),
        }
    }
}
