//! Models that do what the words in their input say.
//!
//! A text with `PANIC` makes a model panic, with `BUSY` report a full queue, with `TOO LONG` refuse the input. `SLOW`
//! makes the generator write word after word until it is cancelled, `WAIT` makes it wait for [`Fake::release`] before
//! the first word, `SAY "…"` makes it say that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anser_core::{
    CancelToken, ChatMessage, EmbedPurpose, Embedded, Embedder, EmbedderInfo, Embedding, Error, ErrorKind,
    FinishReason, GenerateOptions, Generation, GenerationTimings, Generator, GeneratorInfo, Prompt, Reranker, Result,
    Role, TokenScores, TokenUsage,
};
use anser_engine::{ModelLoader, TunedModel};
use parking_lot::Mutex;

pub(crate) const EMBEDDER: &str = "fake-embedder";
pub(crate) const CHAT: &str = "org/fake:chat";
pub(crate) const RERANKER: &str = "fake-reranker";

/// Dimensions of the embedder, and the longest text it reads, in words.
pub(crate) const DIMENSION: usize = 32;
const MAX_WORDS: usize = 64;

/// What the models saw and what they are told to do; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Shared>);

#[derive(Default)]
struct Shared {
    generations: AtomicUsize,
    cancelled: AtomicUsize,
    running: AtomicUsize,
    released: AtomicBool,
    unloadable: AtomicBool,
    calm_embedder: AtomicBool,
    purposes: Mutex<Vec<EmbedPurpose>>,
    decoding: Mutex<Option<GenerateOptions>>,
    conversation: Mutex<Vec<ChatMessage>>,
    prompt_text: Mutex<Option<String>>,
    generated_by: Mutex<String>,
}

impl Fake {
    /// Generations that ended because they were cancelled.
    pub(crate) fn cancelled(&self) -> usize {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Generations begun so far.
    pub(crate) fn generations(&self) -> usize {
        self.0.generations.load(Ordering::SeqCst)
    }

    /// Generations that are running now.
    pub(crate) fn running(&self) -> usize {
        self.0.running.load(Ordering::SeqCst)
    }

    /// Lets every `WAIT` go on.
    pub(crate) fn release(&self) {
        self.0.released.store(true, Ordering::SeqCst);
    }

    /// Whether models cannot be loaded.
    pub(crate) fn set_unloadable(&self, unloadable: bool) {
        self.0.unloadable.store(unloadable, Ordering::SeqCst);
    }

    /// Makes the embedder take scripts for ordinary text.
    pub(crate) fn calm_embedder(&self) {
        self.0.calm_embedder.store(true, Ordering::SeqCst);
    }

    /// What texts were embedded for, in order.
    pub(crate) fn purposes(&self) -> Vec<EmbedPurpose> {
        self.0.purposes.lock().clone()
    }

    /// The options of the last generation.
    pub(crate) fn decoding(&self) -> GenerateOptions {
        self.0.decoding.lock().clone().unwrap()
    }

    /// The messages of the last generation.
    pub(crate) fn conversation(&self) -> Vec<ChatMessage> {
        self.0.conversation.lock().clone()
    }

    /// The text of the last generation that was asked to continue one.
    pub(crate) fn prompt_text(&self) -> Option<String> {
        self.0.prompt_text.lock().clone()
    }

    /// The model of the last generation.
    pub(crate) fn generated_by(&self) -> String {
        self.0.generated_by.lock().clone()
    }

    fn loadable(&self) -> Result<()> {
        if self.0.unloadable.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the model is not downloaded and the network is off"));
        }
        Ok(())
    }
}

impl ModelLoader for Fake {
    fn embedder_name(&self) -> &str {
        EMBEDDER
    }
    fn reranker_name(&self) -> Option<&str> {
        Some(RERANKER)
    }
    fn generator_name(&self) -> &str {
        CHAT
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        self.loadable()?;
        let info = EmbedderInfo {
            model: EMBEDDER.to_owned(),
            dimension: DIMENSION,
            max_tokens: MAX_WORDS,
            fingerprint: "f".repeat(64),
        };
        Ok(Arc::new(FakeEmbedder { fake: self.clone(), info }))
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        self.loadable()?;
        Ok(Arc::new(SharedWords))
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        self.loadable()?;
        let info = GeneratorInfo { model: CHAT.to_owned(), context_length: 2048 };
        Ok(Arc::new(FakeGenerator { fake: self.clone(), info, reply: REPLY.to_owned() }))
    }
    fn tuned(&self, model: &TunedModel) -> Result<Arc<dyn Generator>> {
        self.loadable()?;
        assert!(model.folder.join("adapter_config.json").is_file(), "{}", model.folder.display());
        let info = GeneratorInfo { model: model.id.clone(), context_length: 2048 };
        Ok(Arc::new(FakeGenerator { fake: self.clone(), info, reply: format!("{} says hello.", model.id) }))
    }
}

