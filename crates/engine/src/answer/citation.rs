//! Citations by alignment: each sentence of the answer is linked to the words of a numbered passage that support it,
//! or to nothing.
//!
//! Small models do not write citation marks one can trust, so none are asked for. A sentence is compared with every run
//! of up to three sentences of every passage, by the words they share and by the cosine of their embeddings.

use anser_core::{ByteSpan, CancelToken, Citation, ContextPassage, EmbedPurpose, Embedder, Embedding};

use super::words::{Words, sentences};
use crate::EngineError;

/// Least support at which a sentence is cited.
const MIN_SUPPORT: f32 = 0.5;

/// Least share of the answer sentence's words that must stand in the quote itself, the title not counted.
const MIN_QUOTED: f32 = 0.25;

/// How much of the support is shared words; the rest is the cosine.
const LEXICAL_SHARE: f32 = 0.6;

/// Cosines at which sentences count as unrelated and as saying the same. Sentence embedders put unrelated sentences of
/// one subject near the first, paraphrases near the second.
const COSINE_RANGE: (f32, f32) = (0.5, 0.9);

/// What a word is worth that stands in the passage's title and not in the quote.
const TITLE_SHARE: f32 = 0.5;

/// Taken from the support when one side denies and the other does not.
const NEGATION_PENALTY: f32 = 0.15;

/// Taken from the support for every sentence after the first in a quote, so that the shortest quote wins.
const LENGTH_PENALTY: f32 = 0.03;

/// Most consecutive sentences quoted together.
const MAX_QUOTED_SENTENCES: usize = 3;

/// A sentence of a passage.
struct Source {
    span: ByteSpan,
    words: Words,
    embedding: Embedding,
}

/// A passage ready to be compared with.
struct Evidence<'a> {
    passage: &'a ContextPassage,
    title: Words,
    sentences: Vec<Source>,
}

/// A run of sentences of one passage and how well it supports an answer sentence.
struct Candidate {
    passage: usize,
    span: ByteSpan,
    support: f32,
}

/// Links the sentences of `answer` to the passages, in order of appearance, at most one citation a sentence.
///
/// Every citation's number is that of one of `passages`, its quote lies in that passage, and every number and name of
/// the cited sentence stands in the evidence. Sentences that nothing supports get none.
pub(super) fn cite(
    answer: &str,
    passages: &[ContextPassage],
    embedder: &dyn Embedder,
    cancel: &CancelToken,
) -> Result<Vec<Citation>, EngineError> {
    let claims: Vec<(ByteSpan, Words)> = sentences(answer)
        .into_iter()
        .filter_map(|span| Some((span, Words::of(span.slice(answer)?))))
        .filter(|(_, words)| !words.terms.is_empty())
        .collect();
    if claims.is_empty() || passages.is_empty() {
        return Ok(Vec::new());
    }
    let (claim_embeddings, evidence) = embed(answer, &claims, passages, embedder, cancel)?;
    let weights = Weights::over(&evidence);
    let mut citations = Vec::new();
    for ((answer_span, words), embedding) in claims.iter().zip(&claim_embeddings) {
        let mut best: Option<Candidate> = None;
        for (index, source) in evidence.iter().enumerate() {
            for candidate in candidates(index, source, words, embedding, &weights)? {
                if best.as_ref().is_none_or(|best| candidate.support > best.support) {
                    best = Some(candidate);
                }
            }
        }
        if let Some(candidate) = best.filter(|best| best.support >= MIN_SUPPORT)
            && let Some(citation) = citation(&candidate, evidence[candidate.passage].passage, *answer_span)
        {
            citations.push(citation);
        }
    }
    Ok(citations)
}

/// Embeds the claims and all sentences of the passages in one call.
fn embed<'a>(
    answer: &str,
    claims: &[(ByteSpan, Words)],
    passages: &'a [ContextPassage],
    embedder: &dyn Embedder,
    cancel: &CancelToken,
) -> Result<(Vec<Embedding>, Vec<Evidence<'a>>), EngineError> {
    let spans: Vec<Vec<ByteSpan>> = passages.iter().map(|passage| sentences(&passage.text)).collect();
    let claimed = claims.iter().filter_map(|(span, _)| span.slice(answer));
    let quoted = passages.iter().zip(&spans).flat_map(|(p, spans)| spans.iter().filter_map(|span| span.slice(&p.text)));
    let texts: Vec<String> = claimed.chain(quoted).map(str::to_owned).collect();
    let embedded = embedder.embed(&texts, EmbedPurpose::Passage, cancel)?;
    if embedded.len() != texts.len() {
        let message = format!("the embedder returned {} vectors for {} texts", embedded.len(), texts.len());
        return Err(anser_core::Error::internal(message).into());
    }
    let mut embeddings = embedded.into_iter().map(|one| one.embedding);
    let claim_embeddings: Vec<Embedding> = embeddings.by_ref().take(claims.len()).collect();
    let evidence = passages
        .iter()
        .zip(spans)
        .map(|(passage, spans)| Evidence {
            passage,
            title: Words::of(passage.title.as_deref().unwrap_or_default()),
            sentences: spans
                .into_iter()
                .zip(embeddings.by_ref())
                .map(|(span, embedding)| Source {
                    span,
                    words: Words::of(span.slice(&passage.text).unwrap_or_default()),
                    embedding,
                })
                .collect(),
        })
        .collect();
    Ok((claim_embeddings, evidence))
}

