//! The thread that owns the decoder. It answers several requests at once: each round reads one chunk of one prompt and
//! then writes one token of every reply, so that no request waits for another to end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anser_core::{CancelToken, FinishReason, GenerateOptions, GenerationTimings, TokenScores, TokenUsage};
use crossbeam_channel::{Receiver, Sender};

use crate::GenerateError;
use crate::codec::ChatCodec;
use crate::decoder::{Decoder, LoadedAdapter, Piece, Reading, Sequence};
use crate::reply::{Reply, Said};

/// One piece of work.
pub(crate) struct Request {
    pub(crate) job: Job,
    /// At least one token.
    pub(crate) prompt: Vec<u32>,
    pub(crate) adapter: Option<Arc<LoadedAdapter>>,
    pub(crate) cancel: CancelToken,
    pub(crate) submitted: Instant,
    pub(crate) events: Sender<Event>,
}

/// What to do with the prompt.
pub(crate) enum Job {
    /// Continue it.
    Generate(GenerateOptions),
    /// Score these tokens after it.
    Score(Vec<u32>),
}

/// What the worker tells the caller.
pub(crate) enum Event {
    /// The request has left the queue.
    Started,
    /// More text.
    Delta(String),
    /// Nothing follows.
    Done(Result<Outcome, GenerateError>),
}

/// A finished piece of work.
pub(crate) enum Outcome {
    Generated(Finished),
    Scored(TokenScores),
}

/// A generation without its text, which went out in deltas.
pub(crate) struct Finished {
    pub(crate) finish_reason: FinishReason,
    pub(crate) usage: TokenUsage,
    pub(crate) timings: GenerationTimings,
}

/// A request that is being worked on.
struct Task {
    adapter: Option<Arc<LoadedAdapter>>,
    cancel: CancelToken,
    events: Sender<Event>,
    prompt_tokens: usize,
    queued: Duration,
    started: Instant,
    stage: Stage,
}

enum Stage {
    /// Reads the prompt of a reply.
    Reading(Reading, GenerateOptions),
    /// Reads prompt and continuation and scores from this token on.
    Scoring(Reading, usize, TokenScores),
    /// Writes.
    Writing(Box<Writing>),
    /// The caller has been told.
    Done,
}

struct Writing {
    sequence: Sequence,
    logits: Vec<f32>,
    reply: Reply,
    prefill: Duration,
    started: Instant,
    next: u32,
}

/// The worker's state.
pub(crate) struct Worker {
    pub(crate) decoder: Decoder,
    pub(crate) codec: Arc<ChatCodec>,
    /// Requests that are worked on at once.
    pub(crate) active: usize,
}

impl Worker {
    /// Answers requests until every sender is gone.
    pub(crate) fn run(&mut self, requests: &Receiver<Request>) {
        let mut tasks: Vec<Task> = Vec::new();
        loop {
            if tasks.is_empty() {
                match requests.recv() {
                    Ok(request) => tasks.extend(self.start(request)),
                    Err(_) => return,
                }
            }
            while tasks.len() < self.active {
                match requests.try_recv() {
                    Ok(request) => tasks.extend(self.start(request)),
                    Err(_) => break,
                }
            }
            self.round(&mut tasks);
            tasks.retain(|task| !matches!(task.stage, Stage::Done));
        }
    }

    /// Takes a request up, unless its caller is gone.
    fn start(&mut self, request: Request) -> Option<Task> {
        let Request { job, mut prompt, adapter, cancel, submitted, events } = request;
        // A caller that is gone makes every send fail; that ends the work, and nobody is left to be told.
        events.send(Event::Started).ok()?;
        let queued = submitted.elapsed();
        let prompt_tokens = prompt.len();
        let stage = match job {
            Job::Generate(options) => {
                Stage::Reading(self.decoder.begin(prompt, prompt_tokens, adapter.clone()), options)
            }
            Job::Score(continuation) => {
                prompt.extend(continuation);
                let reading = self.decoder.begin(prompt, prompt_tokens, adapter.clone());
                Stage::Scoring(reading, prompt_tokens - 1, TokenScores::default())
            }
        };
        Some(Task { adapter, cancel, events, prompt_tokens, queued, started: Instant::now(), stage })
    }

