//! The default chat model: right answers, the same every time, and how fast.

use std::path::PathBuf;
use std::sync::OnceLock;

use anser_core::{
    CancelToken, ChatMessage, FinishReason, GenerateOptions, Generation, Generator, NoProgress, Prompt, Role,
};
use anser_generate::{BaseModel, GeneratorOptions, LlamaGenerator};
use anser_models::{DEFAULT_CHAT, ModelFiles, ModelStore, ModelStoreOptions};

use crate::adapters;

/// The files of the default chat model, downloaded on first use.
pub(crate) fn files() -> ModelFiles {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cache = std::env::var_os("ANSER_MODELS_DIR").map_or_else(|| workspace.join("target/models"), PathBuf::from);
    let store = ModelStore::new(ModelStoreOptions { cache, offline: false, local: None, python: None });
    store.ensure(DEFAULT_CHAT, &NoProgress).unwrap()
}

/// The default chat model, loaded once for all tests.
pub(crate) fn generator() -> &'static LlamaGenerator {
    static LOADED: OnceLock<LlamaGenerator> = OnceLock::new();
    LOADED.get_or_init(|| LlamaGenerator::load(&files(), &GeneratorOptions::default()).unwrap())
}

fn ask(question: &str, options: &GenerateOptions) -> (Generation, String) {
    let mut streamed = String::new();
    let generation = generator()
        .generate(Prompt::Chat(&[ChatMessage::new(Role::User, question)]), options, &CancelToken::new(), &mut |delta| {
            assert!(!delta.is_empty());
            streamed.push_str(delta);
        })
        .unwrap();
    (generation, streamed)
}

#[test]
fn the_capital_of_france_is_paris_every_time() {
    assert_eq!(generator().info().context_length, 4096);
    let options = GenerateOptions { max_tokens: Some(24), ..GenerateOptions::default() };
    let (first, streamed) = ask("What is the capital of France?", &options);
    assert!(first.text.contains("Paris"), "{}", first.text);
    assert_eq!(first.finish_reason, FinishReason::Stop);
    assert_eq!(streamed, first.text);
    assert_eq!(ask("What is the capital of France?", &options).0.text, first.text);
}

#[test]
fn a_seed_decides_the_text() {
    let options = |seed| GenerateOptions {
        max_tokens: Some(24),
        temperature: 0.9,
        top_p: 0.95,
        seed: Some(seed),
        ..GenerateOptions::default()
    };
    let tell = |seed| ask("Tell me a story about a lighthouse.", &options(seed)).0.text;
    let first = tell(1);
    assert_eq!(tell(1), first);
    assert_ne!(tell(2), first);
}

#[test]
fn the_template_adds_its_own_instructions_only_when_there_are_none() {
    let user = ChatMessage::new(Role::User, "Hello");
    let alone = generator().count_prompt_tokens(std::slice::from_ref(&user)).unwrap();
    let system = ChatMessage::new(Role::System, "Be brief.");
    let instructed = generator().count_prompt_tokens(&[system, user]).unwrap();
    assert!(alone > instructed + 8, "{alone} {instructed}");
}

#[test]
fn a_prompt_of_many_chunks_is_read_and_its_speed_printed() {
    let passage = "The kettle holds one litre and boils it in three minutes; the lid is brass. ".repeat(28);
    let question = format!("{passage}\nHow many litres does the kettle hold?");
    let options = GenerateOptions { max_tokens: Some(48), ..GenerateOptions::default() };
    let (generation, _) = ask(&question, &options);
    assert!(generation.usage.prompt_tokens > 512);
    assert!(generation.text.contains("one litre"), "{}", generation.text);
    let rate = |tokens: usize, time: std::time::Duration| tokens as f64 / time.as_secs_f64();
    println!(
        "prefill {:.0} tokens/s over {} tokens, decode {:.1} tokens/s over {}, {}",
        rate(generation.usage.prompt_tokens, generation.timings.prefill),
        generation.usage.prompt_tokens,
        rate(generation.usage.completion_tokens, generation.timings.decode),
        generation.usage.completion_tokens,
        resident_memory()
    );
}

#[test]
fn an_adapter_costs_megabytes_and_requests_at_once_share_each_reading_of_the_weights() {
    let base = BaseModel::open(&files().path("model.gguf").unwrap()).unwrap();
    let tuned = generator().with_adapter("tuned", adapters::adapter(&base, 8, 0.01)).unwrap();
    assert!(tuned.memory_bytes() < 12 << 20, "{}", tuned.memory_bytes());
    assert!(generator().memory_bytes() > 500 << 20, "{}", generator().memory_bytes());

    let options = GenerateOptions { max_tokens: Some(40), ..GenerateOptions::default() };
    let tell = |model: &LlamaGenerator| {
        let messages = [ChatMessage::new(Role::User, "Tell me a long story about a lighthouse.")];
        model.generate(Prompt::Chat(&messages), &options, &CancelToken::new(), &mut |_| ()).unwrap()
    };
    let rate =
        |generation: &Generation| generation.usage.completion_tokens as f64 / generation.timings.decode.as_secs_f64();
    let (plain, through) = (tell(generator()), tell(&tuned));
    println!("decode {:.1} tokens/s alone, {:.1} through an adapter of rank 8", rate(&plain), rate(&through));
    let together: Vec<Generation> = std::thread::scope(|scope| {
        let models = [generator(), &tuned, generator(), &tuned];
        let running = models.map(|model| scope.spawn(|| tell(model)));
        running.map(|thread| thread.join().unwrap()).into()
    });
    println!("decode {:.1} tokens/s in four requests at once", together.iter().map(rate).sum::<f64>());
    for (generation, alone) in together.iter().zip([&plain, &through, &plain, &through]) {
        assert_eq!(generation.text, alone.text);
    }
}

/// Resident memory of this process now and at its highest, where the system tells.
fn resident_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")).collect::<Vec<_>>().join(", ")
}
