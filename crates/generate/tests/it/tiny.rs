//! Behaviour of the generator, shown with models small enough to know their every token.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use anser_core::{
    CancelToken, ChatMessage, ErrorKind, FinishReason, GenerateOptions, Generation, Generator, Prompt, Role,
};
use anser_generate::{GeneratorOptions, LlamaGenerator};
use candle_core::quantized::GgmlDType;

use crate::tiny_model::{IM_END, IM_START, TinyModel};

fn open(model: &TinyModel, options: &GeneratorOptions) -> LlamaGenerator {
    let folder = tempfile::tempdir().unwrap();
    // The folder is gone when this returns: nothing of the file is needed after loading.
    LlamaGenerator::open("tiny", &model.write(folder.path()), options).unwrap()
}

fn load(model: &TinyModel) -> LlamaGenerator {
    open(model, &GeneratorOptions { threads: 1, ..GeneratorOptions::default() })
}

/// A model that answers every prompt with `reply` and then ends its turn. No byte may occur twice in the reply.
fn speaking(reply: &str) -> TinyModel {
    let tokens: Vec<u32> = "\n".bytes().chain(reply.bytes()).map(u32::from).chain([IM_END]).collect();
    TinyModel { script: tokens.windows(2).map(|pair| (pair[0], pair[1])).collect(), ..TinyModel::default() }
}

/// A model that answers every prompt with `letters` over and over.
fn repeating(letters: &str) -> TinyModel {
    let mut model = speaking(letters);
    let (first, last) = (letters.bytes().next().unwrap(), letters.bytes().last().unwrap());
    model.script.pop();
    model.script.push((last.into(), first.into()));
    model
}

fn user(content: &str) -> Vec<ChatMessage> {
    vec![ChatMessage::new(Role::User, content)]
}

/// A generation and its deltas.
fn say(generator: &LlamaGenerator, content: &str, options: &GenerateOptions) -> (Generation, Vec<String>) {
    let mut deltas = Vec::new();
    let generation = generator
        .generate(Prompt::Chat(&user(content)), options, &CancelToken::new(), &mut |delta| {
            deltas.push(delta.to_owned());
        })
        .unwrap();
    assert_eq!(deltas.concat(), generation.text);
    assert!(deltas.iter().all(|delta| !delta.is_empty()));
    (generation, deltas)
}

fn at_most(tokens: usize) -> GenerateOptions {
    GenerateOptions { max_tokens: Some(tokens), ..GenerateOptions::default() }
}

#[test]
fn the_script_is_spoken_in_whole_characters() {
    let generator = load(&speaking("Hé🎉lo"));
    let (generation, deltas) = say(&generator, "hi", &GenerateOptions::default());
    assert_eq!(deltas, ["H", "é", "🎉", "l", "o"]);
    assert_eq!(generation.finish_reason, FinishReason::Stop);
    assert_eq!(generation.usage.completion_tokens, 9);
    // <|im_start|> user \n hi <|im_end|> \n <|im_start|> assistant \n
    assert_eq!(generation.usage.prompt_tokens, 1 + 4 + 1 + 2 + 1 + 1 + 1 + 9 + 1);
    assert_eq!(generator.count_prompt_tokens(&user("hi")).unwrap(), generation.usage.prompt_tokens);
    assert_eq!(generator.count_tokens("hi 🎉").unwrap(), 7);
    assert_eq!(generator.info().model, "tiny");
    assert!(generation.timings.prefill.as_nanos() > 0 && generation.timings.decode.as_nanos() > 0);
}

#[test]
fn a_reply_cut_inside_a_character_leaves_it_out() {
    let generator = load(&speaking("Hé🎉lo"));
    let (generation, _) = say(&generator, "hi", &at_most(5));
    assert_eq!((generation.text.as_str(), generation.finish_reason), ("Hé", FinishReason::Length));
    assert_eq!(generation.usage.completion_tokens, 5);
}

#[test]
fn a_stop_text_ends_the_reply_before_it() {
    let generator = load(&speaking("one, tw"));
    let stop = |stop: &str| GenerateOptions { stop: vec!["zzz".to_owned(), stop.to_owned()], ..at_most(50) };
    let (generation, _) = say(&generator, "hi", &stop(", t"));
    assert_eq!((generation.text.as_str(), generation.finish_reason), ("one", FinishReason::Stop));
    let (generation, deltas) = say(&generator, "hi", &stop(", x"));
    assert_eq!((generation.text.as_str(), generation.finish_reason), ("one, tw", FinishReason::Stop));
    assert!(deltas.contains(&", t".to_owned()), "held text comes out as soon as it cannot be the stop: {deltas:?}");
    let (generation, _) = say(&generator, "hi", &stop("w!"));
    assert_eq!(generation.text, "one, tw");
}