    /// Reads a chunk of the prompt that has waited longest for one, and writes a token of every reply.
    fn round(&mut self, tasks: &mut [Task]) {
        for task in tasks.iter_mut().filter(|task| task.cancel.is_cancelled()) {
            task.cancelled();
        }
        let reads = |task: &Task| matches!(task.stage, Stage::Reading(..) | Stage::Scoring(..));
        if let Some(at) = tasks.iter().position(reads) {
            let task = &mut tasks[at];
            if let Err(error) = guarded(|| self.read(task)) {
                task.done(Err(error));
            }
            // The next round is for another prompt.
            tasks[at..].rotate_left(1);
        }
        let mut writers: Vec<&mut Task> = Vec::new();
        for task in tasks {
            if !matches!(task.stage, Stage::Writing(_)) {
                continue;
            }
            match guarded(|| task.choose(&self.codec)) {
                Ok(true) => writers.push(task),
                Ok(false) => {}
                Err(error) => task.done(Err(error)),
            }
        }
        if writers.is_empty() {
            return;
        }
        if let Err(error) = guarded(|| self.write(&mut writers)) {
            for task in writers {
                task.done(Err(GenerateError::Model(error.to_string())));
            }
        }
    }

    fn read(&mut self, task: &mut Task) -> Result<(), GenerateError> {
        match &mut task.stage {
            Stage::Reading(reading, _) => {
                let Some(logits) = self.decoder.read(reading)? else { return Ok(()) };
                task.begin_writing(logits, &self.codec, self.decoder.context_length());
            }
            Stage::Scoring(reading, first, scores) => {
                for (score, likeliest) in self.decoder.score(reading, *first)? {
                    scores.log_probabilities.push(score);
                    scores.likeliest.push(likeliest);
                }
                if reading.is_done() {
                    let scores = std::mem::take(scores);
                    task.done(Ok(Outcome::Scored(scores)));
                }
            }
            Stage::Writing(_) | Stage::Done => {}
        }
        Ok(())
    }

    /// Reads the token that each task has chosen.
    fn write(&self, writers: &mut [&mut Task]) -> Result<(), GenerateError> {
        let mut pieces: Vec<Piece<'_>> = Vec::with_capacity(writers.len());
        for task in &mut *writers {
            if let Stage::Writing(writing) = &mut task.stage {
                let tokens = std::slice::from_ref(&writing.next);
                pieces.push(Piece { sequence: &mut writing.sequence, tokens, adapter: task.adapter.as_deref() });
            }
        }
        let logits = self.decoder.step(&mut pieces)?;
        let vocabulary = logits.len() / pieces.len().max(1);
        let writing = writers.iter_mut().filter_map(|task| match &mut task.stage {
            Stage::Writing(writing) => Some(writing),
            _ => None,
        });
        for (writing, logits) in writing.zip(logits.chunks_exact(vocabulary.max(1))) {
            writing.logits.clear();
            writing.logits.extend_from_slice(logits);
        }
        Ok(())
    }
}

impl Task {
    fn begin_writing(&mut self, logits: Vec<f32>, codec: &ChatCodec, context_length: usize) {
        let Stage::Reading(reading, options) = std::mem::replace(&mut self.stage, Stage::Done) else { return };
        let room = context_length.saturating_sub(self.prompt_tokens);
        let reply = Reply::new(&options, reading.tokens(), room, codec);
        self.stage = Stage::Writing(Box::new(Writing {
            sequence: reading.into_sequence(),
            logits,
            reply,
            prefill: self.started.elapsed(),
            started: Instant::now(),
            next: 0,
        }));
    }

    /// Chooses the next token and sends its text; false if the reply has ended.
    fn choose(&mut self, codec: &ChatCodec) -> Result<bool, GenerateError> {
        let Stage::Writing(writing) = &mut self.stage else { return Ok(false) };
        let (said, delta) = writing.reply.next(&mut writing.logits, codec)?;
        let reason = match said {
            _ if !delta.is_empty() && self.events.send(Event::Delta(delta)).is_err() => FinishReason::Cancelled,
            Said::Token(token) => {
                writing.next = token;
                return Ok(true);
            }
            Said::End(reason) => reason,
        };
        self.finish(reason);
        Ok(false)
    }

    fn cancelled(&mut self) {
        match &mut self.stage {
            Stage::Scoring(..) => self.done(Err(GenerateError::Cancelled)),
            Stage::Writing(writing) => {
                let rest = writing.reply.rest();
                if !rest.is_empty() {
                    self.events.send(Event::Delta(rest)).ok();
                }
                self.finish(FinishReason::Cancelled);
            }
            Stage::Reading(..) => self.finish(FinishReason::Cancelled),
            Stage::Done => {}
        }
    }

