//! Questions to a real store, with an embedder of word hashes, a reranker of shared words and a generator that says what
//! it is told.

#![expect(clippy::unwrap_used, reason = "the shop that the tests share is made outside of test functions")]

use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{
    Answer, Attributes, CancelToken, ChatMessage, Document, DocumentId, EmbedPurpose, Embedded, Embedder, EmbedderInfo,
    Embedding, ErrorKind, FinishReason, GenerateOptions, Generation, GenerationTimings, Generator, GeneratorInfo,
    NoProgress, Prompt, Reranker, Result, Role, TokenScores, TokenUsage,
};
use anser_engine::{
    AnswerEvent, AnswerRequest, Engine, EngineError, EngineOptions, LabelledQuestion, MissKind, ModelLoader,
    RetrievalMethod, RetrievalOptions, RetrievalTestSet, SearchRequest, ServedModels, TunedModel, abstention_text,
    grounded_messages, numbered_passages,
};
use parking_lot::Mutex;
use tempfile::TempDir;

const DIMENSIONS: usize = 256;

fn words(text: &str) -> Vec<String> {
    let plain = |c: char| !c.is_alphanumeric();
    text.to_lowercase().split(plain).filter(|word| word.len() > 2).map(str::to_owned).collect()
}

struct WordEmbedder(EmbedderInfo);

impl Embedder for WordEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.0
    }

    fn embed(&self, texts: &[String], _: EmbedPurpose, cancel: &CancelToken) -> Result<Vec<Embedded>> {
        cancel.check()?;
        let embed = |text: &String| {
            let mut values = vec![0.001f32; DIMENSIONS];
            for word in words(text) {
                let axis = word.bytes().fold(5usize, |hash, b| (hash * 131 + usize::from(b)) % DIMENSIONS);
                values[axis] += 1.0;
            }
            Ok(Embedded { embedding: Embedding::normalize(values)?, tokens: words(text).len(), truncated: false })
        };
        texts.iter().map(embed).collect()
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(words(text).len())
    }
}

/// An embedder of word hashes, for tests elsewhere.
pub(super) fn word_embedder() -> Arc<dyn Embedder> {
    let info =
        EmbedderInfo { model: "words".into(), dimension: DIMENSIONS, max_tokens: 512, fingerprint: "words".into() };
    Arc::new(WordEmbedder(info))
}

struct SharedWords;

impl Reranker for SharedWords {
    fn model(&self) -> &'static str {
        "shared-words"
    }

    fn rerank(&self, query: &str, passages: &[String], _: &CancelToken) -> Result<Vec<f32>> {
        let query = words(query);
        let logit = |passage: &String| {
            let shared = words(passage).iter().filter(|word| query.contains(word)).count();
            if shared == 0 { -11.0 } else { 10.0 * shared as f32 }
        };
        Ok(passages.iter().map(logit).collect())
    }
}

/// Says `text` word by word; cancels `cancel_at` before its third word.
struct Speaker {
    info: GeneratorInfo,
    text: Mutex<String>,
    asked: Mutex<Vec<Vec<ChatMessage>>>,
    cancel_at: Mutex<Option<CancelToken>>,
    said: Mutex<usize>,
}

