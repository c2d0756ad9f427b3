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
struct Passage<'a> {
    shown: &'a ContextPassage,
    title: Words,
    sentences: Vec<Source>,
}

/// The passages an answer may cite, read once and compared with each of its sentences.
pub(super) struct Evidence<'a> {
    passages: Vec<Passage<'a>>,
}

/// The run of sentences of one passage that supports a sentence of the answer best.
pub(super) struct Link<'a> {
    passage: &'a ContextPassage,
    span: ByteSpan,
    support: f32,
}

/// A sentence of the answer.
struct Claim {
    words: Words,
    embedding: Embedding,
}

impl<'a> Evidence<'a> {
    /// Splits the passages into sentences and embeds them.
    pub(super) fn read(
        passages: &'a [ContextPassage],
        embedder: &dyn Embedder,
        cancel: &CancelToken,
    ) -> Result<Self, EngineError> {
        let spans: Vec<Vec<ByteSpan>> = passages.iter().map(|passage| sentences(&passage.text)).collect();
        let quotable = passages.iter().zip(&spans);
        let texts: Vec<String> =
            quotable.flat_map(|(p, spans)| spans.iter().filter_map(|s| s.slice(&p.text))).map(str::to_owned).collect();
        let mut embeddings = embed(&texts, embedder, cancel)?.into_iter();
        let passages = passages
            .iter()
            .zip(spans)
            .map(|(shown, spans)| Passage {
                shown,
                title: Words::of(shown.title.as_deref().unwrap_or_default()),
                sentences: spans
                    .into_iter()
                    .zip(embeddings.by_ref())
                    .map(|(span, embedding)| {
                        let words = Words::of(span.slice(&shown.text).unwrap_or_default());
                        Source { span, words, embedding }
                    })
                    .collect(),
            })
            .collect();
        Ok(Self { passages })
    }

    /// Whether a number, in its one spelling, stands in a title or text.
    pub(super) fn holds_number(&self, number: &str) -> bool {
        let sentences = self.passages.iter().flat_map(|p| &p.sentences).map(|sentence| &sentence.words);
        self.passages.iter().map(|p| &p.title).chain(sentences).any(|words| words.numbers.contains(number))
    }

