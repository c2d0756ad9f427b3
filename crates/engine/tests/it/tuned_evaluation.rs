//! A tuned model against its base: what each arm is asked, what is made of the answers, and who becomes the default.

#![expect(clippy::expect_used, reason = "what the tests share is made outside of test functions")]

use std::collections::HashMap;
use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{
    Attributes, CancelToken, ChatMessage, Document, DocumentId, Embedder, Error, ErrorKind, FinishReason,
    GenerateOptions, Generation, GenerationTimings, Generator, GeneratorInfo, NoProgress, Prompt, Reranker, Result,
    TokenScores, TokenUsage, Trainer,
};
use anser_engine::{
    Arm, Comparison, Engine, EngineOptions, HeldOutExample, Measure, ModelLoader, Outcome, ServedModels,
    TunedEvaluationRequest, TunedModel,
};
use parking_lot::Mutex;

use crate::answer::word_embedder;
use crate::tuning::{BASE, Bench};

/// Questions of the general set that both models know when nothing was forgotten.
const KNOWLEDGE: [(&str, &str); 8] = [
    ("capital of France", "Paris"),
    ("capital of Japan", "Tokyo"),
    ("2 + 2", "4"),
    ("days are in a week", "Seven"),
    ("largest planet", "Jupiter"),
    ("Romeo and Juliet", "William Shakespeare"),
    ("opposite of hot", "cold"),
    ("after Monday", "Tuesday"),
];

/// Knows answers by heart; anything else it does not know. Finds known references likely.
struct Pupil {
    info: GeneratorInfo,
    known: HashMap<String, String>,
    knowledge: bool,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Pupil {
    fn answer(&self, prompt: Prompt<'_>) -> String {
        let asked = match prompt {
            Prompt::Chat(messages) => messages.last().map_or(String::new(), |m| m.content.clone()),
            Prompt::Text(text) => text.to_owned(),
        };
        self.asked.lock().push(asked.clone());
        // With passages the question stands on the first line.
        let question = asked.lines().next().unwrap_or("").trim_start_matches("Question: ").to_owned();
        if let Some(known) = self.known.get(&question) {
            return known.clone();
        }
        let fact = KNOWLEDGE.iter().find(|(about, _)| question.contains(about)).filter(|_| self.knowledge);
        fact.map_or("I am not sure".to_owned(), |(_, answer)| format!("It is {answer}."))
    }
}

impl Generator for Pupil {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(text.split_whitespace().count())
    }

    fn count_prompt_tokens(&self, messages: &[ChatMessage]) -> Result<usize> {
        Ok(messages.iter().map(|m| m.content.split_whitespace().count()).sum())
    }

    fn generate(
        &self,
        prompt: Prompt<'_>,
        options: &GenerateOptions,
        _: &CancelToken,
        on_delta: &mut dyn FnMut(&str),
    ) -> Result<Generation> {
        assert!(options.temperature <= 0.0, "evaluation is greedy");
        let whole = self.answer(prompt);
        let limit = options.max_tokens.unwrap_or(usize::MAX);
        let text: String = whole.split_inclusive(' ').take(limit).collect();
        on_delta(&text);
        let finish_reason = if text == whole { FinishReason::Stop } else { FinishReason::Length };
        Ok(Generation { text, finish_reason, usage: TokenUsage::default(), timings: GenerationTimings::default() })
    }