impl Generator for Speaker {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(text.split_whitespace().count())
    }

    fn count_prompt_tokens(&self, messages: &[ChatMessage]) -> Result<usize> {
        Ok(messages.iter().map(|m| m.content.split_whitespace().count()).sum())
    }

    fn score(&self, _: Prompt<'_>, continuation: &str, _: &CancelToken) -> Result<TokenScores> {
        let words = continuation.split_whitespace().count() + 1;
        Ok(TokenScores { log_probabilities: vec![-1.0; words], likeliest: vec![true; words] })
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn generate(
        &self,
        prompt: Prompt<'_>,
        options: &GenerateOptions,
        cancel: &CancelToken,
        on_delta: &mut dyn FnMut(&str),
    ) -> Result<Generation> {
        let messages = match prompt {
            Prompt::Chat(messages) => messages.to_vec(),
            Prompt::Text(text) => vec![ChatMessage::new(Role::User, text)],
        };
        self.asked.lock().push(messages.clone());
        let script = self.text.lock().clone();
        let (mut text, mut finish_reason, mut said) = (String::new(), FinishReason::Stop, 0);
        for word in script.split_inclusive(' ') {
            if said == 2
                && let Some(caller) = self.cancel_at.lock().take()
            {
                caller.cancel();
                while !cancel.is_cancelled() {
                    std::thread::yield_now();
                }
            }
            if cancel.is_cancelled() {
                finish_reason = FinishReason::Cancelled;
                break;
            }
            if Some(said) == options.max_tokens {
                finish_reason = FinishReason::Length;
                break;
            }
            on_delta(word);
            text.push_str(word);
            said += 1;
        }
        *self.said.lock() = said;
        let usage = TokenUsage { prompt_tokens: self.count_prompt_tokens(&messages)?, completion_tokens: said };
        Ok(Generation { text, finish_reason, usage, timings: GenerationTimings::default() })
    }
}

struct Loader {
    embedder: Arc<WordEmbedder>,
    speaker: Arc<Speaker>,
}

impl ModelLoader for Loader {
    fn embedder_name(&self) -> &'static str {
        "words"
    }
    fn reranker_name(&self) -> Option<&str> {
        Some("shared-words")
    }
    fn generator_name(&self) -> &'static str {
        "speaker"
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        Ok(Arc::clone(&self.embedder) as Arc<dyn Embedder>)
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Ok(Arc::new(SharedWords))
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Ok(Arc::clone(&self.speaker) as Arc<dyn Generator>)
    }
    fn tuned(&self, model: &TunedModel) -> Result<Arc<dyn Generator>> {
        Err(anser_core::Error::not_found(format!("no model {}", model.id)))
    }
}

struct Shop {
    engine: Engine,
    speaker: Arc<Speaker>,
    _folder: TempDir,
}

const FAQ: &[(&str, &str, &str)] = &[
    (
        "returns",
        "How can I return an article?",
        "Articles can be returned within 45 days. The return label costs 2.95 euros.",
    ),
    (
        "express",
        "Do you offer express delivery?",
        "Express delivery costs 11.50 euros. It arrives on the next working day.",
    ),
    (
        "copy",
        "Do you offer express delivery?",
        "Express delivery costs 11.50 euros. It arrives on the next working day.",
    ),
    ("zh", "保修期多长？", "所有电器保修三年。保修从 2024 年起算。"),
];

impl Shop {
    /// The FAQ above, and a model that says `text`.
    fn open(text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let info =
            EmbedderInfo { model: "words".into(), dimension: DIMENSIONS, max_tokens: 512, fingerprint: "words".into() };
        let speaker = Arc::new(Speaker {
            info: GeneratorInfo { model: "speaker".into(), context_length: 600 },
            text: Mutex::new(text.to_owned()),
            asked: Mutex::default(),
            cancel_at: Mutex::default(),
            said: Mutex::default(),
        });
        let loader = Loader { embedder: Arc::new(WordEmbedder(info)), speaker: Arc::clone(&speaker) };
        let data = DataDir::open(folder.path()).unwrap();
        let engine = Engine::open(&data, ServedModels::new(loader), None, EngineOptions::default()).unwrap();
        let documents = FAQ.iter().map(|(id, title, text)| Document {
            id: DocumentId::new(*id).unwrap(),
            title: Some((*title).to_owned()),
            text: (*text).to_owned(),
            attributes: Attributes::new(),
        });
        engine.ingest_documents("faq", documents.collect(), &NoProgress, &CancelToken::new()).unwrap();
        Self { engine, speaker, _folder: folder }
    }

