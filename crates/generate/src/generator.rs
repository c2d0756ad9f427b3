//! [`LlamaGenerator`]: what the rest of the program sees of a chat model.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anser_core::{
    CancelToken, ChatMessage, Device, FinishReason, GenerateOptions, Generation, GenerationTimings, Generator,
    GeneratorInfo, Prompt, TokenScores, TokenUsage,
};
use anser_models::ModelFiles;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, unbounded};

use crate::adapter::LoraAdapter;
use crate::base::BaseModel;
use crate::codec::ChatCodec;
use crate::decoder::{Decoder, LoadedAdapter};
use crate::sampling::check_options;
use crate::worker::{Event, Finished, Job, Outcome, Request, Worker};
use crate::{GenerateError, LlamaConfig};

/// Name of the weights in a chat model's folder.
const MODEL_FILE: &str = "model.gguf";
/// How often a caller whose request is still queued looks whether it was cancelled.
const QUEUE_POLL: Duration = Duration::from_millis(20);

/// How to run a chat model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorOptions {
    /// Requests that may wait while others are answered; one more is `Overloaded`. At least 1.
    pub queue: usize,
    /// Requests that are answered at once, token by token in turn. Each holds the keys and values of what it has read
    /// (46 kB a token in a model of 135 million weights). At least 1.
    pub active: usize,
    /// Most tokens of prompt and reply together, up to the model's own limit; `None` takes 4,096 of it.
    pub context_length: Option<usize>,
    /// Threads that compute, where a processor does. At least 1.
    pub threads: usize,
    /// What computes. On a processor weights are 32-bit numbers, on a GPU 16-bit ones.
    pub device: Device,
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { queue: 32, active: 4, context_length: None, threads, device: Device::Cpu }
    }
}

/// A llama-architecture chat model, on a thread of its own; or a view of one through an adapter.
pub struct LlamaGenerator {
    info: GeneratorInfo,
    codec: Arc<ChatCodec>,
    adapter: Option<Arc<LoadedAdapter>>,
    model: Arc<Model>,
}

/// The running model that a generator and its views share.
struct Model {
    config: LlamaConfig,
    weight_bytes: u64,
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

    /// Loads the GGUF file or model folder at `path` under the name `model`.
    pub fn open(model: &str, path: &Path, options: &GeneratorOptions) -> Result<Self, GenerateError> {
        let start = Instant::now();
        let queue = options.queue.max(1);
        let mut base = BaseModel::open(path)?;
        let decoder = Decoder::load(&mut base, options.threads.max(1), options.device, options.context_length)?;
        let info = GeneratorInfo { model: model.to_owned(), context_length: decoder.context_length() };
        let weight_bytes = decoder.weight_bytes() as u64;
        let codec = base.codec();

        let (requests, queued) = bounded(queue);
        let mut worker = Worker { decoder, codec: Arc::clone(&codec), active: options.active.max(1) };
        let worker = thread::Builder::new()
            .name("anser-generate".to_owned())
            .spawn(move || worker.run(&queued))
            .map_err(|error| GenerateError::Threads(error.to_string()))?;
        tracing::info!(
            model,
            context_length = info.context_length,
            elapsed_ms = start.elapsed().as_millis(),
            "chat model loaded"
        );
        let config = base.config().clone();
        let model = Model { config, weight_bytes, queue, requests: Some(requests), worker: Some(worker) };
        Ok(Self { info, codec, adapter: None, model: Arc::new(model) })
    }

    /// A view of this model through `adapter`, under the name `name`: it shares weights, worker and queue, and requests to
    /// it and to others are answered side by side. Dropping it frees the adapter.
    pub fn with_adapter(&self, name: &str, adapter: LoraAdapter) -> Result<LlamaGenerator, GenerateError> {
        adapter.check(&self.model.config)?;
        let info = GeneratorInfo { model: name.to_owned(), context_length: self.info.context_length };
        let adapter = Some(Arc::new(LoadedAdapter::new(adapter, &self.model.config)));
        Ok(Self { info, codec: Arc::clone(&self.codec), adapter, model: Arc::clone(&self.model) })
    }

    /// The decoder's shape.
    pub fn config(&self) -> &LlamaConfig {
        &self.model.config
    }

