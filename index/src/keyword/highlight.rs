//! Where the words and phrases of a query occur in a text.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use anser_core::ByteSpan;

use super::analyser::Analyser;
use super::query::{KeywordQuery, Phrase};

/// Words that are marked only when the query has no others.
static STOP_WORDS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| stop_words::lookup("en").unwrap_or_default().iter().copied().collect());

/// Marks what a query found.
pub(crate) struct Highlighter {
    analyser: Analyser,
    terms: HashSet<String>,
    phrases: Vec<Phrase>,
}

impl Highlighter {
    /// For the words and phrases of `text`.
    pub(crate) fn new(text: &str) -> Self {
        let mut analyser = Analyser::new();
        let KeywordQuery { clauses, mut phrases, codes } = KeywordQuery::parse(text, &mut analyser);
        phrases.extend(codes);
        let mut terms: HashSet<String> = clauses.into_iter().map(|clause| clause.term).collect();
        if !phrases.is_empty() || terms.iter().any(|term| !STOP_WORDS.contains(term.as_str())) {
            terms.retain(|term| !STOP_WORDS.contains(term.as_str()));
        }
        Self { analyser, terms, phrases }
    }

    /// The places in `text`, ascending and not overlapping.
    pub(crate) fn mark(&mut self, text: &str) -> Vec<ByteSpan> {
        let mut found: Vec<ByteSpan> = Vec::new();
        let (terms, phrases) = (&self.terms, &self.phrases);
        let in_phrases: HashSet<&str> =
            phrases.iter().flat_map(|p| p.0.iter().map(|(term, _)| term.as_str())).collect();
        let mut places: HashMap<(String, u32), ByteSpan> = HashMap::new();
        self.analyser.each(text, &mut |token| {
            if terms.contains(token.text) {
                found.push(token.span);
            }
            if token.links && in_phrases.contains(token.text) {
                places.insert((token.text.to_owned(), token.position), token.span);
            }
        });
        for phrase in phrases {
            let Some((first, _)) = phrase.0.first() else { continue };
            for ((_, start), begin) in places.iter().filter(|((term, _), _)| term == first) {
                let rest = phrase.0.iter().map(|(term, offset)| places.get(&(term.clone(), start + offset)));
                let spans: Option<Vec<&ByteSpan>> = rest.collect();
                let end = spans.and_then(|spans| spans.iter().map(|span| span.end).max());
                found.extend(end.map(|end| ByteSpan { start: begin.start, end }));
            }
        }
        merge(found)
    }
}

/// The same places in order, those that overlap as one.
fn merge(mut spans: Vec<ByteSpan>) -> Vec<ByteSpan> {
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut merged: Vec<ByteSpan> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}