    fn ask(&self, question: &str) -> (Answer, Vec<String>, usize) {
        let mut deltas = Vec::new();
        let mut shown = 0;
        let answer = self
            .engine
            .answer("faq", &AnswerRequest::new(question), &CancelToken::new(), &mut |event| match event {
                AnswerEvent::Passages(passages) => {
                    assert!(deltas.is_empty(), "the passages come first");
                    shown += passages.len();
                }
                AnswerEvent::Delta(delta) => deltas.push(delta.to_owned()),
            })
            .unwrap();
        (answer, deltas, shown)
    }
}

#[test]
fn an_answer_cites_the_bytes_that_support_it() {
    let shop = Shop::open("The return label costs 2.95 euros.");
    let (answer, deltas, shown) = shop.ask("What does the label to return an article cost?");
    assert!(!answer.abstained);
    assert_eq!(answer.text, "The return label costs 2.95 euros.");
    assert_eq!(deltas.concat(), answer.text);
    assert_eq!(shown, answer.passages.len());
    let citation = &answer.citations[0];
    assert_eq!(citation.document_id.as_str(), "returns");
    assert_eq!(citation.quote, "The return label costs 2.95 euros.");
    let stored = shop.engine.collection("faq").unwrap().document(&citation.document_id).unwrap().unwrap();
    assert_eq!(citation.span.slice(&stored.text), Some(citation.quote.as_str()));
    assert!(answer.passages.iter().any(|p| p.number == citation.number && p.chunk_id == citation.chunk_id));
    let prompt = shop.speaker.asked.lock()[0].last().unwrap().content.clone();
    assert!(prompt.contains("[1] How can I return an article?\nArticles can be returned within 45 days."), "{prompt}");
}

#[test]
fn a_question_about_something_else_is_not_put_to_the_model() {
    let shop = Shop::open("The return label costs 2.95 euros.");
    let (answer, deltas, shown) = shop.ask("Who painted sunflowers?");
    assert!(answer.abstained && answer.citations.is_empty() && answer.finish_reason.is_none());
    assert_eq!(deltas, std::slice::from_ref(&answer.text));
    assert_eq!(shown, answer.passages.len());
    assert!(shown > 0, "the nearest passages are shown");
    assert!(shop.speaker.asked.lock().is_empty());
}

#[test]
fn what_the_model_makes_up_is_replaced_by_a_quote_of_a_near_passage() {
    let shop = Shop::open("The return label costs 99 euros. Green horses sleep well.");
    let (answer, deltas, _) = shop.ask("What does the return label cost in euros?");
    assert!(!answer.abstained, "{answer:?}");
    assert_eq!(deltas, std::slice::from_ref(&answer.text));
    let [citation] = answer.citations.as_slice() else { panic!("{answer:?}") };
    assert_eq!(citation.quote, answer.text);
    assert_eq!(citation.answer_span.slice(&answer.text), Some(answer.text.as_str()));
    let stored = shop.engine.collection("faq").unwrap().document(&citation.document_id).unwrap().unwrap();
    assert_eq!(citation.span.slice(&stored.text), Some(citation.quote.as_str()));
}

#[test]
fn what_the_model_makes_up_about_distant_passages_is_an_abstention() {
    let shop = Shop::open("Green horses sleep well.");
    let (answer, deltas, _) =
        shop.ask("Can you tell me please if an article of mine might somehow be returned someday?");
    assert!(answer.abstained, "{answer:?}");
    assert_eq!(shop.speaker.asked.lock().len(), 1, "the model was asked");
    assert_eq!(deltas, std::slice::from_ref(&answer.text));
    assert_eq!(answer.finish_reason, Some(FinishReason::Stop));
}

#[test]
fn a_number_from_nowhere_and_a_loop_end_the_answer() {
    for tail in ["It was 7 euros once. More.", "Articles can be returned within 45 days. More."] {
        let shop = Shop::open(&format!("Articles can be returned within 45 days. {tail} {}", "word ".repeat(50)));
        let (answer, deltas, _) = shop.ask("How can I return an article?");
        assert_eq!(answer.text, "Articles can be returned within 45 days.");
        assert_eq!(deltas.concat(), answer.text);
        assert_eq!(answer.finish_reason, Some(FinishReason::Stop));
        assert!(*shop.speaker.said.lock() < 40, "generation is stopped, not only ignored");
    }
}

