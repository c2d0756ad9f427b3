//! From a text to the terms under which it is found; queries and highlights go the same way.
//!
//! Space ends a word, and so does punctuation, but what it joins is also found in one piece: "Wi-Fi" gives `wi`, `fi` and
//! `wifi`, "AB-1234x" also `ab1234x`, "getUserName" also `getusername`. Each word decides by its own script how it is
//! treated, so mixed texts need no language: Latin letters are stemmed as English (Porter 2), and the word itself is kept
//! as a term beside its stem, so that exact words win and other languages lose nothing. Chinese and Japanese are cut into
//! words by dictionary; these and Korean also give their overlapping pairs of characters, because cuts depend on what
//! stands around them and Korean particles cling to their words.

mod atoms;
mod fold;
mod script;
mod stems;
mod stream;
#[cfg(test)]
mod tests;

use anser_core::ByteSpan;

use self::atoms::{Atom, Atoms, Group};
use self::fold::fold;
use self::stems::Stems;

/// Longest term in bytes; what is longer is no word.
const LONGEST_TERM: usize = 200;
/// Most parts that are also found as one.
const MOST_PARTS: usize = 8;

/// What a term is of the text it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The stem of a word, or the word where it is its own stem.
    Word,
    /// A word that differs from its stem.
    Exact,
    /// Several parts in one piece.
    Whole,
    /// A part of a code, number, address or identifier that begins at this position, and means little on its own.
    Part(u32),
    /// Two neighbouring characters.
    Pair,
}

/// A term at its place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// The term.
    pub(crate) text: &'a str,
    /// What it is.
    pub(crate) form: Form,
    /// Counts words, and characters where there are no spaces. Several terms may share one; never falls.
    pub(crate) position: u32,
    /// What it stands for.
    pub(crate) span: ByteSpan,
    /// Whether phrases are compared by it: such terms follow each other without gaps.
    pub(crate) links: bool,
}

/// Makes terms; keeps what it needs for that from text to text.
#[derive(Clone)]
pub(crate) struct Analyser {
    atoms: Atoms,
    stems: Stems,
    folded: String,
    parts: Vec<ByteSpan>,
    clusters: Vec<ByteSpan>,
    position: u32,
}

