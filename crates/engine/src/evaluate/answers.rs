//! Do answers hold the fact they should, abstain when they should, and cite what they were shown?

use std::time::Instant;

use anser_core::{Answer, CancelToken, Citation, DocumentId, Progress, ProgressUnit};
use anser_index::Collection;
use serde::Serialize;

use super::metrics::{TextScores, corpus_bleu};
use super::{LabelledQuestion, share};
use crate::{AnswerRequest, Engine, EngineError};

/// Answers measured on labelled questions. An abstention never holds a key fact.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct AnswerEvaluation {
    /// Questions asked.
    pub questions: usize,
    /// Questions that the collection can answer.
    pub answerable: usize,
    /// Answerable questions whose key fact is recorded.
    pub key_facts: usize,
    /// Answers that hold it.
    pub with_key_fact: usize,
    /// `with_key_fact / key_facts`.
    pub key_fact_rate: f64,
    /// Abstentions on answerable questions: wrong.
    pub abstained_answerable: usize,
    /// Abstentions on unanswerable questions: right.
    pub abstained_unanswerable: usize,
    /// Share of the abstentions that were right.
    pub abstention_precision: f64,
    /// Share of the unanswerable questions that were abstained from.
    pub abstention_recall: f64,
    /// Answers that are not abstentions.
    pub answered: usize,
    /// Answers with at least one citation.
    pub answered_with_citation: usize,
    /// Answers with a citation of a document that answers the question.
    pub cited_right_document: usize,
    /// Citations in all answers.
    pub citations: usize,
    /// Citations whose passage was not in the context, or whose quote is not the text under their span. Always 0.
    pub invalid_citations: usize,
    /// Mean time of an answer, in seconds.
    pub mean_seconds: f64,
    /// Longest time of an answer, in seconds.
    pub max_seconds: f64,
    /// Tokens written, in all.
    pub completion_tokens: usize,
    /// Answers compared with references, where questions carry one.
    pub text: Option<TextMeans>,
    /// Answers that were not as they should be.
    pub misses: Vec<AnswerMiss>,
}

/// Means of the text metrics over the answerable questions that carry a reference. An abstention is an answer like any
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct TextMeans {
    /// Questions with a reference.
    pub questions: usize,
    /// Share of answers that equal the reference once normalised.
    pub exact_match: f64,
    /// Mean F1 of words.
    pub token_f1: f64,
    /// BLEU over all answers together, in [0, 100].
    pub bleu: f64,
    /// Mean F1 of shared words.
    pub rouge_1: f64,
    /// Mean F1 of shared pairs of words.
    pub rouge_2: f64,
    /// Mean F1 of the longest common subsequence.
    pub rouge_l: f64,
}

impl TextMeans {
    /// Over pairs of answer and reference; `None` without any.
    fn of(pairs: &[(String, String)]) -> Option<Self> {
        let scores: Vec<TextScores> =
            pairs.iter().map(|(answer, reference)| TextScores::of(answer, reference)).collect();
        let mean = |of: fn(&TextScores) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
        (!scores.is_empty()).then(|| Self {
            questions: scores.len(),
            exact_match: mean(|s| f64::from(u8::from(s.exact_match))),
            token_f1: mean(|s| s.token_f1),
            bleu: corpus_bleu(pairs.iter().map(|(answer, reference)| (answer.as_str(), reference.as_str()))).score,
            rouge_1: mean(|s| s.rouge_1),
            rouge_2: mean(|s| s.rouge_2),
            rouge_l: mean(|s| s.rouge_l),
        })
    }
}

/// What was wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MissKind {
    /// It does not hold a key fact.
    NoKeyFact,
    /// It is an abstention, though the collection answers the question.
    WronglyAbstained,
    /// It is no abstention, though the collection does not answer the question.
    ShouldHaveAbstained,
}

/// An answer that was not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerMiss {
    /// The question's id.
    pub id: String,
    /// What was wrong.
    pub kind: MissKind,
    /// The question.
    pub question: String,
    /// The key facts, any of which would have done.
    pub key_fact: Vec<String>,
    /// What was answered.
    pub answer: String,
    /// The documents answering it.
    pub expected: Vec<DocumentId>,
    /// The documents of the passages, best first.
    pub passages: Vec<DocumentId>,
    /// The first passage's logit, when the hits were reranked.
    pub best_logit: Option<f32>,
}