#[test]
fn a_model_that_begins_another_turn_has_ended_its_own() {
    let mut model = speaking("ok");
    model.script.pop();
    model.script.push((b'k'.into(), IM_START));
    let (generation, _) = say(&load(&model), "hi", &at_most(20));
    assert_eq!((generation.text.as_str(), generation.finish_reason), ("ok", FinishReason::Stop));
}

#[test]
fn the_end_of_the_context_ends_the_reply() {
    let generator = load(&TinyModel { context: 100, ..repeating("ab") });
    assert_eq!(generator.info().context_length, 100);
    let (generation, _) = say(&generator, "hi", &GenerateOptions::default());
    assert_eq!(generation.finish_reason, FinishReason::Length);
    assert_eq!(generation.usage.prompt_tokens + generation.usage.completion_tokens, 100);
}

#[test]
fn the_whole_context_of_the_decoder_can_be_used() {
    let generator = load(&TinyModel { layers: 1, ..repeating("ab") });
    assert_eq!(generator.info().context_length, 4096, "the decoder's limit is below the model's 8192");
    let (generation, _) = say(&generator, &"x".repeat(4000), &GenerateOptions::default());
    assert_eq!(generation.usage.prompt_tokens + generation.usage.completion_tokens, 4096);
}

#[test]
fn a_prompt_that_fills_the_context_is_too_large() {
    let generator =
        open(&speaking("ok"), &GeneratorOptions { context_length: Some(50), ..GeneratorOptions::default() });
    let error = generator
        .generate(Prompt::Chat(&user(&"x".repeat(60))), &at_most(1), &CancelToken::new(), &mut |_| ())
        .unwrap_err();
    assert_eq!((error.kind(), error.param()), (ErrorKind::TooLarge, Some("messages")));
    assert!(error.to_string().contains("79 tokens") && error.to_string().contains("holds 50"), "{error}");
    let huge = user(&"x".repeat(50_000_000));
    let error = generator.generate(Prompt::Chat(&huge), &at_most(1), &CancelToken::new(), &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(say(&generator, "hi", &at_most(9)).0.text, "ok");
}

#[test]
fn quantized_weights_speak_like_their_f32_values() {
    // Zeros survive any quantization, so the script does too; a wrong unpacking would break it.
    for dtype in [GgmlDType::Q4_1, GgmlDType::Q8_0, GgmlDType::F16] {
        let generator = load(&TinyModel { dtype, ..speaking("right") });
        assert_eq!(say(&generator, "hi", &at_most(9)).0.text, "right");
    }
}

#[test]
fn a_seed_decides_the_text_and_greedy_needs_none() {
    let generator = load(&TinyModel::default());
    let text = |options: &GenerateOptions| say(&generator, "hi", options).0.text;
    assert_eq!(text(&at_most(40)), text(&at_most(40)));
    let seeded = |seed| GenerateOptions { temperature: 1.0, top_p: 0.9, seed, ..at_most(40) };
    assert_eq!(text(&seeded(Some(5))), text(&seeded(Some(5))));
    assert_ne!(text(&seeded(Some(5))), text(&seeded(Some(6))));
    assert_ne!(text(&seeded(None)), text(&seeded(None)));
}

#[test]
fn a_repetition_penalty_breaks_a_loop() {
    let generator = load(&repeating("ab"));
    let options = |repetition_penalty| GenerateOptions { repetition_penalty, ..at_most(30) };
    assert_eq!(say(&generator, "hi", &options(1.0)).0.text, "ab".repeat(15));
    let penalised = say(&generator, "hi", &options(10.0)).0.text;
    assert_ne!(penalised, "ab".repeat(15));
}

#[test]
fn more_than_the_usual_context_is_there_for_who_asks() {
    let model = speaking("ok");
    let length = |context_length| {
        open(&model, &GeneratorOptions { context_length, threads: 1, ..GeneratorOptions::default() })
            .info()
            .context_length
    };
    assert_eq!([None, Some(6000), Some(9000)].map(length), [4096, 6000, 8192]);
    let long = open(&model, &GeneratorOptions { context_length: Some(8192), ..GeneratorOptions::default() });
    let (generation, _) = say(&long, &"x".repeat(5000), &at_most(5));
    assert!(generation.usage.prompt_tokens > 5000);
    assert_eq!(generation.text, "ok");
}

#[test]
fn a_context_of_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = GeneratorOptions { context_length: Some(0), ..GeneratorOptions::default() };
    let error = LlamaGenerator::open("tiny", &speaking("ok").write(folder.path()), &options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().starts_with("context_length"), "{error}");
}

