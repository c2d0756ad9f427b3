//! `POST /v1/embeddings` asked by many clients at once, beside the library itself on the same texts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anser_core::storage::DataDir;
use anser_core::{CancelToken, EmbedPurpose, Embedder};
use anser_embed::TextEmbedder;
use anser_engine::{Engine, EngineOptions, ServedModels};
use anser_server::{ServerOptions, bind, serve};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::task::ServerTask;
use super::texts::{Drawn, Words};
use crate::contest::{Contender, Figure, Rival, alternate};
use crate::error::BenchError;
use crate::limits::Limits;
use crate::loader::OnlyEmbedder;
use crate::report::ModelRecord;
use crate::run::{Findings, Run};
use crate::stats::percentile;
use crate::wording;
use crate::workload::Workload;

const LIBRARY: &str = "Anser's library";
const SERVER: &str = "Anser's server";
/// How long a client waits before it asks again after it was told to come back later.
const BACK_OFF: Duration = Duration::from_millis(5);
/// How long a reply may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Texts a second through the service as a share of the library's own, and how long a request takes.
pub(crate) fn run(run: &Run, workload: &Workload, task: &ServerTask, limits: &Limits) -> Result<Findings, BenchError> {
    let files = run.model(&task.model)?;
    let threads = workload.thread_count();
    let embedder = Arc::new(TextEmbedder::load(&files, &run.runtime()?, &task.subject.options(threads))?);
    let words = Words::read(&task.corpus, embedder.info().max_tokens, |word| embedder.count_tokens(word))?;
    let rounds = workload.repeats.at(run.scale);
    // Every round has texts of its own, so that nothing kept from one helps in the next.
    let draw = |round: u64| words.draw(task.texts.tokens, task.texts.count.at(run.scale), workload.seed + round);
    let drawn: Vec<Drawn> = (0..rounds as u64).map(draw).collect();
    let mut findings = Findings { models: vec![ModelRecord::of(&files)], ..Findings::default() };
    let service = Service::start(Arc::<TextEmbedder>::clone(&embedder), task.clients.get())?;
    let refused = AtomicUsize::new(0);
    for size in &task.texts_per_request {
        let load =
            Load { address: service.address, model: &task.model, clients: task.clients.get(), refused: &refused };
        load.send(&drawn_batches(&drawn, 0, size.get(), task.clients.get()))?;
        let mut library = Contender::new(LIBRARY, |round| {
            let texts = drawn.get(round).map_or(&[][..], |drawn| &drawn.texts);
            let started = Instant::now();
            embedder.embed(texts, EmbedPurpose::Passage, &CancelToken::new())?;
            Ok(vec![texts.len() as f64 / started.elapsed().as_secs_f64()])
        });
        library.rival = Rival::Nobody;
        let mut server = Contender::new(SERVER, |round| {
            let batches = drawn_batches(&drawn, round, size.get(), usize::MAX);
            let texts: usize = batches.iter().map(|batch| batch.len()).sum();
            let started = Instant::now();
            let milliseconds = load.send(&batches)?;
            let rate = texts as f64 / started.elapsed().as_secs_f64();
            let percentiles = [0.5, 0.95].iter().filter_map(|share| percentile(&milliseconds, *share));
            Ok([rate].into_iter().chain(percentiles).collect())
        });
        server.rival = Rival::Reference(LIBRARY.to_owned());
        let name = format!("{} clients, {size} texts each time", task.clients);
        let figures = [
            Figure::new(&name, "texts/s"),
            Figure::time(format!("{name}, median reply"), "ms"),
            Figure::time(format!("{name}, 95th percentile"), "ms"),
        ];
        let label = format!("{}, {name}", workload.name);
        findings.rows.extend(alternate(&label, rounds, &figures, vec![library, server], limits)?);
    }
    service.stop();
    findings.notes = vec![
        format!(
            "{} texts of {:.1} tokens in each round, {}, {}; the library gets them in one call. Vectors are asked for in \
             base64, as OpenAI's clients do.",
            drawn.first().map_or(0, |drawn| drawn.texts.len()),
            drawn.first().map_or(0.0, Drawn::mean_tokens),
            wording::threads(threads),
            embedder.backend(),
        ),
        "Service and clients share the machine's cores in one process: what the clients cost is missing from the service's \
         rate."
            .to_owned(),
        format!("Requests refused as too many and sent again: {}.", refused.load(Ordering::Relaxed)),
    ];
    Ok(findings)
}

/// The texts of a round in requests, at most so many.
fn drawn_batches(drawn: &[Drawn], round: usize, size: usize, most: usize) -> Vec<&[String]> {
    drawn.get(round).map_or(&[][..], |drawn| &drawn.texts).chunks(size).take(most).collect()
}

/// The real service on a free port of this machine.
struct Service {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
    _folder: TempDir,
}

