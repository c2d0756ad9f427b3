//! A chat model's reply: Anser beside llama.cpp, on the same GGUF file.

use anser_core::{CancelToken, ChatMessage, FinishReason, GenerateOptions, Generator, Prompt, Role};
use anser_generate::{GeneratorOptions, LlamaGenerator};
use serde::Deserialize;
use serde_json::json;

use crate::contest::{ANSER, Contender, Figure, alternate};
use crate::corpus;
use crate::error::BenchError;
use crate::limits::{Limits, Work};
use crate::peer::Peer;
use crate::report::ModelRecord;
use crate::run::{Findings, Run};
use crate::workload::{GenerationTask, Workload};

/// What the peer is called in tables.
const PEER: &str = "llama.cpp (xllamacpp)";
/// Tokens of prompt and reply that both sides make room for.
const CONTEXT: usize = 4096;
/// Bytes of a weight while Anser computes: it unpacks to f32.
const OUR_BYTES_PER_WEIGHT: f64 = 4.0;

/// A reply's tokens and times.
#[derive(Deserialize)]
struct Reply {
    prompt_tokens: usize,
    prefill_seconds: f64,
    /// Runs of the model that wrote a token. The first token comes from reading the prompt and has none of its own.
    steps: usize,
    decode_seconds: f64,
}

impl Reply {
    /// Tokens a second, read and written.
    fn rates(&self) -> Vec<f64> {
        vec![self.prompt_tokens as f64 / self.prefill_seconds, self.steps as f64 / self.decode_seconds]
    }
}

/// Prompts that begin differently in every round, so that nothing kept from one helps with the next.
struct Prompts<'a> {
    task: &'a GenerationTask,
    texts: usize,
    max_tokens: usize,
    seed: u64,
}

impl Prompts<'_> {
    fn messages(&self, round: usize) -> Result<Vec<ChatMessage>, BenchError> {
        let seed = self.seed.wrapping_add(round as u64);
        let reviews = corpus::texts(&self.task.corpus, self.texts, seed)?.join("\n");
        Ok(vec![
            ChatMessage::new(Role::System, format!("Letter {seed}. You summarise what customers write, at length.")),
            ChatMessage::new(Role::User, format!("{reviews}\n\nWrite a long summary of these reviews.")),
        ])
    }

    fn ours(&self, generator: &LlamaGenerator, round: usize) -> Result<Reply, BenchError> {
        let options = GenerateOptions { max_tokens: Some(self.max_tokens), ..GenerateOptions::default() };
        let made =
            generator.generate(Prompt::Chat(&self.messages(round)?), &options, &CancelToken::new(), &mut |_| ())?;
        // The token that ends a turn is decoded like any other but not counted as written.
        let ended_turn = usize::from(made.finish_reason == FinishReason::Stop);
        Ok(Reply {
            prompt_tokens: made.usage.prompt_tokens,
            prefill_seconds: made.timings.prefill.as_secs_f64(),
            steps: (made.usage.completion_tokens + ended_turn).saturating_sub(1),
            decode_seconds: made.timings.decode.as_secs_f64(),
        })
    }

    fn theirs(&self, process: &mut Peer, round: usize) -> Result<Reply, BenchError> {
        let messages = self.messages(round)?;
        process.ask(&json!({ "op": "generate", "messages": messages, "max_tokens": self.max_tokens }))
    }
}

/// Tokens a second, read and written.
pub(crate) fn run(
    run: &Run,
    workload: &Workload,
    task: &GenerationTask,
    limits: &Limits,
) -> Result<Findings, BenchError> {
    let threads = workload.thread_count();
    let files = run.model(&task.model)?;
    let model = files.path("model.gguf")?;
    let options = GeneratorOptions { context_length: Some(CONTEXT), threads, ..GeneratorOptions::default() };
    let generator = LlamaGenerator::load(&files, &options)?;
    let mut findings = Findings { models: vec![ModelRecord::of(&files)], ..Findings::default() };
    let rounds = workload.repeats.at(run.scale);
    let prompts = Prompts {
        task,
        texts: task.texts.at(run.scale),
        max_tokens: task.max_tokens.at(run.scale),
        seed: workload.seed,
    };
    let weights = task.parameters as f64;
    let work = |bytes: f64| vec![Some(Work::Flops(2.0 * weights)), Some(Work::Bytes(bytes))];

    // A round that is not counted warms both up.
    let warm = prompts.ours(&generator, rounds)?;
    findings.notes.push(format!(
        "{} tokens of prompt (Anser's count), up to {} written, greedy; threads: {threads}.",
        warm.prompt_tokens, prompts.max_tokens
    ));
    let mut ours = Contender::new(ANSER, |round| Ok(prompts.ours(&generator, round)?.rates()));
    ours.work = work(weights * OUR_BYTES_PER_WEIGHT);
    let mut contenders = vec![ours];
    let load = json!({ "op": "load", "model": model, "threads": threads, "context": CONTEXT });
    if let Some(mut process) = run.peer(PEER, "llama_cpp.py", threads, &load, &mut findings) {
        let theirs = prompts.theirs(&mut process, rounds)?.prompt_tokens;
        findings.notes.push(format!("The peer counts {theirs} tokens in the same prompt."));
        let prompts = &prompts;
        let mut contender = Contender::new(PEER, move |round| Ok(prompts.theirs(&mut process, round)?.rates()));
        let bytes = files.spec.files.iter().find(|f| f.name == "model.gguf").map_or(0, |f| f.bytes);
        contender.work = work(bytes as f64);
        contenders.push(contender);
    }
    let figures = [Figure::new("prefill", "tokens/s"), Figure::new("decode", "tokens/s")];
    findings.rows = alternate(&workload.name, rounds, &figures, contenders, limits)?;
    findings.notes.push(
        "Anser unpacks the weights to f32, the peer computes on the quantised ones; the share of copying assumes that \
         each token written reads every weight once."
            .to_owned(),
    );
    Ok(findings)
}
