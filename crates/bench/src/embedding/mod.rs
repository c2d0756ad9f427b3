//! Texts to vectors: how many a second (here), how soon one (`latency`), over HTTP (`server`), and on the whole way from a
//! file into a collection (`ingest`). Peers are given the same weights (`subject`), and everybody the same texts of chosen
//! lengths (`texts`).

mod ingest;
mod latency;
mod server;
mod subject;
mod task;
mod texts;

use std::time::Instant;

use anser_core::{Embedder, Embedding};
use anser_models::ModelFiles;

pub(crate) use ingest::{ingest_here, run as run_ingest};
pub(crate) use latency::run as run_latency;
pub(crate) use server::run as run_server;
pub(crate) use task::{EmbeddingTask, IngestTask, LatencyTask, ServerTask};

use self::subject::{EncoderShape, LoadedPeer, LoadedSubject, PeerModel, cosines};
use self::task::FormatName;
use self::texts::{Drawn, Words};
use crate::contest::{Contender, Figure, Rival, alternate};
use crate::error::BenchError;
use crate::limits::Limits;
use crate::report::{ModelRecord, Quality};
use crate::run::{Findings, Run};
use crate::wording;
use crate::workload::Workload;

/// Texts a second with each number of threads, shares of the limits, and whether the vectors agree.
pub(crate) fn run(
    run: &Run,
    workload: &Workload,
    task: &EmbeddingTask,
    limits: &[Limits],
) -> Result<Findings, BenchError> {
    let files = run.model(&task.model)?;
    let shape = EncoderShape::read(&files.path("config.json")?)?;
    let bench = Bench { run, workload, task, files: &files, shape };
    let mut findings = Findings { models: vec![ModelRecord::of(&files)], ..Findings::default() };
    for threads in &task.thread_counts {
        let threads = threads.get();
        let measured = limits.iter().find(|limits| limits.threads == threads).copied();
        let limits = measured.unwrap_or_else(|| Limits::measure(threads));
        bench.with_threads(threads, &limits, &mut findings)?;
    }
    findings.notes.push(format!(
        "Each set of texts in one call. Cosines are the mean and the lowest to {}'s vectors. Shares of a limit count the \
         operations of the products that a text needs, without padding, against products of the same number format; \
         softmax, norms, GELU and tokenising are counted in nobody's favour.",
        task.reference
    ));
    Ok(findings)
}

/// What does not change with the number of threads.
struct Bench<'a> {
    run: &'a Run,
    workload: &'a Workload,
    task: &'a EmbeddingTask,
    files: &'a ModelFiles,
    shape: EncoderShape,
}

impl Bench<'_> {
    fn with_threads(&self, threads: usize, limits: &Limits, findings: &mut Findings) -> Result<(), BenchError> {
        let mut subjects = Vec::new();
        for subject in &self.task.subjects {
            let loaded = LoadedSubject::load(self.run, self.files, subject, threads, findings)?;
            if let Some(loaded) = loaded {
                let backend = loaded.embedder.backend();
                findings.notes.push(format!("{}, {}: {backend}.", loaded.label, wording::threads(threads)));
                subjects.push(loaded);
            }
        }
        let Some(first) = subjects.first() else {
            return Err(BenchError::NobodyLoaded { workload: self.workload.name.clone() });
        };
        let model = PeerModel::new(self.files, &first.embedder)?;
        let start = |peer| LoadedPeer::start(self.run, peer, &model, threads, findings);
        let mut peers: Vec<LoadedPeer<'_>> = self.task.peers.iter().filter_map(start).collect();
        let words =
            Words::read(&self.task.corpus, first.embedder.info().max_tokens, |word| first.embedder.count_tokens(word))?;
        for set in &self.task.texts {
            let drawn = words.draw(set.tokens, set.count.at(self.run.scale), self.workload.seed);
            let name = format!("{}, {}", set.name, wording::threads(threads));
            let contenders = self.contenders(&subjects, &mut peers, &drawn)?;
            let rounds = self.workload.repeats.at(self.run.scale);
            let figures = [Figure::new(&name, "texts/s")];
            let label = format!("{}, {name}", self.workload.name);
            findings.rows.extend(alternate(&label, rounds, &figures, contenders, limits)?);
            let note = format!(
                "{}: {} texts of {:.1} tokens on average, special ones included.",
                set.name,
                drawn.texts.len(),
                drawn.mean_tokens()
            );
            if !findings.notes.contains(&note) {
                findings.notes.push(note);
            }
        }
        Ok(())
    }

    /// Everybody, warmed up on the texts whose vectors are compared.
    fn contenders<'c>(
        &self,
        subjects: &'c [LoadedSubject],
        peers: &'c mut [LoadedPeer<'_>],
        drawn: &'c Drawn,
    ) -> Result<Vec<Contender<'c>>, BenchError> {
        let count = drawn.texts.len() as f64;
        let compared = &drawn.texts[..self.task.compared.at(self.run.scale).min(drawn.texts.len())];
        let work = |format: FormatName| {
            let operations: f64 = drawn.tokens.iter().map(|tokens| self.shape.operations(*tokens as f64)).sum();
            vec![Some(format.work(operations / count))]
        };
        let vectors = subjects.iter().map(|subject| subject.embed(compared)).collect::<Result<Vec<_>, _>>()?;
        let reference: Option<&Vec<Embedding>> =
            subjects.iter().position(|subject| subject.label == self.task.reference).and_then(|at| vectors.get(at));
        let mut contenders = Vec::new();
        for (subject, vectors) in subjects.iter().zip(&vectors) {
            let mut contender = Contender::new(&subject.label, move |_| {
                let started = Instant::now();
                subject.embed(&drawn.texts)?;
                Ok(vec![count / started.elapsed().as_secs_f64()])
            });
            contender.rival = Rival::Nobody;
            contender.work = subject.format().map(work).unwrap_or_default();
            let quality: Option<Quality> = reference
                .map(|reference| cosines(reference, vectors))
                .transpose()
                .map_err(|reason| BenchError::Subject { label: subject.label.clone(), reason })?;
            contender.quality = quality.into_iter().collect();
            contenders.push(contender);
        }
        for peer in peers {
            let quality = match reference {
                Some(reference) => vec![peer.quality(compared, reference)?],
                None => Vec::new(),
            };
            let (label, format) = (peer.peer.label.clone(), peer.peer.format);
            let rival = peer.peer.against.clone().map_or(Rival::First, Rival::Label);
            let mut contender =
                Contender::new(label, move |_| Ok(vec![count / peer.embed(&drawn.texts, false)?.seconds]));
            (contender.quality, contender.work, contender.rival) = (quality, work(format), rival);
            contenders.push(contender);
        }
        Ok(contenders)
    }
}