    /// Ends a generation.
    fn finish(&mut self, finish_reason: FinishReason) {
        let (prefill, decode, completion_tokens) = match &self.stage {
            Stage::Writing(writing) => (writing.prefill, writing.started.elapsed(), writing.reply.tokens()),
            _ => (self.started.elapsed(), Duration::ZERO, 0),
        };
        let usage = TokenUsage { prompt_tokens: self.prompt_tokens, completion_tokens };
        tracing::debug!(
            prompt_tokens = usage.prompt_tokens,
            completion_tokens,
            ?finish_reason,
            prefill_ms = prefill.as_millis(),
            decode_ms = decode.as_millis(),
            "generated"
        );
        let timings = GenerationTimings { queued: self.queued, prefill, decode };
        self.done(Ok(Outcome::Generated(Finished { finish_reason, usage, timings })));
    }

    fn done(&mut self, result: Result<Outcome, GenerateError>) {
        self.stage = Stage::Done;
        self.events.send(Event::Done(result)).ok();
    }
}

/// Turns a panic inside `work` into an error of the request that it was for.
fn guarded<T>(work: impl FnOnce() -> Result<T, GenerateError>) -> Result<T, GenerateError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(GenerateError::Model(panic_text(panic.as_ref()))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;
    use crossbeam_channel::unbounded;

    use super::*;
    use crate::base::BaseModel;
    use crate::tiny_model::TinyModel;

    fn worker(active: usize) -> Worker {
        let folder = tempfile::tempdir().unwrap();
        let mut base = BaseModel::open(&TinyModel::default().write(folder.path())).unwrap();
        let decoder = Decoder::load(&mut base, 1, anser_core::Device::Cpu, None).unwrap();
        Worker { decoder, codec: base.codec(), active }
    }

    fn request(prompt: Vec<u32>, tokens: usize) -> (Request, Receiver<Event>) {
        let (events, received) = unbounded();
        let options = GenerateOptions { max_tokens: Some(tokens), ..GenerateOptions::default() };
        let request = Request {
            job: Job::Generate(options),
            prompt,
            adapter: None,
            cancel: CancelToken::new(),
            submitted: Instant::now(),
            events,
        };
        (request, received)
    }

    fn result(received: &Receiver<Event>) -> Result<usize, GenerateError> {
        match received.iter().last() {
            Some(Event::Done(Ok(Outcome::Generated(finished)))) => Ok(finished.usage.completion_tokens),
            Some(Event::Done(Err(error))) => Err(error),
            _ => panic!("the last event is not a finished generation"),
        }
    }

    #[test]
    fn a_failure_is_its_own_requests_only() {
        let (queue, requests) = unbounded();
        let replies: Vec<Receiver<Event>> = [1, 999, 3]
            .map(|token| {
                let (request, received) = request(vec![token], 5);
                queue.send(request).unwrap();
                received
            })
            .into();
        drop(queue);
        worker(3).run(&requests);
        let results: Vec<_> = replies.iter().map(result).collect();
        assert!(results[0].is_ok() && results[2].is_ok());
        assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn a_panic_becomes_an_error_that_says_what_it_said() {
        let error = guarded::<()>(|| panic!("index {} out of range", 9)).unwrap_err();
        assert!(error.to_string().contains("index 9 out of range"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Internal);
    }

    #[test]
    fn a_request_whose_caller_is_gone_is_skipped() {
        let (request, received) = request(vec![1], 5);
        drop(received);
        assert!(worker(1).start(request).is_none());
    }

    #[test]
    fn a_short_request_is_done_while_a_long_one_goes_on() {
        let mut worker = worker(2);
        let (long, long_events) = request((0..1000).map(|i| i % 250).collect(), 500);
        let (short, short_events) = request(vec![5], 3);
        let mut tasks: Vec<Task> = [long, short].into_iter().filter_map(|request| worker.start(request)).collect();
        let mut rounds = 0;
        while short_events.try_iter().all(|event| !matches!(event, Event::Done(_))) {
            worker.round(&mut tasks);
            rounds += 1;
        }
        assert!(rounds < 8, "{rounds}");
        assert!(long_events.try_iter().all(|event| !matches!(event, Event::Done(_))));
    }

    #[test]
    fn a_cancelled_prompt_stops_at_the_next_chunk() {
        let mut worker = worker(1);
        let (request, received) = request(vec![1; 1000], 5);
        let cancel = request.cancel.clone();
        let mut tasks: Vec<Task> = worker.start(request).into_iter().collect();
        worker.round(&mut tasks);
        worker.round(&mut tasks);
        cancel.cancel();
        worker.round(&mut tasks);
        assert!(matches!(tasks[0].stage, Stage::Done));
        drop(tasks);
        assert_eq!(result(&received).unwrap(), 0);
    }
}
