//! The chunks that suit a query best.
//!
//! Each term's postings are added up, term after term in the order of the query, so that a chunk's score depends on nothing
//! but the texts that there are: not on which piece it lies in, nor on what was removed before.

use anser_core::ChunkId;
use tantivy::postings::TermInfo;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, TERMINATED, Term};

use super::bm25::FieldScorer;
use super::part::{FIELDS, Part, TextField};
use super::phrase::each_occurrence;
use super::query::{KeywordQuery, PART_WEIGHT, Phrase};
use super::snapshot::{Snapshot, View};
use crate::ann::Top;
use crate::{IndexError, Result};

/// What the title's score counts beside the text's 1.
pub(super) const TITLE_WEIGHT: f64 = 1.0;

/// What is wanted of a search by words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeywordParams<'a> {
    /// Most hits wanted.
    pub(crate) k: usize,
    /// Only these chunks, ascending.
    pub(crate) allowed: Option<&'a [ChunkId]>,
    /// Chunks whose scores are wanted besides.
    pub(crate) also: &'a [ChunkId],
}

/// What a search by words found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Scores {
    /// Best first; equal scores by rising chunk id.
    pub(super) hits: Vec<(ChunkId, f32)>,
    /// Chunks that match and are allowed.
    pub(super) matched: usize,
    /// The scores that were wanted besides, of those that match.
    pub(super) also: Vec<(ChunkId, f32)>,
}

/// A term of the query in one field, in every piece.
struct ClauseInField {
    field: TextField,
    weight: f32,
    places: Vec<Option<TermInfo>>,
}

/// A phrase of the query in one field, in every piece that has all its terms.
struct PhraseInField<'a> {
    /// Its number, where texts must hold it.
    required: Option<u16>,
    field: TextField,
    weight: f32,
    phrase: &'a Phrase,
    places: Vec<Option<Vec<TermInfo>>>,
}

/// Finds the best of `snapshot`.
pub(super) fn search(snapshot: &Snapshot, query: &KeywordQuery, params: KeywordParams<'_>) -> Result<Scores> {
    let mut found = Scores::default();
    if query.is_empty() {
        return Ok(found);
    }
    let scorers = snapshot.lengths().map(FieldScorer::new);
    let scorer = |field: TextField| {
        let [title, text] = &scorers;
        match field {
            TextField::Title => title,
            TextField::Text => text,
        }
    };
    let mut clauses = Vec::new();
    for clause in &query.clauses {
        for field in FIELDS {
            let (places, holding) = look_up(snapshot, field, &clause.term)?;
            if holding > 0 {
                let weight = scorer(field).weight(holding) * f64::from(clause.weight) * boost(field);
                clauses.push(ClauseInField { field, weight: weight as f32, places });
            }
        }
    }
    let mut phrases = Vec::new();
    let required = (0u16..).map(Some).zip(&query.phrases).map(|(number, phrase)| (number, phrase, 1.0));
    let optional = query.codes.iter().map(|code| (None, code, f64::from(PART_WEIGHT)));
    for (required, phrase, weight) in required.chain(optional) {
        for field in FIELDS {
            let found = find_phrase(snapshot, phrase, (field, scorer(field)), weight * boost(field))?;
            phrases.push(PhraseInField { required, ..found });
        }
    }
    let mut top = Top::new(params.k);
    for (at, view) in snapshot.views.iter().enumerate() {
        let mut scores = vec![0.0f32; view.part.rows as usize];
        let mut held = vec![0u16; if query.phrases.is_empty() { 0 } else { scores.len() }];
        for phrase in &phrases {
            add_phrase(&view.part, at, (phrase, scorer(phrase.field)), (&mut scores, &mut held))?;
        }
        for clause in &clauses {
            if let Some(place) = clause.places.get(at).and_then(Option::as_ref) {
                add_clause(&view.part, clause, (place, scorer(clause.field)), &mut scores)?;
            }
        }
        let wanted = query.phrases.len() as u16;
        scores.iter_mut().zip(&held).filter(|(_, held)| **held != wanted).for_each(|(score, _)| *score = 0.0);
        for row in view.removed.iter() {
            if let Some(score) = scores.get_mut(row as usize) {
                *score = 0.0;
            }
        }
        collect(view, &scores, params, (&mut top, &mut found));
    }
    found.hits = top.into_best_first().into_iter().map(|scored| (scored.row, scored.score)).collect();
    Ok(found)
}

fn boost(field: TextField) -> f64 {
    match field {
        TextField::Title => TITLE_WEIGHT,
        TextField::Text => 1.0,
    }
}

/// Where a term lies in every piece, and how many texts that count hold it.
fn look_up(snapshot: &Snapshot, field: TextField, term: &str) -> Result<(Vec<Option<TermInfo>>, u64)> {
    let term = Term::from_field_text(field.id(), term);
    let (mut places, mut holding) = (Vec::with_capacity(snapshot.views.len()), 0);
    for view in &snapshot.views {
        let place = view.part.postings(field).get_term_info(&term).map_err(unreadable)?;
        if let Some(place) = &place {
            holding += u64::from(place.doc_freq).saturating_sub(removed_among(view, field, place)?);
        }
        places.push(place);
    }
    Ok((places, holding))
}