#[test]
fn a_sentence_cut_off_by_the_token_limit_is_dropped() {
    let shop = Shop::open("Articles can be returned within 45 days. The return label costs nothing at all.");
    let request = AnswerRequest { max_tokens: Some(9), ..AnswerRequest::new("How can I return an article?") };
    let answer = shop.engine.answer("faq", &request, &CancelToken::new(), &mut |_| {}).unwrap();
    assert_eq!(answer.text, "Articles can be returned within 45 days.");
    assert_eq!(answer.finish_reason, Some(FinishReason::Length));
}

#[test]
fn chinese_questions_are_answered_and_declined_in_chinese() {
    let shop = Shop::open("所有电器保修三年。");
    let (answer, ..) = shop.ask("保修期多长？");
    assert_eq!(answer.text, "所有电器保修三年。");
    assert_eq!(answer.citations[0].quote, "所有电器保修三年。");
    let (declined, ..) = shop.ask("天气怎么样？");
    assert!(declined.abstained);
    assert!(declined.text.contains("没有找到"), "{}", declined.text);
}

#[test]
fn cancelling_stops_before_and_during_generation() {
    let shop = Shop::open("Articles can be returned within 45 days.");
    let request = AnswerRequest::new("How can I return an article?");
    let cancel = CancelToken::new();
    cancel.cancel();
    let early = shop.engine.answer("faq", &request, &cancel, &mut |_| {}).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Cancelled);

    let cancel = CancelToken::new();
    *shop.speaker.cancel_at.lock() = Some(cancel.clone());
    let during = shop.engine.answer("faq", &request, &cancel, &mut |_| {}).unwrap_err();
    assert_eq!(during.kind(), ErrorKind::Cancelled);
    assert_eq!(*shop.speaker.said.lock(), 2);
}