impl Service {
    fn start(embedder: Arc<dyn Embedder>, clients: usize) -> Result<Self, BenchError> {
        let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
        let models = ServedModels::new(OnlyEmbedder::new(embedder));
        let data = DataDir::open(folder.path())?;
        let engine = Arc::new(Engine::open(&data, models, None, EngineOptions::default())?);
        let failed = |e: &dyn std::fmt::Display| BenchError::Service(e.to_string());
        let runtime = Runtime::new().map_err(|e| failed(&e))?;
        let listener = runtime.block_on(bind((Ipv4Addr::LOCALHOST, 0).into())).map_err(|e| failed(&e))?;
        let address = listener.local_addr().map_err(|e| failed(&e))?;
        // A place for each client's next request beside the one whose reply is still on its way.
        let options = ServerOptions { max_in_flight: 2 * clients, preload: false, ..ServerOptions::default() };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let shutdown = async move { drop(stopped.await) };
            if let Err(error) = runtime.block_on(serve(listener, engine, options, shutdown)) {
                eprintln!("the service ended: {error}");
            }
        });
        Ok(Self { address, stop, thread, _folder: folder })
    }

    fn stop(self) {
        // A service that has ended by itself has said why.
        self.stop.send(()).ok();
        self.thread.join().ok();
    }
}

/// What clients need to know.
struct Load<'a> {
    address: SocketAddr,
    model: &'a str,
    clients: usize,
    refused: &'a AtomicUsize,
}

impl Load<'_> {
    /// Sends every batch as one request; each client takes the next one as soon as it has its reply, over a connection that
    /// it keeps. Returns the milliseconds of each.
    fn send(&self, batches: &[&[String]]) -> Result<Vec<f64>, BenchError> {
        let next = AtomicUsize::new(0);
        let milliseconds = Mutex::new(Vec::with_capacity(batches.len()));
        thread::scope(|scope| {
            let client = || -> Result<(), BenchError> {
                let agent = ureq::Agent::config_builder()
                    .timeout_global(Some(PATIENCE))
                    .http_status_as_error(false)
                    .proxy(None)
                    .build()
                    .new_agent();
                let mut own = Vec::new();
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    own.push(self.request(&agent, batch)?);
                }
                milliseconds.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
                Ok(())
            };
            let clients: Vec<_> = (0..self.clients).map(|_| scope.spawn(client)).collect();
            clients.into_iter().try_for_each(|client| {
                client.join().unwrap_or_else(|_| Err(BenchError::Service("a client panicked".to_owned())))
            })
        })?;
        Ok(milliseconds.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Milliseconds until the whole reply is here; a reply without a vector for every text is a failure.
    fn request(&self, agent: &ureq::Agent, texts: &[String]) -> Result<f64, BenchError> {
        let failed = |e: &dyn std::fmt::Display| BenchError::Service(e.to_string());
        let url = format!("http://{}/v1/embeddings", self.address);
        let body = json!({ "model": self.model, "input": texts, "encoding_format": "base64" }).to_string();
        let started = Instant::now();
        loop {
            let request = agent.post(&url).header("content-type", "application/json");
            let mut reply = request.send(&body).map_err(|e| failed(&e))?;
            let status = reply.status().as_u16();
            let text = reply.body_mut().with_config().limit(1 << 30).read_to_string().map_err(|e| failed(&e))?;
            match status {
                200 => {
                    let elapsed = started.elapsed().as_secs_f64() * 1e3;
                    return if vectors(&text) == texts.len() {
                        Ok(elapsed)
                    } else {
                        Err(failed(&"a vector is missing"))
                    };
                }
                429 => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(BACK_OFF);
                }
                _ => return Err(failed(&format_args!("status {status}: {}", anser_core::excerpt(&text, 200)))),
            }
        }
    }
}

/// How many vectors a reply holds, without the cost of understanding all of it.
fn vectors(reply: &str) -> usize {
    reply.matches("\"embedding\":\"").count()
}

#[cfg(test)]
mod tests {
    use anser_core::{Embedded, EmbedderInfo, Embedding};

    use super::*;

    /// Gives every text the same vector.
    struct Fixed(EmbedderInfo);

    impl Embedder for Fixed {
        fn info(&self) -> &EmbedderInfo {
            &self.0
        }

        fn embed(&self, texts: &[String], _: EmbedPurpose, _: &CancelToken) -> anser_core::Result<Vec<Embedded>> {
            let embedding = Embedding::normalize(vec![3.0, 4.0])?;
            Ok(texts.iter().map(|_| Embedded { embedding: embedding.clone(), tokens: 1, truncated: false }).collect())
        }

        fn count_tokens(&self, text: &str) -> anser_core::Result<usize> {
            Ok(text.len())
        }
    }

    #[test]
    fn every_request_of_every_client_is_answered_with_all_its_vectors() {
        let info = EmbedderInfo { model: "fixed".into(), dimension: 2, max_tokens: 8, fingerprint: "f".into() };
        let service = Service::start(Arc::new(Fixed(info)), 4).unwrap();
        let texts: Vec<String> = (0..50).map(|at| format!("text {at}")).collect();
        let batches: Vec<&[String]> = texts.chunks(3).collect();
        let refused = AtomicUsize::new(0);
        let load = Load { address: service.address, model: "fixed", clients: 4, refused: &refused };
        let milliseconds = load.send(&batches).unwrap();
        assert_eq!(milliseconds.len(), batches.len());
        assert!(milliseconds.iter().all(|took| *took > 0.0));
        let unknown = Load { model: "another", ..load };
        assert!(unknown.send(&batches).unwrap_err().to_string().contains("another"));
        service.stop();
    }
}
