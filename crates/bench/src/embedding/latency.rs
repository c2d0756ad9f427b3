//! How soon one short text is embedded: alone, and while the same embedder is busy with thousands of others.

use std::thread;
use std::time::{Duration, Instant};

use anser_core::{CancelToken, EmbedPurpose, Embedder, ErrorKind};

use super::subject::{LoadedPeer, LoadedSubject, PeerModel};
use super::task::LatencyTask;
use super::texts::Words;
use crate::contest::{Contender, Figure, Rival, alternate};
use crate::error::BenchError;
use crate::limits::Limits;
use crate::report::ModelRecord;
use crate::run::{Findings, Run};
use crate::stats::percentile;
use crate::wording;
use crate::workload::Workload;

/// Time between two queries while others are embedded: nobody types faster, and the bulk gets its share.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the bulk runs before the first query comes.
const HEAD_START: Duration = Duration::from_millis(300);

/// Medians and 99th percentiles of a query's time.
pub(crate) fn run(run: &Run, workload: &Workload, task: &LatencyTask, limits: &Limits) -> Result<Findings, BenchError> {
    let files = run.model(&task.model)?;
    let mut findings = Findings { models: vec![ModelRecord::of(&files)], ..Findings::default() };
    let (asked, bulk) = (task.queries.count.at(run.scale), task.bulk.count.at(run.scale));
    for threads in &task.thread_counts {
        let threads = threads.get();
        let mut subjects = Vec::new();
        for subject in &task.subjects {
            subjects.extend(LoadedSubject::load(run, &files, subject, threads, &mut findings)?);
        }
        let Some(first) = subjects.first() else {
            return Err(BenchError::NobodyLoaded { workload: workload.name.clone() });
        };
        let info = first.embedder.info();
        let words = Words::read(&task.corpus, info.max_tokens, |word| first.embedder.count_tokens(word))?;
        let queries = words.draw(task.queries.tokens, asked, workload.seed);
        let bulk = words.draw(task.bulk.tokens, bulk, workload.seed + 1);
        let model = PeerModel::new(&files, &first.embedder)?;
        let start = |peer| LoadedPeer::start(run, peer, &model, threads, &mut findings);
        let mut peers: Vec<LoadedPeer<'_>> = task.peers.iter().filter_map(start).collect();

        let mut contenders = Vec::new();
        for subject in &subjects {
            let (queries, bulk) = (&queries.texts, &bulk.texts);
            let mut contender = Contender::new(&subject.label, move |_| {
                let mut values = summary(&alone(subject, queries)?);
                values.extend(summary(&beside_bulk(subject, queries, bulk)?));
                Ok(values)
            });
            contender.rival = Rival::Nobody;
            contenders.push(contender);
        }
        for peer in &mut peers {
            let label = peer.peer.label.clone();
            let rival = peer.peer.against.clone().map_or(Rival::First, Rival::Label);
            let queries = &queries.texts;
            let mut contender = Contender::new(label, move |_| Ok(summary(&peer.latencies(queries)?)));
            contender.rival = rival;
            contenders.push(contender);
        }
        let with = wording::threads(threads);
        let figures = [
            Figure::time(format!("query alone, median, {with}"), "ms"),
            Figure::time(format!("query alone, 99th percentile, {with}"), "ms"),
            Figure::time(format!("query during bulk, median, {with}"), "ms"),
            Figure::time(format!("query during bulk, 99th percentile, {with}"), "ms"),
        ];
        let rounds = workload.repeats.at(run.scale);
        let name = format!("{}, {with}", workload.name);
        findings.rows.extend(alternate(&name, rounds, &figures, contenders, limits)?);
        findings.notes.push(format!(
            "{with}: {asked} queries of {:.1} tokens on average, tokenised and embedded one by one; during the bulk, one \
             every {} ms while {} texts of {:.1} tokens are embedded again and again, all in one call, by the same embedder.",
            queries.mean_tokens(),
            PAUSE.as_millis(),
            bulk.texts.len(),
            bulk.mean_tokens(),
        ));
    }
    Ok(findings)
}

fn summary(milliseconds: &[f64]) -> Vec<f64> {
    [0.5, 0.99].iter().filter_map(|share| percentile(milliseconds, *share)).collect()
}

/// Milliseconds of each query, one after the other.
fn alone(subject: &LoadedSubject, queries: &[String]) -> Result<Vec<f64>, BenchError> {
    queries.iter().map(|query| ask(subject, query)).collect()
}

fn ask(subject: &LoadedSubject, query: &String) -> Result<f64, BenchError> {
    let started = Instant::now();
    subject.embedder.embed(std::slice::from_ref(query), EmbedPurpose::Query, &CancelToken::new())?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds of each query while another thread embeds the bulk.
fn beside_bulk(subject: &LoadedSubject, queries: &[String], bulk: &[String]) -> Result<Vec<f64>, BenchError> {
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            while !cancel.is_cancelled() {
                match subject.embedder.embed(bulk, EmbedPurpose::Passage, &cancel) {
                    Err(error) if error.kind() != ErrorKind::Cancelled => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        });
        thread::sleep(HEAD_START);
        let asked = queries
            .iter()
            .map(|query| {
                thread::sleep(PAUSE);
                ask(subject, query)
            })
            .collect();
        cancel.cancel();
        match busy.join() {
            Ok(bulk) => bulk.map_err(BenchError::from).and(asked),
            Err(_) => Err(BenchError::Subject {
                label: subject.label.clone(),
                reason: "the thread that embeds the bulk panicked".to_owned(),
            }),
        }
    })
}
