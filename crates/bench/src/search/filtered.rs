//! Filtered search beside embedded vector databases: queries a second and recall where a share of all vectors may be found.

use std::cell::RefCell;
use std::rc::Rc;

use anser_core::{AttributeValue, Embedding};
use anser_index::{Filter, SearchParams};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use super::subject::{Asked, GraphShape, Rows, VALUE, embedder, insert, open};
use crate::contest::{ANSER, Contender, Figure, alternate};
use crate::corpus;
use crate::error::BenchError;
use crate::glosses::Glosses;
use crate::limits::Limits;
use crate::report::Quality;
use crate::run::{Findings, Run};
use crate::stats::recall;
use crate::workload::{FilteredTask, Workload};

const COLLECTION: &str = "filtered";
/// Values are drawn below this, so that a condition lets through as many per cent as its bound.
const VALUES: u8 = 100;

#[derive(Deserialize)]
struct Built {}

#[derive(Deserialize)]
struct Found {
    seconds: f64,
    found: Vec<Vec<usize>>,
}

/// Queries a second, one after another on one thread, at each selectivity.
pub(crate) fn run(
    run: &Run,
    workload: &Workload,
    task: &FilteredTask,
    limits: &Limits,
) -> Result<Findings, BenchError> {
    let mut findings = Findings::default();
    let (vectors, queries) = (task.vectors.at(run.scale), task.queries.at(run.scale));
    let glosses = Glosses::load(run, &task.corpus, (vectors + queries, workload.seed), &mut findings)?;
    let split = glosses.split(vectors, queries)?;
    let mut rng = ChaCha8Rng::seed_from_u64(workload.seed);
    let values: Vec<u8> = split.vectors.iter().map(|_| rng.random_range(0..VALUES)).collect();
    let dimension = split.queries.first().map_or(0, Embedding::dimension);
    let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
    let threads = workload.thread_count();
    let shape = GraphShape { m: task.m.get(), ef_construction: task.ef_construction.get() };

    let store = open(folder.path(), shape, threads)?;
    let collection = store.create(COLLECTION, &embedder(dimension))?;
    insert(&collection, &split.vectors, Some(&values))?;
    collection.seal()?;
    let rows = Rows::of(&collection)?;

    let write = |name: &str, values: &[f32]| corpus::write(folder.path(), name, values);
    let flat = |vectors: &[Embedding]| vectors.iter().flat_map(Embedding::as_slice).copied().collect::<Vec<f32>>();
    let numbers: Vec<f32> = values.iter().map(|value| f32::from(*value)).collect();
    let files = [
        write("vectors.f32", &flat(&split.vectors))?,
        write("queries.f32", &flat(&split.queries))?,
        write("values.f32", &numbers)?,
    ];
    let mut peers = Vec::new();
    for name in &task.peers {
        let load = json!({
            "op": "load", "database": name, "dimension": dimension,
            "vectors": files[0], "queries": files[1], "values": files[2],
        });
        let Some(mut peer) = run.peer(name, "filtered.py", threads, &load, &mut findings) else { continue };
        eprintln!("{}: {name} is built", workload.name);
        let shape = json!({"op": "build", "m": shape.m, "ef_construction": shape.ef_construction, "threads": threads});
        peer.ask::<Built>(&shape)?;
        peers.push((name.clone(), Rc::new(RefCell::new(peer))));
    }

    for percent in &task.percents {
        let below = *percent;
        let asked = Asked::new(&split.vectors, &split.queries, task.k.get(), &|row| {
            values.get(row).is_some_and(|value| *value < below)
        })?;
        let filter = Filter::Lt { key: VALUE.to_owned(), value: AttributeValue::Integer(i64::from(below)) };
        let params = SearchParams { filter: Some(filter.clone()), ..SearchParams::new(asked.k) };
        let explain = collection.search(&split.queries[0], &params)?.explain.filter;
        findings.notes.push(format!("{below} %: Anser chose {:?}.", explain.and_then(|filter| filter.strategy)));
        let rows = &rows;
        let queries = asked.queries;
        let mut contenders = vec![contender(ANSER, &asked, move || rows.search(queries, &params, 1))?];
        for (name, peer) in &peers {
            let request = json!({"op": "search", "k": asked.k, "ef": task.ef_search, "below": below});
            contenders.push(contender(name, &asked, move || {
                let reply: Found = peer.borrow_mut().ask(&request)?;
                Ok((reply.seconds, reply.found))
            })?);
        }
        let figures = [Figure::new(format!("search, {below} % pass"), "queries/s")];
        let name = format!("{}, {below} %", workload.name);
        findings.rows.extend(alternate(&name, workload.repeats.at(run.scale), &figures, contenders, limits)?);
    }
    findings.notes.push(format!(
        "{} glosses of WordNet 3.1 embedded by {}, each with a number below {VALUES} drawn from seed {}; {} queries, one \
         after another; the peers' beam is {}, Anser's its own choice. Recall is that of the first {} against exact filtered \
         search.",
        split.vectors.len(),
        task.corpus.model,
        workload.seed,
        split.queries.len(),
        task.ef_search,
        task.k
    ));
    Ok(findings)
}

/// A contender whose first search, untimed, gives its recall.
fn contender<'a>(
    label: &str,
    asked: &Asked<'_>,
    mut search: impl FnMut() -> Result<(f64, Vec<Vec<usize>>), BenchError> + 'a,
) -> Result<Contender<'a>, BenchError> {
    let value = recall(&search()?.1, &asked.truth);
    let queries = asked.queries.len() as f64;
    let mut contender = Contender::new(label, move |_| Ok(vec![queries / search()?.0]));
    contender.quality = vec![Quality::new("recall", value)];
    Ok(contender)
}