/// The failures that words ask for.
fn obey(text: &str) -> Result<()> {
    assert!(!text.contains("PANIC"), "the script says so");
    if text.contains("BUSY") {
        return Err(Error::new(ErrorKind::Overloaded, "the queue is full; try again in a moment"));
    }
    if text.contains("TOO LONG") {
        return Err(Error::new(ErrorKind::TooLarge, "the input is longer than the context"));
    }
    Ok(())
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2).map(str::to_lowercase)
}

/// Lengths to which its vectors may be cut.
pub(crate) const SHORTER_DIMENSIONS: [usize; 2] = [12, 16];

struct FakeEmbedder {
    fake: Fake,
    info: EmbedderInfo,
}

impl Embedder for FakeEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    /// Counts words in buckets, so that texts with common words are near each other.
    fn embed(&self, texts: &[String], purpose: EmbedPurpose, cancel: &CancelToken) -> Result<Vec<Embedded>> {
        cancel.check()?;
        self.fake.0.purposes.lock().push(purpose);
        let embed = |text: &String| {
            if !self.fake.0.calm_embedder.load(Ordering::SeqCst) {
                obey(text)?;
            }
            let mut values = vec![0.01; DIMENSION];
            for word in words(text) {
                let hash = word.bytes().fold(7_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
                values[hash % DIMENSION] += 1.0;
            }
            let tokens = text.split_whitespace().count().max(1);
            let embedding = Embedding::normalize(values)?;
            Ok(Embedded { embedding, tokens: tokens.min(MAX_WORDS), truncated: tokens > MAX_WORDS })
        };
        texts.iter().map(embed).collect()
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(text.split_whitespace().count())
    }

    fn shorter_dimensions(&self) -> &[usize] {
        &SHORTER_DIMENSIONS
    }
}

/// Relevant is what has a word in common with the query.
struct SharedWords;

impl Reranker for SharedWords {
    fn model(&self) -> &'static str {
        RERANKER
    }

    fn rerank(&self, query: &str, passages: &[String], _: &CancelToken) -> Result<Vec<f32>> {
        let asked: Vec<String> = words(query).collect();
        let shared = |passage: &String| words(passage).filter(|word| asked.contains(word)).count();
        Ok(passages.iter().map(|passage| shared(passage) as f32 * 20.0 - 10.0).collect())
    }
}

struct FakeGenerator {
    fake: Fake,
    info: GeneratorInfo,
    reply: String,
}

/// What the generator says unless the script wants something else.
pub(crate) const REPLY: &str = "Parcels are returned within 30 days.";

/// Counts a generation as running while it does.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Generator for FakeGenerator {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(text.split_whitespace().count())
    }

    fn count_prompt_tokens(&self, messages: &[ChatMessage]) -> Result<usize> {
        Ok(messages.iter().map(|message| message.content.split_whitespace().count()).sum())
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
        let shared = &self.fake.0;
        shared.generated_by.lock().clone_from(&self.info.model);
        *shared.decoding.lock() = Some(options.clone());
        let messages = match prompt {
            Prompt::Chat(messages) => messages.to_vec(),
            Prompt::Text(text) => {
                *shared.prompt_text.lock() = Some(text.to_owned());
                vec![ChatMessage::new(Role::User, text)]
            }
        };
        shared.conversation.lock().clone_from(&messages);
        shared.generations.fetch_add(1, Ordering::SeqCst);
        shared.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(&shared.running);
        let script = messages.last().map(|message| message.content.as_str()).unwrap_or_default();
        obey(script)?;
        let slow = script.contains("SLOW");
        while script.contains("WAIT") && !shared.released.load(Ordering::SeqCst) && !cancel.is_cancelled() {
            std::thread::sleep(Duration::from_millis(2));
        }

        // A script in quotes is what is said.
        let said = script.split_once("SAY \"").and_then(|(_, rest)| rest.split_once('"')).map(|(said, _)| said);
        let reply = said.unwrap_or(&self.reply);
        let mut generation = Generation {
            text: String::new(),
            finish_reason: FinishReason::Stop,
            usage: TokenUsage { prompt_tokens: self.count_prompt_tokens(&messages)?, completion_tokens: 0 },
            timings: GenerationTimings::default(),
        };
        let pieces: Box<dyn Iterator<Item = &str>> =
            if slow { Box::new(std::iter::repeat("word ")) } else { Box::new(reply.split_inclusive(' ')) };
        for piece in pieces {
            if cancel.is_cancelled() {
                shared.cancelled.fetch_add(1, Ordering::SeqCst);
                generation.finish_reason = FinishReason::Cancelled;
                break;
            }
            if options.max_tokens.is_some_and(|max| generation.usage.completion_tokens >= max) {
                generation.finish_reason = FinishReason::Length;
                break;
            }
            generation.usage.completion_tokens += 1;
            generation.text.push_str(piece);
            on_delta(piece);
            if slow {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(generation)
    }
}