/// How many removed rows the postings of a term still hold.
fn removed_among(view: &View, field: TextField, place: &TermInfo) -> Result<u64> {
    if view.removed.is_empty() {
        return Ok(0);
    }
    let postings = view.part.postings(field);
    let mut postings = postings.read_postings_from_terminfo(place, IndexRecordOption::Basic).map_err(unreadable)?;
    let mut count = 0;
    for row in view.removed.iter() {
        if postings.doc() < row && postings.seek(row) == TERMINATED {
            break;
        }
        count += u64::from(postings.doc() == row);
    }
    Ok(count)
}

fn find_phrase<'a>(
    snapshot: &Snapshot,
    phrase: &'a Phrase,
    (field, scorer): (TextField, &FieldScorer),
    factor: f64,
) -> Result<PhraseInField<'a>> {
    let mut weight = 0.0;
    let mut places: Vec<Option<Vec<TermInfo>>> = vec![Some(Vec::new()); snapshot.views.len()];
    for (term, _) in &phrase.0 {
        let (of_term, holding) = look_up(snapshot, field, term)?;
        weight += scorer.weight(holding);
        for (all, one) in places.iter_mut().zip(of_term) {
            match (all.as_mut(), one) {
                (Some(all), Some(one)) => all.push(one),
                _ => *all = None,
            }
        }
    }
    Ok(PhraseInField { required: None, field, weight: (weight * factor) as f32, phrase, places })
}

fn add_clause(
    part: &Part,
    clause: &ClauseInField,
    (place, scorer): (&TermInfo, &FieldScorer),
    scores: &mut [f32],
) -> Result<()> {
    let postings = part.postings(clause.field);
    let mut block =
        postings.read_block_postings_from_terminfo(place, IndexRecordOption::WithFreqs).map_err(unreadable)?;
    let lengths = part.text_lengths(clause.field);
    while block.block_len() > 0 {
        for (row, count) in block.docs().iter().zip(block.freqs()) {
            if let Some(score) = scores.get_mut(*row as usize) {
                *score += clause.weight * scorer.share(*count, lengths.fieldnorm_id(*row));
            }
        }
        block.advance();
    }
    Ok(())
}

/// Adds what the rows that hold the phrase score for it. Where they must hold it, it is noted that they do, given that they
/// hold all before it.
fn add_phrase(
    part: &Part,
    at: usize,
    (phrase, scorer): (&PhraseInField<'_>, &FieldScorer),
    (scores, held): (&mut [f32], &mut [u16]),
) -> Result<()> {
    let Some(places) = phrase.places.get(at).and_then(Option::as_ref) else { return Ok(()) };
    let lengths = part.text_lengths(phrase.field);
    each_occurrence(part, phrase.field, (phrase.phrase, places), &mut |row, count| {
        if let Some(score) = scores.get_mut(row as usize) {
            *score += phrase.weight * scorer.share(count, lengths.fieldnorm_id(row));
        }
        if let Some(held) = held.get_mut(row as usize).filter(|held| Some(**held) == phrase.required) {
            *held += 1;
        }
    })
}

/// Offers the rows of a piece that match and are allowed.
fn collect(view: &View, scores: &[f32], params: KeywordParams<'_>, (top, found): (&mut Top<ChunkId>, &mut Scores)) {
    let part = &view.part;
    let matching = || (0u32..).zip(scores).filter(|(_, score)| **score > 0.0);
    // Rows ascend as chunks do, so the best rows are the best chunks.
    let mut best = Top::new(params.k);
    let mut allowed = params.allowed;
    for (row, score) in matching() {
        if let Some(rest) = &mut allowed {
            let chunk = part.chunk(row);
            *rest = rest.get(gallop(rest, chunk)..).unwrap_or_default();
            if rest.first() != Some(&chunk) {
                continue;
            }
        }
        found.matched += 1;
        best.offer(*score, row);
    }
    for scored in best.into_best_first() {
        top.offer(scored.score, part.chunk(scored.row));
    }
    for chunk in params.also {
        let score = part.find(*chunk).and_then(|row| scores.get(row as usize)).filter(|score| **score > 0.0);
        found.also.extend(score.map(|score| (*chunk, *score)));
    }
}

/// How many of the ascending `chunks` lie before `chunk`, in steps that double.
fn gallop(chunks: &[ChunkId], chunk: ChunkId) -> usize {
    let mut reach = 1;
    while chunks.get(reach).is_some_and(|at| *at < chunk) {
        reach *= 2;
    }
    let from = reach / 2;
    let within = chunks.get(from..chunks.len().min(reach + 1)).unwrap_or_default();
    from + within.partition_point(|at| *at < chunk)
}

pub(super) fn unreadable(error: std::io::Error) -> IndexError {
    IndexError::corrupt("keyword index", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn galloping_finds_what_a_scan_finds() {
        let chunks: Vec<ChunkId> = [1, 2, 3, 7, 8, 20, 21, 22, 23, 24, 50, 1000].map(ChunkId).into();
        for from in 0..=chunks.len() {
            for wanted in (0..60).chain([999, 1000, 1001]).map(ChunkId) {
                let expected = chunks[from..].iter().filter(|chunk| **chunk < wanted).count();
                assert_eq!(gallop(&chunks[from..], wanted), expected, "{from} {wanted:?}");
            }
        }
    }
}
