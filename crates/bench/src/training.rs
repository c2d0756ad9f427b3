//! LoRA steps: Anser beside Hugging Face peft on PyTorch, on the same GGUF file, in each number format.

use std::collections::BTreeMap;
use std::time::Instant;

use anser_core::{LoraOptions, Precision, TrainableParts};
use anser_generate::BaseModel;
use anser_tune::StepProbe;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::json;

use crate::contest::{ANSER, Contender, Figure, alternate};
use crate::error::BenchError;
use crate::limits::{Limits, Work};
use crate::memory::{forget_peak, peak_bytes};
use crate::peer::Peer;
use crate::report::ModelRecord;
use crate::run::{Findings, Run};
use crate::workload::{TrainingTask, Workload};

/// What the peer is called in tables.
const PEER: &str = "peft (PyTorch)";
/// Token ids are drawn below this, inside every vocabulary that matters.
const TOKENS: u32 = 40_000;
/// Steps that warm a contender up: libraries choose their kernels and fill their pools in the first ones.
const WARM_UP: usize = 2;

/// What the peer says of one step.
#[derive(Deserialize)]
struct Step {
    seconds: f64,
    loss: f64,
    peak_bytes: u64,
}

/// Steps of both sides on the same random tokens.
struct Steps<'a> {
    task: &'a TrainingTask,
    seed: u64,
}

impl Steps<'_> {
    fn sequences(&self, round: usize) -> Vec<Vec<u32>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed.wrapping_add(round as u64));
        let sequence = |_| (0..self.task.sequence_tokens.get()).map(|_| random.random_range(100..TOKENS)).collect();
        (0..self.task.sequences.get()).map(sequence).collect()
    }

    /// The loss counts the second half of every sequence.
    fn targets_from(&self) -> usize {
        self.task.sequence_tokens.get() / 2
    }

    fn tokens(&self) -> f64 {
        (self.task.sequences.get() * self.task.sequence_tokens.get()) as f64
    }

    /// Operations that one token needs at least: forward, and backward to the activations, through every block; the same
    /// through the head for the half of the tokens that are targets. Attention and the adapters themselves are not counted.
    fn flops_per_token(&self) -> f64 {
        4.0 * (self.task.block_parameters as f64 + self.task.head_parameters as f64 / 2.0)
    }

    fn theirs(&self, process: &mut Peer, round: usize) -> Result<Step, BenchError> {
        let sequences = self.sequences(round);
        process.ask(&json!({ "op": "step", "sequences": sequences, "targets_from": self.targets_from() }))
    }
}

/// Tokens a second and peak memory.
pub(crate) fn run(
    run: &Run,
    workload: &Workload,
    task: &TrainingTask,
    limits: &Limits,
) -> Result<Findings, BenchError> {
    let threads = workload.thread_count();
    let files = run.model(&task.model)?;
    let path = files.path("model.gguf")?;
    let mut findings = Findings { models: vec![ModelRecord::of(&files)], ..Findings::default() };
    let rounds = workload.repeats.at(run.scale);
    let steps = Steps { task, seed: workload.seed };
    let lora = LoraOptions { rank: task.rank.get(), alpha: task.alpha, ..LoraOptions::default() };
    let parts = TrainableParts::Lora(lora);
    let mut peaks = BTreeMap::new();

    for precision in &task.precisions {
        let name = precision_name(*precision);
        forget_peak();
        let mut probe = StepProbe::load(&mut BaseModel::open(&path)?, &parts, *precision, threads)?;
        let mut losses = Vec::new();
        for round in 0..WARM_UP {
            losses.push(probe.step(&steps.sequences(rounds + round), steps.targets_from(), task.learning_rate)?);
        }
        if let Some(peak) = peak_bytes() {
            peaks.insert(format!("{ANSER} {name}"), peak);
        }
        let tokens = steps.tokens();
        let mut ours = Contender::new(ANSER, |round| {
            let sequences = steps.sequences(round);
            let started = Instant::now();
            probe.step(&sequences, steps.targets_from(), task.learning_rate)?;
            Ok(vec![tokens / started.elapsed().as_secs_f64()])
        });
        let work = match precision {
            Precision::F32 => Work::Flops(steps.flops_per_token()),
            Precision::Bf16 => Work::Bf16Flops(steps.flops_per_token()),
        };
        ours.work = vec![Some(work)];
        let mut contenders = vec![ours];
        let load = json!({
            "op": "load", "model": path, "threads": threads, "precision": name,
            "rank": task.rank, "alpha": task.alpha, "learning_rate": task.learning_rate,
        });
        if let Some(mut process) = run.peer(&format!("{PEER} {name}"), "peft_lora.py", threads, &load, &mut findings) {
            let mut theirs = Vec::new();
            for round in 0..WARM_UP {
                let step = steps.theirs(&mut process, rounds + round)?;
                theirs.push(step.loss);
                peaks.insert(format!("{PEER} {name}"), step.peak_bytes);
            }
            findings.notes.push(format!("Losses of the first steps in {name}: Anser {losses:.3?}, peft {theirs:.3?}."));
            let steps = &steps;
            let mut contender = Contender::new(PEER, move |round| {
                let step = steps.theirs(&mut process, round)?;
                Ok(vec![tokens / step.seconds])
            });
            contender.work = vec![Some(work)];
            contenders.push(contender);
        }
        let figures = [Figure::new(format!("LoRA in {name}"), "tokens/s")];
        findings.rows.extend(alternate(&workload.name, rounds, &figures, contenders, limits)?);
    }
    let megabytes = |(who, bytes): (&String, &u64)| format!("{who} {} MB", bytes / 1_000_000);
    findings.notes.push(format!("Peak memory: {}.", peaks.iter().map(megabytes).collect::<Vec<_>>().join(", ")));
    findings.notes.push(format!(
        "Rank {} on seven projections, {} sequences of {} tokens, threads: {threads}. A token is counted as {:.0} MFLOP.",
        task.rank,
        task.sequences,
        task.sequence_tokens,
        steps.flops_per_token() / 1e6
    ));
    Ok(findings)
}

/// The name both sides call a number format by.
fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
    }
}