impl Engine {
    /// Asks every question with default settings and measures the answers.
    pub fn evaluate_answers(
        &self,
        collection: &str,
        questions: &[LabelledQuestion],
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<AnswerEvaluation, EngineError> {
        let stored = self.collection(collection)?;
        progress.start("answering", Some(questions.len() as u64), ProgressUnit::Items);
        let mut evaluation = AnswerEvaluation::default();
        let mut pairs = Vec::new();
        let all = Instant::now();
        for (done, question) in (1..).zip(questions) {
            let started = Instant::now();
            let answer = self.answer(collection, &AnswerRequest::new(&question.question), cancel, &mut |_| {})?;
            cancel.check()?;
            evaluation.max_seconds = evaluation.max_seconds.max(started.elapsed().as_secs_f64());
            evaluation.invalid_citations += invalid_citations(&answer, &stored)?;
            evaluation.add(question, &answer);
            if let Some(reference) = question.reference.as_ref().filter(|_| question.answerable()) {
                pairs.push((answer.text, reference.clone()));
            }
            progress.set(done);
        }
        progress.finish();
        evaluation.text = TextMeans::of(&pairs);
        evaluation.conclude(all.elapsed().as_secs_f64());
        Ok(evaluation)
    }
}

impl AnswerEvaluation {
    /// Counts one answer.
    fn add(&mut self, question: &LabelledQuestion, answer: &Answer) {
        self.questions += 1;
        self.citations += answer.citations.len();
        self.completion_tokens += answer.usage.completion_tokens;
        if !answer.abstained {
            self.answered += 1;
            self.answered_with_citation += usize::from(!answer.citations.is_empty());
            let right = |citation: &Citation| question.answers.contains(&citation.document_id);
            self.cited_right_document += usize::from(answer.citations.iter().any(right));
        }
        let miss = if question.answerable() {
            self.answerable += 1;
            self.key_facts += usize::from(!question.key_fact.is_empty());
            if answer.abstained {
                self.abstained_answerable += 1;
                Some(MissKind::WronglyAbstained)
            } else if question.key_fact.is_empty() {
                None
            } else if question.holds_key_fact(&answer.text) {
                self.with_key_fact += 1;
                None
            } else {
                Some(MissKind::NoKeyFact)
            }
        } else if answer.abstained {
            self.abstained_unanswerable += 1;
            None
        } else {
            Some(MissKind::ShouldHaveAbstained)
        };
        self.misses.extend(miss.map(|kind| AnswerMiss {
            id: question.id.clone(),
            kind,
            question: question.question.clone(),
            key_fact: question.key_fact.clone(),
            answer: answer.text.clone(),
            expected: question.answers.clone(),
            passages: answer.passages.iter().map(|p| p.document_id.clone()).collect(),
            best_logit: answer.passages.first().and_then(|p| p.rerank_score),
        }));
    }

    /// Works out the shares.
    fn conclude(&mut self, seconds: f64) {
        self.key_fact_rate = share(self.with_key_fact, self.key_facts);
        let abstained = self.abstained_answerable + self.abstained_unanswerable;
        self.abstention_precision = share(self.abstained_unanswerable, abstained);
        self.abstention_recall = share(self.abstained_unanswerable, self.questions - self.answerable);
        self.mean_seconds = if self.questions == 0 { 0.0 } else { seconds / self.questions as f64 };
    }
}

/// Citations that do not hold what they promise, checked against the stored documents.
fn invalid_citations(answer: &Answer, collection: &Collection) -> Result<usize, EngineError> {
    let mut invalid = 0;
    for citation in &answer.citations {
        let document = collection.document(&citation.document_id)?;
        let quoted = document.as_ref().and_then(|document| citation.span.slice(&document.text));
        let shown = answer.passages.iter().any(|passage| {
            passage.number == citation.number
                && passage.document_id == citation.document_id
                && passage.chunk_id == citation.chunk_id
                && passage.span.start <= citation.span.start
                && citation.span.end <= passage.span.end
        });
        let said = citation.answer_span.slice(&answer.text).is_some();
        invalid += usize::from(!(shown && said && quoted == Some(citation.quote.as_str())));
    }
    Ok(invalid)
}

#[cfg(test)]
mod tests {
    use anser_core::{AnswerTimings, TokenUsage};

    use super::*;

    fn question(answers: &[&str], facts: &[&str]) -> LabelledQuestion {
        LabelledQuestion {
            id: "q".into(),
            question: "?".into(),
            answers: answers.iter().map(|a| DocumentId::new(*a).unwrap()).collect(),
            key_fact: facts.iter().map(|f| (*f).to_owned()).collect(),
            reference: None,
        }
    }

    fn answer(text: &str, abstained: bool) -> Answer {
        Answer {
            text: text.into(),
            citations: Vec::new(),
            abstained,
            passages: Vec::new(),
            finish_reason: None,
            usage: TokenUsage { prompt_tokens: 1, completion_tokens: 2 },
            timings: AnswerTimings::default(),
        }
    }

    #[test]
    fn rates_count_facts_and_abstentions_of_both_kinds() {
        let mut evaluation = AnswerEvaluation::default();
        evaluation.add(&question(&["a"], &["30 days"]), &answer("Within 30 DAYS.", false));
        evaluation.add(&question(&["a"], &["30 days"]), &answer("Within 20 days.", false));
        evaluation.add(&question(&["a"], &["30 days"]), &answer("30 days", true));
        evaluation.add(&question(&[], &[]), &answer("no idea", true));
        evaluation.add(&question(&[], &[]), &answer("Certainly!", false));
        evaluation.conclude(10.0);
        assert_eq!((evaluation.answerable, evaluation.key_facts, evaluation.with_key_fact), (3, 3, 1));
        assert!((evaluation.key_fact_rate - 1.0 / 3.0).abs() < 1e-12);
        assert!((evaluation.abstention_precision - 0.5).abs() < 1e-12);
        assert!((evaluation.abstention_recall - 0.5).abs() < 1e-12);
        assert!((evaluation.mean_seconds - 2.0).abs() < 1e-12);
        let kinds: Vec<MissKind> = evaluation.misses.iter().map(|m| m.kind).collect();
        assert_eq!(kinds, [MissKind::NoKeyFact, MissKind::WronglyAbstained, MissKind::ShouldHaveAbstained]);
    }
}