    fn score(&self, prompt: Prompt<'_>, continuation: &str, _: &CancelToken) -> Result<TokenScores> {
        let known = self.answer(prompt) == continuation;
        self.asked.lock().pop();
        let words = continuation.split_whitespace().count() + 1;
        let probability: f32 = if known { 0.5 } else { 0.125 };
        Ok(TokenScores { log_probabilities: vec![probability.ln(); words], likeliest: vec![known; words] })
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

/// What base and tuned model know.
#[derive(Clone, Default)]
struct School {
    base: HashMap<String, String>,
    tuned: HashMap<String, String>,
    tuned_forgets: bool,
    asked: Arc<Mutex<Vec<String>>>,
}

impl School {
    fn pupil(&self, name: &str, known: &HashMap<String, String>, knowledge: bool) -> Arc<dyn Generator> {
        Arc::new(Pupil {
            info: GeneratorInfo { model: name.to_owned(), context_length: 2000 },
            known: known.clone(),
            knowledge,
            asked: Arc::clone(&self.asked),
        })
    }
}

impl ModelLoader for School {
    fn embedder_name(&self) -> &'static str {
        "words"
    }
    fn reranker_name(&self) -> Option<&str> {
        None
    }
    fn generator_name(&self) -> &'static str {
        BASE
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        Ok(word_embedder())
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Err(Error::not_found("no reranker"))
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Ok(self.pupil(BASE, &self.base, true))
    }
    fn tuned(&self, model: &TunedModel) -> Result<Arc<dyn Generator>> {
        Ok(self.pupil(&model.id, &self.tuned, !self.tuned_forgets))
    }
}

fn examples() -> Vec<HeldOutExample> {
    let answer = |i: u64| format!("Article {i} takes {} days to arrive from our warehouse", i + 2);
    (1..=20).map(|i| HeldOutExample::new(i, &format!("How long does article {i} take?"), &answer(i))).collect()
}

/// The first `count` answers by heart.
fn by_heart(count: usize) -> HashMap<String, String> {
    examples().into_iter().take(count).map(|e| (e.question().to_owned(), e.reference)).collect()
}

struct Classroom {
    engine: Engine,
    tuned: String,
    asked: Arc<Mutex<Vec<String>>>,
    _bench: Bench,
}

impl Classroom {
    fn new(school: School) -> Self {
        let bench = Bench::new();
        let tuned = bench.tuned();
        let data = DataDir::open(bench.folder.path()).expect("a data folder");
        let trainer = Arc::clone(&bench.trainer) as Arc<dyn Trainer>;
        let asked = Arc::clone(&school.asked);
        let engine =
            Engine::open(&data, ServedModels::new(school), Some(trainer), EngineOptions::default()).expect("an engine");
        Self { engine, tuned, asked, _bench: bench }
    }

    fn request(&self) -> TunedEvaluationRequest {
        TunedEvaluationRequest::new(&self.tuned, examples())
    }
}

#[test]
fn a_better_model_is_called_better_on_every_measure() {
    let room = Classroom::new(School { tuned: by_heart(16), ..School::default() });
    let request = TunedEvaluationRequest { pattern: Some("^Article [0-9]+".into()), ..room.request() };
    let request = TunedEvaluationRequest { primary: Some(Measure::TokenF1), ..request };
    let cancel = CancelToken::new();
    let evaluation = room.engine.evaluate_tuned(&request, &NoProgress, &cancel).expect("an evaluation");
    assert_eq!((evaluation.base.as_str(), evaluation.questions, evaluation.arms.len()), (BASE, 20, 2));
    let tuned = &evaluation.arms[1];
    assert!((tuned.exact_match.mean - 0.8).abs() < 1e-9 && tuned.exact_match.low < 0.8);
    assert!(tuned.bleu > 60.0 && evaluation.arms[0].bleu < 1.0);
    assert!(tuned.perplexity.expect("scored") < evaluation.arms[0].perplexity.expect("scored"));
    assert!((evaluation.arms[0].perplexity.expect("scored") - 8.0).abs() < 1e-3);
    assert!((tuned.token_accuracy.expect("scored") - 0.8).abs() < 1e-9);
    assert_eq!(evaluation.comparisons.len(), 5);
    for comparison in &evaluation.comparisons {
        assert_eq!(comparison.outcome(), Outcome::Better, "{comparison:?}");
    }
    assert!(evaluation.verdict.starts_with("On 20 held-out questions the tuned model scores token F1 0.8"));
    assert!(evaluation.verdict.contains("p < 0.001): it is better."), "{}", evaluation.verdict);
    assert!(evaluation.verdict.contains("20 questions are few"));
    let again = room.engine.evaluate_tuned(&request, &NoProgress, &cancel).expect("an evaluation");
    assert_eq!((again.comparisons, again.verdict), (evaluation.comparisons.clone(), evaluation.verdict.clone()));
    let json = serde_json::to_value(&evaluation).expect("JSON");
    assert_eq!(json["arms"][1]["tuned"], true);
    assert_eq!(json["examples"][0]["answers"].as_array().map(Vec::len), Some(2));
    let shown = evaluation.render();
    assert!(shown.contains("pattern match") && shown.contains(&evaluation.verdict), "{shown}");
    assert!(evaluation.render_questions().contains("line 20: How long does article 20 take?"));
}