impl Analyser {
    /// One that has seen nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            atoms: Atoms::new(),
            stems: Stems::new(),
            folded: String::new(),
            parts: Vec::new(),
            clusters: Vec::new(),
            position: 0,
        }
    }

    /// Shows `emit` every term of `text`, in order of position.
    pub(crate) fn each(&mut self, text: &str, emit: &mut dyn FnMut(Token<'_>)) {
        self.position = 0;
        let mut atoms = std::mem::replace(&mut self.atoms, Atoms::new());
        atoms.each_group(text, &mut |group| match group {
            Group::Words(words) => self.words(text, words, emit),
            Group::Run(words) => self.run(text, words, emit),
        });
        self.atoms = atoms;
    }

    /// Words joined by punctuation, or a single one.
    fn words(&mut self, text: &str, words: &[Atom], emit: &mut dyn FnMut(Token<'_>)) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        let first = self.position;
        let mut wholes: Vec<(u32, ByteSpan)> = Vec::new();
        for word in words {
            let before = parts.len();
            atoms::split_word(text, word.span, &mut parts);
            if parts.len() > before + 1 {
                wholes.push((first + before as u32, word.span));
            }
        }
        let mut wholes = wholes.into_iter().peekable();
        let code = parts.len() > 1 && (parts.len() > words.len() || atoms::is_code(text, words));
        for (at, part) in parts.iter().enumerate() {
            let at = first + at as u32;
            if at == first && words.len() > 1 && words.len() <= MOST_PARTS {
                self.joined(text, words, emit);
            }
            while let Some((_, whole)) = wholes.next_if(|(of, _)| *of == at) {
                self.folded.clear();
                fold_word(text, whole, &mut self.folded);
                self.emit_folded(Form::Whole, (at, whole, false), emit);
            }
            self.word((text, *part), at, code.then_some(first), emit);
        }
        self.position = first + parts.len() as u32;
        if parts.len() == 1 {
            self.sign(text, words, first, emit);
        }
        self.parts = parts;
    }

    /// The words of a group in one piece, with a dot only between digits: 3.14 is not 314.
    fn joined(&mut self, text: &str, words: &[Atom], emit: &mut dyn FnMut(Token<'_>)) {
        let (Some(head), Some(tail)) = (words.first(), words.last()) else { return };
        self.folded.clear();
        for word in words {
            let begins = text.get(word.span.start..).and_then(|rest| rest.chars().next());
            let ends = self.folded.chars().next_back();
            if ends.is_some_and(char::is_numeric) && begins.is_some_and(char::is_numeric) {
                self.folded.push('.');
            }
            fold_word(text, word.span, &mut self.folded);
        }
        let span = ByteSpan { start: head.span.start, end: tail.span.end };
        self.emit_folded(Form::Whole, (self.position, span, false), emit);
    }

    /// "C++" and "C#" are other words than "C".
    fn sign(&mut self, text: &str, words: &[Atom], position: u32, emit: &mut dyn FnMut(Token<'_>)) {
        let [word] = words else { return };
        let rest = text.get(word.span.end..).unwrap_or_default();
        let sign = ["++", "#"].into_iter().find(|sign| rest.starts_with(sign));
        if let Some(sign) = sign
            && word.span.end - word.span.start <= 2
        {
            self.folded.clear();
            fold_word(text, word.span, &mut self.folded);
            self.folded.push_str(sign);
            let span = ByteSpan { start: word.span.start, end: word.span.end + sign.len() };
            self.emit_folded(Form::Whole, (position, span, false), emit);
        }
    }

    /// One word as its stem, and as itself where that differs and it is no part of a code.
    fn word(
        &mut self,
        (text, span): (&str, ByteSpan),
        position: u32,
        code: Option<u32>,
        emit: &mut dyn FnMut(Token<'_>),
    ) {
        let form = code.map_or(Form::Word, Form::Part);
        self.folded.clear();
        fold_word(text, span, &mut self.folded);
        let stem = self.stems.of(&self.folded);
        if let Some(stem) = stem.filter(|stem| *stem != self.folded && !stem.is_empty()) {
            emit(Token { text: stem, form, position, span, links: true });
            if code.is_none() {
                self.emit_folded(Form::Exact, (position, span, false), emit);
            }
        } else {
            self.emit_folded(form, (position, span, true), emit);
        }
    }

    /// Words of a script with pairs, without a gap between them.
    fn run(&mut self, text: &str, words: &[Atom], emit: &mut dyn FnMut(Token<'_>)) {
        let (Some(head), Some(tail)) = (words.first(), words.last()) else { return };
        let mut clusters = std::mem::take(&mut self.clusters);
        atoms::clusters(text, ByteSpan { start: head.span.start, end: tail.span.end }, &mut clusters);
        let first = self.position;
        let mut words = words.iter().peekable();
        for (at, cluster) in clusters.iter().enumerate() {
            let position = first + at as u32;
            let pair = clusters.get(at + 1).map(|next| ByteSpan { start: cluster.start, end: next.end });
            let mut pair_is_word = false;
            while let Some(word) = words.next_if(|word| word.span.start <= cluster.start) {
                if word.span.start == cluster.start {
                    pair_is_word = Some(word.span) == pair;
                    self.folded.clear();
                    fold_word(text, word.span, &mut self.folded);
                    let links = pair_is_word || clusters.len() == 1;
                    self.emit_folded(Form::Word, (position, word.span, links), emit);
                }
            }
            if let Some(pair) = pair.filter(|_| !pair_is_word) {
                self.folded.clear();
                fold_word(text, pair, &mut self.folded);
                self.emit_folded(Form::Pair, (position, pair, true), emit);
            }
        }
        self.position = first + clusters.len() as u32;
        self.clusters = clusters;
    }

    fn emit_folded(&self, form: Form, (position, span, links): (u32, ByteSpan, bool), emit: &mut dyn FnMut(Token<'_>)) {
        if !self.folded.is_empty() && self.folded.len() <= LONGEST_TERM {
            emit(Token { text: &self.folded, form, position, span, links });
        }
    }
}

/// Folds the word under `span`, without the apostrophes and thousands separators in it.
fn fold_word(text: &str, span: ByteSpan, out: &mut String) {
    let word = span.slice(text).unwrap_or_default();
    word.split(|c| c == ',' || atoms::is_apostrophe(c)).for_each(|piece| fold(piece, out));
}