    /// What supports a sentence of the answer best. `None` when it says nothing that could be compared, or when no run
    /// of sentences holds all its numbers and names.
    pub(super) fn support(
        &'a self,
        sentence: &str,
        embedder: &dyn Embedder,
        cancel: &CancelToken,
    ) -> Result<Option<Link<'a>>, EngineError> {
        let words = Words::of(sentence);
        if words.terms.is_empty() {
            return Ok(None);
        }
        let Some(embedding) = embed(&[sentence.to_owned()], embedder, cancel)?.pop() else { return Ok(None) };
        let claim = Claim { words, embedding };
        let mut best: Option<Link<'a>> = None;
        for passage in &self.passages {
            for link in self.links(passage, &claim)? {
                if best.as_ref().is_none_or(|best| link.support > best.support) {
                    best = Some(link);
                }
            }
        }
        Ok(best)
    }

    /// The sentence nearest in meaning to a question, as its own support. `None` when no passage holds a word.
    pub(super) fn nearest(
        &'a self,
        question: &str,
        embedder: &dyn Embedder,
        cancel: &CancelToken,
    ) -> Result<Option<Link<'a>>, EngineError> {
        let asked = embedder.embed(&[question.to_owned()], EmbedPurpose::Query, cancel)?.pop();
        let Some(asked) = asked.map(|one| one.embedding) else { return Ok(None) };
        let mut nearest: Option<(f32, Link<'a>)> = None;
        for passage in &self.passages {
            for source in passage.sentences.iter().filter(|source| !source.words.terms.is_empty()) {
                let cosine = asked.cosine(&source.embedding)?;
                if nearest.as_ref().is_none_or(|(best, _)| cosine > *best) {
                    nearest = Some((cosine, Link { passage: passage.shown, span: source.span, support: 1.0 }));
                }
            }
        }
        Ok(nearest.map(|(_, link)| link))
    }

    /// All runs of sentences of one passage that hold the claim's numbers and names.
    fn links(&'a self, passage: &'a Passage<'a>, claim: &Claim) -> Result<Vec<Link<'a>>, EngineError> {
        let mut found = Vec::new();
        for (first, opening) in passage.sentences.iter().enumerate() {
            let mut words = Words::default();
            let mut cosine = -1f32;
            for (length, source) in passage.sentences.iter().skip(first).take(MAX_QUOTED_SENTENCES).enumerate() {
                words.extend(&source.words);
                cosine = cosine.max(claim.embedding.cosine(&source.embedding)?);
                if let Some(support) = self.weigh(&claim.words, &words, &passage.title, cosine) {
                    let span = ByteSpan { start: opening.span.start, end: source.span.end };
                    let support = (support - LENGTH_PENALTY * length as f32).max(0.0);
                    found.push(Link { passage: passage.shown, span, support });
                }
            }
        }
        Ok(found)
    }

    /// How well a quote supports a claim, in [0, 1]; `None` when a number or name of the claim is missing from it.
    fn weigh(&self, claim: &Words, quote: &Words, title: &Words, cosine: f32) -> Option<f32> {
        let named = |name: &String| quote.terms.contains(name) || title.terms.contains(name);
        if !claim.numbers.is_subset(&quote.numbers) || !claim.names.iter().all(named) {
            return None;
        }
        let (mut total, mut quoted, mut titled) = (0f32, 0f32, 0f32);
        for term in &claim.terms {
            let weight = self.weight(term);
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

    /// How much a word counts, in the manner of inverse document frequency over the n sentences of the passages:
    /// `1 + ln((n + 1) / (df + 1))`. A word that stands nowhere counts as one that stands once.
    fn weight(&self, term: &str) -> f32 {
        let all = self.passages.iter().flat_map(|passage| &passage.sentences);
        let (mut sentences, mut holding) = (0usize, 0usize);
        for sentence in all {
            sentences += 1;
            holding += usize::from(sentence.words.terms.contains(term));
        }
        1.0 + ((sentences + 1) as f32 / (holding.max(1) + 1) as f32).ln()
    }
}

impl<'a> Link<'a> {
    /// The text of the passage that supports.
    pub(super) fn quote(&self) -> Option<&'a str> {
        self.span.slice(&self.passage.text)
    }

    /// How well the quote supports the sentence, in [0, 1].
    pub(super) fn support(&self) -> f32 {
        self.support
    }

    /// The citation of the sentence at `answer_span`; `None` when the support is too weak to cite.
    pub(super) fn into_citation(self, answer_span: ByteSpan) -> Option<Citation> {
        if self.support < MIN_SUPPORT {
            return None;
        }
        let quote = self.quote()?;
        let start = self.passage.span.start + self.span.start;
        Some(Citation {
            number: self.passage.number,
            document_id: self.passage.document_id.clone(),
            chunk_id: self.passage.chunk_id,
            title: self.passage.title.clone(),
            span: ByteSpan { start, end: start + quote.len() },
            quote: quote.to_owned(),
            answer_span,
            support: self.support,
        })
    }
}

fn embed(texts: &[String], embedder: &dyn Embedder, cancel: &CancelToken) -> Result<Vec<Embedding>, EngineError> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let embedded = embedder.embed(texts, EmbedPurpose::Passage, cancel)?;
    if embedded.len() != texts.len() {
        let message = format!("the embedder returned {} vectors for {} texts", embedded.len(), texts.len());
        return Err(anser_core::Error::internal(message).into());
    }
    Ok(embedded.into_iter().map(|one| one.embedding).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answer::fixtures::{BagOfWords, passage};

    fn cite_all(answer: &str, passages: &[ContextPassage]) -> Vec<Citation> {
        let (embedder, cancel) = (BagOfWords::default(), CancelToken::new());
        let evidence = Evidence::read(passages, &embedder, &cancel).unwrap();
        let link = |span: ByteSpan| {
            let link = evidence.support(span.slice(answer).unwrap(), &embedder, &cancel).unwrap()?;
            link.into_citation(span)
        };
        sentences(answer).into_iter().filter_map(link).collect()
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
        assert_eq!(cite_all("All parcels to Norway travel with Velo Post.", std::slice::from_ref(&post)).len(), 1);
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