    /// The tokenizer and chat template.
    pub fn codec(&self) -> &ChatCodec {
        &self.codec
    }

    /// Token ids of `prompt`, followed by `more` further tokens of at most `more_bytes` bytes of text.
    fn encode(&self, prompt: Prompt<'_>, more_bytes: usize) -> Result<Vec<u32>, GenerateError> {
        // A text of many megabytes is refused before it costs the memory and time of tokenizing it.
        let bytes = match prompt {
            Prompt::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
            Prompt::Text(text) => text.len(),
        };
        let least = self.codec.tokenizer().least_tokens(bytes + more_bytes);
        if least >= self.info.context_length {
            return Err(self.too_long(least));
        }
        match prompt {
            Prompt::Chat(messages) => self.codec.encode_prompt(messages),
            Prompt::Text(text) => self.codec.encode_text_prompt(text),
        }
    }

    fn too_long(&self, prompt_tokens: usize) -> GenerateError {
        GenerateError::PromptTooLong { prompt_tokens, context_length: self.info.context_length }
    }

    fn submit(&self, job: Job, prompt: Vec<u32>, cancel: &CancelToken) -> Result<Receiver<Event>, GenerateError> {
        let (events, received) = unbounded();
        let adapter = self.adapter.clone();
        let request = Request { job, prompt, adapter, cancel: cancel.clone(), submitted: Instant::now(), events };
        let Some(requests) = &self.model.requests else { return Err(worker_gone()) };
        match requests.try_send(request) {
            Ok(()) => Ok(received),
            Err(TrySendError::Full(_)) => Err(GenerateError::Overloaded { waiting: self.model.queue }),
            Err(TrySendError::Disconnected(_)) => Err(worker_gone()),
        }
    }

    fn score_tokens(
        &self,
        prompt: Prompt<'_>,
        continuation: &str,
        cancel: &CancelToken,
    ) -> Result<TokenScores, GenerateError> {
        let tokens = self.encode(prompt, continuation.len())?;
        let mut more = self.codec.encode_text(continuation)?;
        if matches!(prompt, Prompt::Chat(_)) {
            more.push(self.codec.end_of_turn());
        }
        if more.is_empty() {
            return Ok(TokenScores::default());
        }
        let total = tokens.len() + more.len();
        if total > self.info.context_length {
            return Err(self.too_long(total));
        }
        let events = self.submit(Job::Score(more), tokens, cancel)?;
        if !wait_for_start(&events, cancel)? {
            return Err(GenerateError::Cancelled);
        }
        loop {
            match events.recv().map_err(|_| worker_gone())? {
                Event::Done(Ok(Outcome::Scored(scores))) => return Ok(scores),
                Event::Done(Err(error)) => return Err(error),
                Event::Done(Ok(Outcome::Generated(_))) => return Err(worker_gone()),
                Event::Started | Event::Delta(_) => {}
            }
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

    fn generate(
        &self,
        prompt: Prompt<'_>,
        options: &GenerateOptions,
        cancel: &CancelToken,
        on_delta: &mut dyn FnMut(&str),
    ) -> anser_core::Result<Generation> {
        let submitted = Instant::now();
        check_options(options)?;
        let prompt = self.encode(prompt, 0)?;
        let prompt_tokens = prompt.len();
        if prompt_tokens >= self.info.context_length {
            return Err(self.too_long(prompt_tokens).into());
        }
        let events = self.submit(Job::Generate(options.clone()), prompt, cancel)?;
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
                    let Outcome::Generated(finished) = result? else { return Err(worker_gone().into()) };
                    let Finished { finish_reason, usage, timings } = finished;
                    return Ok(Generation { text, finish_reason, usage, timings });
                }
            }
        }
    }

    fn score(&self, prompt: Prompt<'_>, continuation: &str, cancel: &CancelToken) -> anser_core::Result<TokenScores> {
        Ok(self.score_tokens(prompt, continuation, cancel)?)
    }

    fn memory_bytes(&self) -> u64 {
        self.adapter.as_ref().map_or(self.model.weight_bytes, |adapter| adapter.bytes() as u64)
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

impl Drop for Model {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(worker) = self.worker.take() {
            // Panics inside a request are caught there; one outside has nobody left to tell.
            worker.join().ok();
        }
    }
}