#[test]
fn wrong_options_and_no_messages_are_refused() {
    let generator = load(&speaking("ok"));
    let refused = |messages: &[ChatMessage], options: &GenerateOptions| {
        generator.generate(Prompt::Chat(messages), options, &CancelToken::new(), &mut |_| ()).unwrap_err()
    };
    let error = refused(&user("hi"), &GenerateOptions { temperature: 3.0, ..GenerateOptions::default() });
    assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidInput, Some("temperature")));
    let error = refused(&[], &GenerateOptions::default());
    assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidInput, Some("messages")));
}

#[test]
fn a_cancelled_reply_keeps_what_it_has() {
    let generator = load(&repeating("abc"));
    let cancel = CancelToken::new();
    let mut seen = 0;
    let generation = generator
        .generate(Prompt::Chat(&user("hi")), &GenerateOptions::default(), &cancel, &mut |_| {
            seen += 1;
            if seen == 5 {
                cancel.cancel();
            }
        })
        .unwrap();
    assert_eq!(generation.finish_reason, FinishReason::Cancelled);
    assert!(generation.text.starts_with("abcab") && generation.text.len() < 4000, "{}", generation.text.len());
    assert_eq!(generation.usage.completion_tokens, generation.text.len());
}

#[test]
fn a_request_cancelled_before_it_starts_writes_nothing() {
    let generator = load(&repeating("abc"));
    let cancel = CancelToken::new();
    cancel.cancel();
    let prompt = user(&"x".repeat(3000));
    let generation =
        generator.generate(Prompt::Chat(&prompt), &GenerateOptions::default(), &cancel, &mut |_| ()).unwrap();
    assert_eq!((generation.finish_reason, generation.text.as_str()), (FinishReason::Cancelled, ""));
    assert!(generation.usage.prompt_tokens > 3000);
}

#[test]
fn a_full_queue_is_overloaded_and_recovers() {
    let model = TinyModel { layers: 8, ..repeating("abc") };
    let generator = open(&model, &GeneratorOptions { queue: 1, active: 1, threads: 1, ..GeneratorOptions::default() });
    let (running, gone) = (CancelToken::new(), CancelToken::new());
    gone.cancel();
    thread::scope(|scope| {
        let (started, first_delta) = std::sync::mpsc::channel();
        let (generator, cancel) = (&generator, running.clone());
        scope.spawn(move || {
            generator
                .generate(Prompt::Chat(&user("hi")), &GenerateOptions::default(), &cancel, &mut |_| {
                    started.send(()).ok();
                })
                .unwrap()
        });
        first_delta.recv().unwrap();
        // Its caller leaves, but its place in the queue is taken until the worker comes to it.
        let queued = generator.generate(Prompt::Chat(&user("hi")), &at_most(1), &gone, &mut |_| ()).unwrap();
        assert_eq!(queued.finish_reason, FinishReason::Cancelled);
        assert_eq!(queued.usage.completion_tokens, 0);
        let error = generator.generate(Prompt::Chat(&user("hi")), &at_most(1), &gone, &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        running.cancel();
    });
    // The worker gives the abandoned place back when it comes to it, which may be a moment from now.
    let recovered = (0..1_000).find_map(|_| {
        let reply = generator.generate(Prompt::Chat(&user("hi")), &at_most(4), &CancelToken::new(), &mut |_| ());
        match reply {
            Err(error) if error.kind() == ErrorKind::Overloaded => {
                thread::sleep(std::time::Duration::from_millis(10));
                None
            }
            reply => Some(reply.unwrap()),
        }
    });
    assert_eq!(recovered.map(|reply| reply.text).as_deref(), Some("abca"));
}

#[test]
fn requests_from_many_threads_are_all_answered() {
    let generator = load(&speaking("yes!"));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(say(&generator, "hi", &at_most(9)).0.text, "yes!"));
        }
    });
}

#[test]
fn a_caller_that_panics_does_not_stop_the_next() {
    let generator = load(&repeating("abc"));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        generator.generate(Prompt::Chat(&user("hi")), &GenerateOptions::default(), &CancelToken::new(), &mut |_| {
            panic!("mine")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(say(&generator, "hi", &at_most(3)).0.text, "abc");
}