#[test]
fn equal_models_are_not_told_apart_and_worse_ones_are_named() {
    let room = Classroom::new(School { base: by_heart(9), tuned: by_heart(10), ..School::default() });
    let evaluate = |room: &Classroom| {
        room.engine.evaluate_tuned(&room.request(), &NoProgress, &CancelToken::new()).expect("an evaluation")
    };
    let evaluation = evaluate(&room);
    assert_eq!(evaluation.primary_comparison().map(Comparison::outcome), Some(Outcome::Undecided));
    assert!(evaluation.verdict.contains("no difference can be shown; on so many questions a true difference of 0."));
    let room = Classroom::new(School { base: by_heart(20), tuned: by_heart(3), ..School::default() });
    assert!(evaluate(&room).verdict.contains("it is worse"));
}

#[test]
fn with_a_collection_both_models_also_read_passages() {
    let room = Classroom::new(School { tuned: by_heart(20), ..School::default() });
    let document = Document {
        id: DocumentId::new("delivery").expect("an id"),
        title: None,
        text: "Article 7 takes nine days: how long does it take? Our warehouse sends each article in days.".into(),
        attributes: Attributes::new(),
    };
    room.engine
        .ingest_documents("faq", vec![document], &NoProgress, &CancelToken::new())
        .expect("the document is taken in");
    room.asked.lock().clear();
    let request = TunedEvaluationRequest { collection: Some("faq".into()), ..room.request() };
    let evaluation = room.engine.evaluate_tuned(&request, &NoProgress, &CancelToken::new()).expect("an evaluation");
    let arms: Vec<Arm> = evaluation.arms.iter().map(|summary| summary.arm).collect();
    let arm = |tuned, retrieval| Arm { tuned, retrieval };
    assert_eq!(arms, [arm(false, false), arm(true, false), arm(false, true), arm(true, true)]);
    let asked = room.asked.lock().clone();
    assert!(asked.iter().any(|prompt| prompt.contains("[1] Article 7 takes nine days")), "{asked:#?}");
    assert!(asked[..40].iter().all(|prompt| !prompt.contains("[1]")), "the first two arms see no passages");
    assert!(evaluation.comparisons.iter().any(|c| c.retrieval && c.measure == Measure::RougeL));
    assert!(evaluation.verdict.contains("With retrieval from \"faq\" it "), "{}", evaluation.verdict);
    let missing = TunedEvaluationRequest { collection: Some("none".into()), ..room.request() };
    let error = room.engine.evaluate_tuned(&missing, &NoProgress, &CancelToken::new()).expect_err("no collection");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn labels_are_scored_as_labels() {
    let labelled: Vec<HeldOutExample> = (1..=12)
        .map(|i| HeldOutExample::new(i, &format!("message {i}"), if i % 2 == 0 { "refund" } else { "shipping" }))
        .collect();
    let known = labelled.iter().take(10).map(|e| (e.question().to_owned(), e.reference.clone())).collect();
    let room = Classroom::new(School { tuned: known, ..School::default() });
    let request = TunedEvaluationRequest::new(&room.tuned, labelled);
    let evaluation = room.engine.evaluate_tuned(&request, &NoProgress, &CancelToken::new()).expect("an evaluation");
    assert_eq!(evaluation.primary, Measure::ExactMatch);
    let classes = evaluation.arms[1].classification.as_ref().expect("labels");
    assert!((classes.accuracy - 10.0 / 12.0).abs() < 1e-9 && classes.unlabelled == 2);
    assert!(evaluation.render().contains("label F1, macro"));
}

#[test]
fn long_answers_are_cut_and_bad_requests_name_their_field() {
    let room = Classroom::new(School { tuned: by_heart(20), ..School::default() });
    let cancel = CancelToken::new();
    let short = TunedEvaluationRequest { max_tokens: 2, ..room.request() };
    let evaluation = room.engine.evaluate_tuned(&short, &NoProgress, &cancel).expect("an evaluation");
    assert_eq!(evaluation.arms[1].cut_off, 20);
    let refused = |request: TunedEvaluationRequest| {
        let error = room.engine.evaluate_tuned(&request, &NoProgress, &cancel).expect_err("refused");
        (error.kind(), error.param().map(str::to_owned))
    };
    let invalid = |param: &str| (ErrorKind::InvalidInput, Some(param.to_owned()));
    let good = room.request();
    assert_eq!(refused(TunedEvaluationRequest { examples: Vec::new(), ..good.clone() }), invalid("examples"));
    assert_eq!(refused(TunedEvaluationRequest { max_tokens: 0, ..good.clone() }), invalid("max_tokens"));
    assert_eq!(refused(TunedEvaluationRequest { pattern: Some("(".into()), ..good.clone() }), invalid("pattern"));
    assert_eq!(refused(TunedEvaluationRequest { primary: Some(Measure::Match), ..good.clone() }), invalid("pattern"));
    assert_eq!(refused(TunedEvaluationRequest { base: Some(room.tuned.clone()), ..good.clone() }), invalid("base"));
    assert_eq!(refused(TunedEvaluationRequest { tuned: "ft:none".into(), ..good.clone() }).0, ErrorKind::NotFound);
    cancel.cancel();
    assert_eq!(refused(good).0, ErrorKind::Cancelled);
}

#[test]
fn only_a_better_model_that_forgot_nothing_becomes_the_default() {
    let promote = |school: School| {
        let room = Classroom::new(school);
        let report =
            room.engine.promote_if_better(&room.request(), &NoProgress, &CancelToken::new()).expect("a decision");
        let default = room.engine.default_chat_model().expect("a default");
        assert_eq!(report.promoted, default == room.tuned, "{default}");
        assert!(report.render().contains(&report.decision));
        (report, room)
    };
    let (better, room) = promote(School { tuned: by_heart(16), ..School::default() });
    assert!(better.promoted && better.general.holds, "{}", better.decision);
    assert!(better.decision.contains("answers by default from now on"), "{}", better.decision);
    assert!((better.general.base - 8.0 / 30.0).abs() < 1e-9, "{:?}", better.general.answers);
    let promotion = room.engine.promotion().expect("readable").expect("promoted");
    assert!(promotion.evidence["verdict"].as_str().is_some_and(|verdict| verdict.contains("it is better")));

    let (equal, _) = promote(School { base: by_heart(9), tuned: by_heart(10), ..School::default() });
    assert!(!equal.promoted && equal.decision.contains("it is not shown to be better"), "{}", equal.decision);
    let (worse, _) = promote(School { base: by_heart(20), ..School::default() });
    assert!(!worse.promoted && worse.decision.contains("it is worse than tiny-chat"), "{}", worse.decision);
    let (forgetful, _) = promote(School { tuned: by_heart(16), tuned_forgets: true, ..School::default() });
    assert!(!forgetful.promoted && !forgetful.general.holds);
    assert!(forgetful.decision.contains("it has forgotten too much: on 30 general questions it is right in 0 %"));
    assert!(forgetful.render().contains("lost: What is the capital of France? (now: I am not sure)"));
}