#[test]
fn requests_out_of_range_name_their_field() {
    let shop = Shop::open("");
    let ok = AnswerRequest::new("How can I return an article?");
    for (request, param) in [
        (AnswerRequest::new("  "), "question"),
        (AnswerRequest { passages: Some(0), ..ok.clone() }, "passages"),
        (AnswerRequest { passages: Some(21), ..ok.clone() }, "passages"),
        (AnswerRequest { max_tokens: Some(0), ..ok.clone() }, "max_tokens"),
        (AnswerRequest { context_tokens: Some(0), ..ok.clone() }, "context_tokens"),
        (AnswerRequest { temperature: -1.0, ..ok.clone() }, "temperature"),
    ] {
        let error = shop.engine.answer("faq", &request, &CancelToken::new(), &mut |_| {}).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidInput, Some(param)));
    }
    let unknown = shop.engine.answer("nothing", &ok, &CancelToken::new(), &mut |_| {}).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let small = AnswerRequest { max_tokens: Some(599), ..ok };
    let error = shop.engine.answer("faq", &small, &CancelToken::new(), &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn search_drops_copies_and_reports_its_method() {
    let shop = Shop::open("");
    let request = SearchRequest { query: "express delivery".into(), rerank: true, ..SearchRequest::default() };
    let reply = shop.engine.search("faq", &request, &CancelToken::new()).unwrap();
    let express = reply.hits.iter().filter(|hit| hit.chunk.text.starts_with("Express")).count();
    assert_eq!(express, 1);
    assert!(reply.hits[0].rerank_score.is_some_and(|logit| logit > 0.0));
    let strict = SearchRequest { min_score: Some(0.3), rerank: false, ..request };
    let hits = shop.engine.search("faq", &strict, &CancelToken::new()).unwrap().hits;
    assert!(!hits.is_empty() && hits.iter().all(|hit| hit.score >= 0.3 && hit.rerank_score.is_none()));
    assert!(serde_json::to_value(&reply).unwrap()["explain"].is_object());
}

fn labelled(id: &str, question: &str, answers: &[&str], facts: &[&str]) -> LabelledQuestion {
    LabelledQuestion {
        id: id.into(),
        question: question.into(),
        answers: answers.iter().map(|a| DocumentId::new(*a).unwrap()).collect(),
        key_fact: facts.iter().map(|f| (*f).to_owned()).collect(),
        reference: None,
    }
}

#[test]
fn retrieval_and_answers_are_measured() -> std::result::Result<(), EngineError> {
    let shop = Shop::open("The return label costs 2.95 euros.");
    let questions = [
        labelled("1", "What does the label to return an article cost?", &["returns"], &["2.95 EUROS"]),
        labelled("2", "Until when can an article be returned?", &["returns"], &["45 days"]),
        labelled("3", "Who painted sunflowers?", &[], &[]),
    ];
    let cancel = CancelToken::new();
    let set = RetrievalTestSet::of_questions(&questions);
    assert_eq!(set.queries.len(), 2, "one of the questions has no answer");
    let options = RetrievalOptions { k: 1, methods: vec![RetrievalMethod::Vector], ..RetrievalOptions::default() };
    let retrieval = shop.engine.evaluate_retrieval("faq", &set, &options, &NoProgress, &cancel)?;
    assert!((retrieval.methods[0].recall_at_k.mean - 1.0).abs() < 1e-9, "{retrieval:?}");
    let answers = shop.engine.evaluate_answers("faq", &questions, &NoProgress, &cancel)?;
    assert_eq!((answers.questions, answers.key_facts, answers.with_key_fact), (3, 2, 1));
    assert_eq!((answers.abstained_unanswerable, answers.invalid_citations), (1, 0));
    assert!(answers.citations > 0);
    assert_eq!(answers.misses.iter().map(|m| m.kind).collect::<Vec<_>>(), [MissKind::NoKeyFact]);
    Ok(())
}

#[test]
fn the_request_says_which_model_writes() {
    let shop = Shop::open("The return label costs 2.95 euros.");
    let ask = |model: &str| {
        let question = "What does the label to return an article cost?";
        let request = AnswerRequest { model: Some(model.to_owned()), ..AnswerRequest::new(question) };
        shop.engine.answer("faq", &request, &CancelToken::new(), &mut |_| {})
    };
    assert_eq!(ask("speaker").unwrap().text, "The return label costs 2.95 euros.");
    let unknown = ask("ft:speaker:anser::unknown1").unwrap_err();
    assert_eq!((unknown.kind(), unknown.param()), (ErrorKind::NotFound, Some("model")));
}

#[test]
fn training_context_is_what_the_model_would_be_asked() {
    let shop = Shop::open("The return label costs 2.95 euros.");
    let question = "What does the label to return an article cost?";
    let cancel = CancelToken::new();
    let context = shop.engine.training_context("faq", question, &cancel).unwrap();
    let (answer, ..) = shop.ask(question);
    assert_eq!(context.shown, answer.passages);
    assert!(!context.declined && context.candidates.len() > context.shown.len());
    assert_eq!(shop.speaker.asked.lock()[0], grounded_messages(question, &context.shown));
    let distractors = numbered_passages(context.candidates.iter().rev());
    assert_eq!(distractors.iter().map(|p| p.number).collect::<Vec<_>>(), [1, 2, 3]);
    let prompt = grounded_messages(question, &distractors).pop().unwrap().content;
    assert!(prompt.contains("[3] How can I return an article?"), "{prompt}");

    let unrelated = "Who painted sunflowers?";
    assert!(shop.engine.training_context("faq", unrelated, &cancel).unwrap().declined);
    assert_eq!(shop.ask(unrelated).0.text, abstention_text(unrelated));
    let empty = shop.engine.training_context("faq", " ", &cancel).unwrap_err();
    assert_eq!(empty.param(), Some("question"));
}
