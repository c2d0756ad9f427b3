//! Texts to vectors: Anser beside ONNX Runtime driven from Python, on the same model file.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anser_core::{CancelToken, EmbedPurpose, Embedded, Embedder, Embedding};
use anser_embed::{EmbedOptions, TextEmbedder};
use serde::Deserialize;
use serde_json::json;

use crate::contest::{ANSER, Contender, Figure, alternate};
use crate::corpus;
use crate::error::BenchError;
use crate::limits::{Limits, Work};
use crate::peer::Peer;
use crate::report::{ModelRecord, Quality};
use crate::run::{Findings, Run};
use crate::workload::{EmbeddingPeer, EmbeddingTask, Workload};

#[derive(Deserialize)]
struct Reply {
    seconds: f64,
    vectors: Vec<Vec<f32>>,
}

/// The sizes of a BERT-family encoder, from its `config.json`.
#[derive(Deserialize)]
struct Encoder {
    hidden_size: f64,
    num_hidden_layers: f64,
    intermediate_size: f64,
}

impl Encoder {
    fn read(path: &Path) -> Result<Self, BenchError> {
        let bytes = fs::read(path).map_err(BenchError::io("read", path))?;
        serde_json::from_slice(&bytes).map_err(BenchError::Json)
    }

    /// Operations in the matrix products of one text: four projections and two feed-forward products for each token, and
    /// every token with every other twice, in scores and in values.
    fn flops(&self, tokens: f64) -> f64 {
        let (d, ff) = (self.hidden_size, self.intermediate_size);
        self.num_hidden_layers * (2.0 * tokens * (4.0 * d * d + 2.0 * d * ff) + 4.0 * tokens * tokens * d)
    }
}

/// Texts a second, and whether the vectors agree.
pub(crate) fn run(
    run: &Run,
    workload: &Workload,
    task: &EmbeddingTask,
    limits: &Limits,
) -> Result<Findings, BenchError> {
    let threads = workload.thread_count();
    let files = run.model(&task.model)?;
    let options = EmbedOptions { threads, ..EmbedOptions::default() };
    let embedder = TextEmbedder::load(&files, &run.runtime()?, &options)?;
    let texts = corpus::texts(&task.corpus, task.texts.at(run.scale), workload.seed)?;
    let compared = &texts[..task.compared.at(run.scale).min(texts.len())];
    let mut findings = Findings { models: vec![ModelRecord::of(&files)], ..Findings::default() };

    // Embedding the texts to compare also warms every contender up.
    let ours: Vec<Embedding> = embed(&embedder, compared)?.into_iter().map(|e| e.embedding).collect();
    let work = work(&embedder, &Encoder::read(&files.path("config.json")?)?, &texts)?;
    let count = texts.len() as f64;
    let mut contenders = vec![Contender::new(ANSER, |_| {
        let started = Instant::now();
        embed(&embedder, &texts)?;
        Ok(vec![count / started.elapsed().as_secs_f64()])
    })];
    let (model, tokenizer) = (files.path("model.onnx")?, files.path("tokenizer.json")?);
    for peer in &task.peers {
        let load = json!({
            "op": "load", "threads": threads, "max_tokens": embedder.info().max_tokens,
            "model": model, "tokenizer": tokenizer, "spin": peer.spin,
        });
        let Some(mut process) = run.peer(&peer.label, "onnx_embed.py", threads, &load, &mut findings) else { continue };
        let theirs = ask(&mut process, peer, compared, true)?.vectors;
        let cosine = mean_cosine(&ours, theirs).map_err(|reason| process.failed(reason))?;
        let texts = &texts;
        let mut contender =
            Contender::new(&peer.label, move |_| Ok(vec![count / ask(&mut process, peer, texts, false)?.seconds]));
        contender.quality = vec![Quality::new("cosine", cosine)];
        contenders.push(contender);
    }
    for contender in &mut contenders {
        contender.work = vec![Some(work)];
    }
    let figures = [Figure::new("embedding", "texts/s")];
    findings.rows = alternate(&workload.name, workload.repeats.at(run.scale), &figures, contenders, limits)?;
    findings.notes = vec![
        format!(
            "{} texts in one call; threads: {threads}; cosine: the mean over {} texts between the peer's vectors and Anser's.",
            texts.len(),
            compared.len()
        ),
        "The share of the limit counts no padding; int8 products may exceed the f32 limit. Dynamic int8 scales span a \
         batch, so vectors depend a little on who shares it: Anser runs each text alone."
            .to_owned(),
    ];
    Ok(findings)
}

fn embed(embedder: &TextEmbedder, texts: &[String]) -> Result<Vec<Embedded>, BenchError> {
    Ok(embedder.embed(texts, EmbedPurpose::Passage, &CancelToken::new())?)
}

/// The mean cost of a text, its two special tokens included.
fn work(embedder: &TextEmbedder, encoder: &Encoder, texts: &[String]) -> Result<Work, BenchError> {
    let mut flops = 0.0;
    for text in texts {
        let tokens = (embedder.count_tokens(text)? + 2).min(embedder.info().max_tokens);
        flops += encoder.flops(tokens as f64);
    }
    Ok(Work::Flops(flops / texts.len() as f64))
}

fn ask(process: &mut Peer, peer: &EmbeddingPeer, texts: &[String], return_vectors: bool) -> Result<Reply, BenchError> {
    process.ask(&json!({
        "op": "embed", "texts": texts, "batch": peer.batch, "sort": peer.sort, "return_vectors": return_vectors,
    }))
}

/// Mean cosine of vectors of the same texts, or why they cannot be compared.
fn mean_cosine(ours: &[Embedding], theirs: Vec<Vec<f32>>) -> Result<f64, String> {
    if ours.len() != theirs.len() {
        return Err(format!("it returned {} vectors for {} texts", theirs.len(), ours.len()));
    }
    let mut sum = 0.0;
    for (ours, theirs) in ours.iter().zip(theirs) {
        let theirs = Embedding::normalize(theirs).map_err(|e| e.to_string())?;
        sum += f64::from(ours.cosine(&theirs).map_err(|e| e.to_string())?);
    }
    Ok(sum / ours.len() as f64)
}
