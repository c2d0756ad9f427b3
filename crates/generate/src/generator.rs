//! [`LlamaGenerator`]: what the rest of the program sees of a chat model.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anser_core::{
    CancelToken, ChatMessage, FinishReason, GenerateOptions, Generation, GenerationTimings, Generator, GeneratorInfo,
    Prompt, TokenScores, TokenUsage,
};
use anser_models::ModelFiles;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, unbounded};

use crate::GenerateError;
use crate::codec::ChatCodec;
use crate::decoder::Decoder;
use crate::gguf::GgufFile;
use crate::sampling::check_options;
use crate::worker::{self, Event, Finished, Request};

/// Name of the weights in a chat model's folder.
const MODEL_FILE: &str = "model.gguf";
/// How often a caller whose request is still queued looks whether it was cancelled.
const QUEUE_POLL: Duration = Duration::from_millis(20);

/// How to run a chat model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorOptions {
    /// Requests that may wait while one is answered; one more is `Overloaded`. At least 1.
    pub queue: usize,
    /// Most tokens of prompt and reply together, if less than the model's own limit and the decoder's (4,096).
    pub context_length: Option<usize>,
    /// Threads that compute. At least 1.
    pub threads: usize,
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { queue: 32, context_length: None, threads }
    }
}

/// A llama-architecture chat model from a GGUF file, on a thread of its own.
pub struct LlamaGenerator {
    info: GeneratorInfo,
    codec: Arc<ChatCodec>,
    queue: usize,
    /// `None` only while being dropped: closing it ends the worker.
    requests: Option<Sender<Request>>,
    worker: Option<JoinHandle<()>>,
}

impl LlamaGenerator {
    /// Loads `model.gguf` of a catalogued model. Its weights are unpacked to f32: four bytes of memory a weight.
    pub fn load(files: &ModelFiles, options: &GeneratorOptions) -> Result<Self, GenerateError> {
        Self::open(&files.spec.name, &files.path(MODEL_FILE)?, options)
    }

    /// Loads the GGUF file at `path` under the name `model`.
    pub fn open(model: &str, path: &Path, options: &GeneratorOptions) -> Result<Self, GenerateError> {
        let start = Instant::now();
        let queue = options.queue.max(1);
        let mut gguf = GgufFile::open(path)?;
        let config = gguf.llama_config()?;
        let codec = Arc::new(ChatCodec::from_gguf(&gguf, config.vocabulary)?);
        let mut decoder = Decoder::load(&mut gguf, options.threads.max(1), options.context_length)?;
        let info = GeneratorInfo { model: model.to_owned(), context_length: decoder.context_length() };

        let (requests, queued) = bounded(queue);
        let worker = {
            let codec = Arc::clone(&codec);
            thread::Builder::new()
                .name("anser-generate".to_owned())
                .spawn(move || worker::run(&queued, |request| worker::answer(&mut decoder, codec.tokenizer(), request)))
                .map_err(|error| GenerateError::Threads(error.to_string()))?
        };
        tracing::info!(
            model,
            context_length = info.context_length,
            elapsed_ms = start.elapsed().as_millis(),
            "chat model loaded"
        );
        Ok(Self { info, codec, queue, requests: Some(requests), worker: Some(worker) })
    }

    fn submit(
        &self,
        prompt: Prompt<'_>,
        options: &GenerateOptions,
        cancel: &CancelToken,
    ) -> Result<(usize, Receiver<Event>), GenerateError> {
        check_options(options)?;
        let context_length = self.info.context_length;
        let too_long = |prompt_tokens| GenerateError::PromptTooLong { prompt_tokens, context_length };
        // A text of many megabytes is refused before it costs the memory and time of tokenizing it.
        let bytes = match prompt {
            Prompt::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
            Prompt::Text(text) => text.len(),
        };
        let least = self.codec.tokenizer().least_tokens(bytes);
        if least >= context_length {
            return Err(too_long(least));
        }
        let prompt = match prompt {
            Prompt::Chat(messages) => self.codec.encode_prompt(messages)?,
            Prompt::Text(text) => self.codec.encode_text(text)?,
        };
        let prompt_tokens = prompt.len();
        if prompt_tokens >= context_length {
            return Err(too_long(prompt_tokens));
        }
        let (events, received) = unbounded();
        let request =
            Request { prompt, options: options.clone(), cancel: cancel.clone(), submitted: Instant::now(), events };
        let Some(requests) = &self.requests else { return Err(worker_gone()) };
        match requests.try_send(request) {
            Ok(()) => Ok((prompt_tokens, received)),
            Err(TrySendError::Full(_)) => Err(GenerateError::Overloaded { waiting: self.queue }),
            Err(TrySendError::Disconnected(_)) => Err(worker_gone()),
        }
    }
}

impl Generator for LlamaGenerator {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> anser_core::Result<usize> {
        Ok(self.codec.encode_text(text)?.len())
    }

    fn count_prompt_tokens(&self, messages: &[ChatMessage]) -> anser_core::Result<usize> {
        Ok(self.codec.encode_prompt(messages)?.len())
    }

    fn score(&self, _: Prompt<'_>, _: &str, _: &CancelToken) -> anser_core::Result<TokenScores> {
        Err(anser_core::Error::internal("scoring is being built"))
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
    ) -> anser_core::Result<Generation> {
        let submitted = Instant::now();
        let (prompt_tokens, events) = self.submit(prompt, options, cancel)?;
        if !wait_for_start(&events, cancel)? {
            return Ok(Generation {
                text: String::new(),
                finish_reason: FinishReason::Cancelled,
                usage: TokenUsage { prompt_tokens, completion_tokens: 0 },
                timings: GenerationTimings { queued: submitted.elapsed(), ..GenerationTimings::default() },
            });
        }
        let mut text = String::new();
        loop {
            match events.recv().map_err(|_| worker_gone())? {
                Event::Started => {}
                Event::Delta(delta) => {
                    on_delta(&delta);
                    text.push_str(&delta);
                }
                Event::Done(result) => {
                    let Finished { finish_reason, usage, timings } = result?;
                    return Ok(Generation { text, finish_reason, usage, timings });
                }
            }
        }
    }
}

/// Whether the request left the queue (true) or was cancelled in it; the worker skips one whose caller is gone.
fn wait_for_start(events: &Receiver<Event>, cancel: &CancelToken) -> Result<bool, GenerateError> {
    loop {
        match events.recv_timeout(QUEUE_POLL) {
            Ok(_) => return Ok(true),
            Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => return Ok(false),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(worker_gone()),
        }
    }
}

fn worker_gone() -> GenerateError {
    GenerateError::Model("its thread has ended".to_owned())
}

impl Drop for LlamaGenerator {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(worker) = self.worker.take() {
            // Panics inside a request are caught there; one outside has nobody left to tell.
            worker.join().ok();
        }
    }
}