/// How much each word counts: rare ones among the passages' sentences more, in the manner of inverse document frequency.
struct Weights<'a> {
    evidence: &'a [Evidence<'a>],
    sentences: usize,
}

impl<'a> Weights<'a> {
    fn over(evidence: &'a [Evidence<'a>]) -> Self {
        Self { evidence, sentences: evidence.iter().map(|e| e.sentences.len()).sum() }
    }

    /// `1 + ln((n + 1) / (df + 1))`; a word that stands nowhere counts as one that stands once.
    fn of(&self, term: &str) -> f32 {
        let holding = self.evidence.iter().flat_map(|e| &e.sentences).filter(|s| s.words.terms.contains(term)).count();
        1.0 + ((self.sentences + 1) as f32 / (holding.max(1) + 1) as f32).ln()
    }
}

/// All runs of sentences of one passage that may support a claim.
fn candidates(
    passage: usize,
    evidence: &Evidence<'_>,
    claim: &Words,
    embedding: &Embedding,
    weights: &Weights<'_>,
) -> Result<Vec<Candidate>, EngineError> {
    let mut found = Vec::new();
    for first in 0..evidence.sentences.len() {
        let mut words = Words::default();
        let mut cosine = -1f32;
        for (length, source) in evidence.sentences[first..].iter().take(MAX_QUOTED_SENTENCES).enumerate() {
            words.extend(&source.words);
            cosine = cosine.max(embedding.cosine(&source.embedding)?);
            if let Some(support) = support(claim, &words, &evidence.title, cosine, weights) {
                found.push(Candidate {
                    passage,
                    span: ByteSpan { start: evidence.sentences[first].span.start, end: source.span.end },
                    support: (support - LENGTH_PENALTY * length as f32).max(0.0),
                });
            }
        }
    }
    Ok(found)
}

/// How well a quote supports a claim, in [0, 1]; `None` when a number or name of the claim is missing from it.
fn support(claim: &Words, quote: &Words, title: &Words, cosine: f32, weights: &Weights<'_>) -> Option<f32> {
    let named = |name: &String| quote.terms.contains(name) || title.terms.contains(name);
    if !claim.numbers.is_subset(&quote.numbers) || !claim.names.iter().all(named) {
        return None;
    }
    let (mut total, mut quoted, mut titled) = (0f32, 0f32, 0f32);
    for term in &claim.terms {
        let weight = weights.of(term);
        total += weight;
        if quote.terms.contains(term) {
            quoted += weight;
        } else if title.terms.contains(term) {
            titled += weight;
        }
    }
    if total <= 0.0 || quoted / total < MIN_QUOTED {
        return None;
    }
    let lexical = (quoted + TITLE_SHARE * titled) / total;
    let (unrelated, same) = COSINE_RANGE;
    let semantic = ((cosine - unrelated) / (same - unrelated)).clamp(0.0, 1.0);
    let penalty = if claim.negated == quote.negated { 0.0 } else { NEGATION_PENALTY };
    Some((LEXICAL_SHARE * lexical + (1.0 - LEXICAL_SHARE) * semantic - penalty).clamp(0.0, 1.0))
}

fn citation(candidate: &Candidate, passage: &ContextPassage, answer_span: ByteSpan) -> Option<Citation> {
    let quote = candidate.span.slice(&passage.text)?;
    let start = passage.span.start + candidate.span.start;
    Some(Citation {
        number: passage.number,
        document_id: passage.document_id.clone(),
        chunk_id: passage.chunk_id,
        title: passage.title.clone(),
        span: ByteSpan { start, end: start + quote.len() },
        quote: quote.to_owned(),
        answer_span,
        support: candidate.support,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answer::fixtures::{BagOfWords, passage};

    fn cite_all(answer: &str, passages: &[ContextPassage]) -> Vec<Citation> {
        cite(answer, passages, &BagOfWords::default(), &CancelToken::new()).unwrap()
    }

    fn returns() -> ContextPassage {
        let text = "You can send items back within 30 days of delivery. Return postage costs 4.90 euros. Gift cards are excluded.";
        ContextPassage { title: Some("How do I return something?".into()), ..passage(1, "faq-returns", text) }
    }

    #[test]
    fn a_sentence_is_linked_to_the_sentence_that_says_it() {
        let shipping = passage(2, "faq-shipping", "We ship with Velo Post. Parcels arrive after 3 working days.");
        let answer = "Items can be sent back within 30 days. Parcels arrive in 3 working days.";
        let citations = cite_all(answer, &[returns(), shipping]);
        assert_eq!(citations.len(), 2, "{citations:?}");
        assert_eq!(citations[0].number, 1);
        assert_eq!(citations[0].quote, "You can send items back within 30 days of delivery.");
        assert_eq!(citations[0].answer_span.slice(answer), Some("Items can be sent back within 30 days."));
        assert_eq!(citations[1].number, 2);
        assert_eq!(citations[1].quote, "Parcels arrive after 3 working days.");
    }

    #[test]
    fn what_no_passage_says_is_not_cited() {
        assert!(cite_all("Our founder loves sailing boats in winter.", &[returns()]).is_empty());
        assert!(cite_all("Yes.", &[returns()]).is_empty());
        assert!(cite_all("", &[returns()]).is_empty());
        assert!(cite_all("You can send items back within 30 days.", &[]).is_empty());
    }

    #[test]
    fn another_number_forbids_the_citation() {
        assert_eq!(cite_all("Return postage costs 4,90 euros.", &[returns()]).len(), 1);
        assert!(cite_all("Return postage costs 5.90 euros.", &[returns()]).is_empty());
        assert!(cite_all("You can send items back within 60 days of delivery.", &[returns()]).is_empty());
    }

    #[test]
    fn another_name_forbids_the_citation() {
        let post = passage(1, "a", "Parcels to Norway travel with Velo Post.");
        assert_eq!(cite_all("All parcels to Norway travel with Velo Post.", &[post.clone()]).len(), 1);
        assert!(cite_all("All parcels to Sweden travel with Velo Post.", &[post]).is_empty());
    }

    #[test]
    fn facts_of_two_neighbouring_sentences_are_quoted_together() {
        let citations = cite_all("Send items back within 30 days, return postage costs 4.90 euros.", &[returns()]);
        assert_eq!(
            citations[0].quote,
            "You can send items back within 30 days of delivery. Return postage costs 4.90 euros."
        );
    }

    #[test]
    fn a_title_alone_does_not_support() {
        let passage =
            ContextPassage { title: Some("Can I pay with Bitcoin?".into()), ..passage(1, "a", "We are sorry.") };
        assert!(cite_all("I can pay with bitcoin.", &[passage]).is_empty());
    }

    #[test]
    fn chinese_sentences_are_linked_by_bytes_of_the_document() {
        let document = "前言。退货须在30天内寄回。退货运费由本店承担。";
        let start = "前言。".len();
        let mut chinese = passage(1, "zh", &document[start..]);
        chinese.span = ByteSpan { start, end: document.len() };
        let answer = "退货运费由本店承担。";
        let citations = cite_all(answer, &[chinese]);
        assert_eq!(citations.len(), 1);
        assert_eq!(citations[0].span.slice(document), Some("退货运费由本店承担。"));
        assert_eq!(citations[0].quote, "退货运费由本店承担。");
    }

    fn sentence() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just("parcel"),
            Just("Norway"),
            Just("30"),
            Just("4.90"),
            Just("退货"),
            Just("días"),
            Just("not")
        ];
        let end = prop_oneof![Just(". "), Just("! "), Just("。"), Just("\n")];
        (prop::collection::vec(word, 1..6), end).prop_map(|(words, end)| words.join(" ") + end)
    }

    proptest! {
        #[test]
        fn citations_stay_inside_the_numbered_passages(
            answer in prop::collection::vec(sentence(), 0..4).prop_map(|s| s.concat()),
            texts in prop::collection::vec(prop::collection::vec(sentence(), 1..4).prop_map(|s| s.concat()), 0..4),
            lead in "[a-zé退 ]{0,9}",
        ) {
            let documents: Vec<String> = texts.iter().map(|text| format!("{lead}{text}")).collect();
            let passages: Vec<ContextPassage> = texts.iter().enumerate().map(|(i, text)| {
                let mut passage = passage(i + 1, &format!("d{i}"), text);
                passage.span = ByteSpan { start: lead.len(), end: lead.len() + text.len() };
                passage
            }).collect();
            for citation in cite_all(&answer, &passages) {
                let cited = passages.iter().position(|p| p.number == citation.number);
                prop_assert!(cited.is_some());
                let at = cited.unwrap();
                prop_assert_eq!(&citation.document_id, &passages[at].document_id);
                prop_assert_eq!(citation.chunk_id, passages[at].chunk_id);
                prop_assert_eq!(citation.span.slice(&documents[at]), Some(citation.quote.as_str()));
                prop_assert!(citation.answer_span.slice(&answer).is_some());
                prop_assert!((0.0..=1.0).contains(&citation.support));
                let said = Words::of(citation.answer_span.slice(&answer).unwrap());
                prop_assert!(said.numbers.is_subset(&Words::of(&citation.quote).numbers));
            }
        }
    }
}
