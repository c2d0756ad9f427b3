//! Embedding anew, with the process dying, errors, cancels and writers at every moment.

use std::cell::Cell;
use std::path::Path;

use anser_core::storage::DataDir;
use anser_core::{CancelToken, Document, DocumentId, EmbedPurpose, ErrorKind, NoProgress, StopReason, StopSignal};
use anser_index::GenerationState;
use tempfile::TempDir;

use super::{ReembedOptions, ReembedReport};
use crate::jobs::{Moment, with_faults};
use crate::letters::LettersLoader;
use crate::{Engine, EngineError, EngineOptions, Job, JobState, ModelLoader as _, ServedModels};

const ROWS: usize = 60;

fn open(folder: &Path, dimension: usize) -> Engine {
    let models = ServedModels::new(LettersLoader(dimension));
    Engine::open(&DataDir::open(folder).unwrap(), models, None, EngineOptions::default()).unwrap()
}

fn document(row: usize) -> Document {
    Document {
        id: DocumentId::new(format!("d{row:03}")).unwrap(),
        title: None,
        text: format!("{row} {}", ["kettle", "lamp", "hose", "pan"][row % 4]),
        attributes: [].into(),
    }
}

fn ingest(engine: &Engine, rows: std::ops::Range<usize>) {
    let documents = rows.map(document).collect();
    engine.ingest_documents("notes", documents, &NoProgress, &CancelToken::new()).unwrap();
}

/// A folder with a collection of a model of 8 dimensions.
fn filled() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    ingest(&open(folder.path(), 8), 0..ROWS);
    folder
}

fn options() -> ReembedOptions {
    ReembedOptions { batch: 7, queries: 10, ..ReembedOptions::default() }
}

fn run(engine: &Engine, job: &str) -> Job {
    engine.run_job_here(job, &StopSignal::default(), &mut |_| {}, &NoProgress).unwrap()
}

#[track_caller]
fn assert_searched_by(folder: &Path, dimension: usize, rows: usize) {
    let collection = open(folder, dimension).collection_for_embedder("notes").unwrap();
    assert_eq!(collection.embedder().dimension, dimension);
    let embedder = LettersLoader(dimension).embedder().unwrap();
    for row in 0..rows {
        let texts = [document(row).text];
        let vector = embedder.embed(&texts, EmbedPurpose::Query, &CancelToken::new()).unwrap().remove(0).embedding;
        let found = collection.search(&vector, &anser_index::SearchParams::new(1)).unwrap().hits;
        assert!(found[0].score > 0.999, "{row}: {found:?}");
    }
    assert_eq!(collection.info().unwrap().chunks, rows as u64);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

const MOMENTS: [Moment; 6] =
    [Moment::Read, Moment::Write, Moment::Collected, Moment::BeforeMove, Moment::AfterMove, Moment::BeforeCommit];

#[test]
fn another_model_takes_over_and_the_way_back_is_open() {
    let folder = filled();
    let engine = open(folder.path(), 5);
    let error = engine.collection_for_embedder("notes").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("anser reembed notes"), "{error}");
    let job = run(&engine, &engine.create_reembed_job("notes", &options()).unwrap().id);
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let report: ReembedReport = serde_json::from_value(job.detail).unwrap();
    assert_eq!((report.from.as_str(), report.to.as_str()), ("letters-8", "letters-5"));
    assert_eq!((report.chunks, report.embedded, report.truncated), (ROWS as u64, ROWS as u64, 0));
    let overlap = report.overlap.unwrap();
    assert_eq!((overlap.queries, overlap.k), (10, 10));
    assert!(overlap.mean > 0.0 && overlap.mean <= 1.0);
    assert_searched_by(folder.path(), 5, ROWS);
    let again = engine.create_reembed_job("notes", &options()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InvalidInput, "{again}");
    // One came since: the way back needs its model.
    ingest(&engine, ROWS..ROWS + 1);
    let back = ReembedOptions { rollback: true, ..options() };
    let job = run(&engine, &engine.create_reembed_job("notes", &back).unwrap().id);
    let failure = job.failure.unwrap();
    assert_eq!(failure.code, "unavailable");
    assert!(
        failure.message.contains("1 of 61 chunks") && failure.message.contains("--embedder letters-8"),
        "{failure:?}"
    );
    assert_searched_by(folder.path(), 5, ROWS + 1);
    drop(engine);
    let engine = open(folder.path(), 8);
    let job = run(&engine, &engine.create_reembed_job("notes", &back).unwrap().id);
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let report: ReembedReport = serde_json::from_value(job.detail).unwrap();
    assert_eq!((report.to.as_str(), report.embedded), ("letters-8", 1));
    assert_searched_by(folder.path(), 8, ROWS + 1);
    assert!(engine.drop_previous_vectors("notes").unwrap());
    assert_eq!(engine.create_reembed_job("notes", &back).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_process_that_dies_at_any_moment_costs_only_the_step_it_was_at() {
    for moment in MOMENTS {
        let folder = filled();
        let engine = open(folder.path(), 5);
        let id = engine.create_reembed_job("notes", &options()).unwrap().id;
        let left = tempfile::tempdir().unwrap();
        let (from, to, times) = (folder.path().to_path_buf(), left.path().to_path_buf(), Cell::new(0));
        let hook = move |now: Moment| {
            if now == moment {
                times.set(times.get() + 1);
                // Within the embedding, some steps after its beginning.
                if times.get() == if matches!(moment, Moment::Read | Moment::Write) { 4 } else { 1 } {
                    copy(&from, &to);
                }
            }
            Ok(())
        };
        with_faults(hook, || run(&engine, &id));
        let engine = open(left.path(), 5);
        assert_eq!(engine.job(&id).unwrap().state, JobState::Running, "{moment:?}");
        let job = run(&engine, &id);
        assert_eq!(job.state, JobState::Succeeded, "{moment:?}: {:?}", job.failure);
        let report: ReembedReport = serde_json::from_value(job.detail).unwrap();
        match moment {
            Moment::Read => assert_eq!(report.embedded, ROWS as u64 - 21),
            Moment::Write => assert_eq!(report.embedded, ROWS as u64 - 28),
            Moment::AfterMove | Moment::BeforeCommit => assert_eq!(report.embedded, ROWS as u64, "of the run before"),
            _ => assert_eq!(report.embedded, 0, "{moment:?}"),
        }
        drop(engine);
        assert_searched_by(left.path(), 5, ROWS);
    }
}

#[test]
fn an_error_or_a_cancel_at_any_moment_leaves_the_collection_as_it_was_searched() {
    for moment in MOMENTS.into_iter().filter(|moment| !matches!(moment, Moment::AfterMove | Moment::BeforeCommit)) {
        for cancel in [false, true] {
            if cancel && moment == Moment::BeforeMove {
                // Too late: the exchange is next.
                continue;
            }
            let folder = filled();
            let engine = open(folder.path(), 5);
            let id = engine.create_reembed_job("notes", &options()).unwrap().id;
            let stop = StopSignal::default();
            let asked = stop.clone();
            let hook = move |now: Moment| match (now == moment, cancel) {
                (false, _) => Ok(()),
                (true, true) => {
                    asked.stop(StopReason::Cancel);
                    // Whoever is at the job hears of it soon after.
                    std::thread::sleep(std::time::Duration::from_millis(600));
                    Ok(())
                }
                (true, false) => Err(EngineError::io("write", "the-place", std::io::ErrorKind::StorageFull.into())),
            };
            let job = with_faults(hook, || engine.run_job_here(&id, &stop, &mut |_| {}, &NoProgress).unwrap());
            let expected = if cancel { JobState::Cancelled } else { JobState::Failed };
            assert_eq!(job.state, expected, "{moment:?}: {:?}", job.failure);
            let states: Vec<_> =
                engine.collection("notes").unwrap().generations().unwrap().into_iter().map(|g| g.state).collect();
            let kept = [GenerationState::Current, GenerationState::Building];
            assert_eq!(states, &kept[..if cancel { 1 } else { 2 }], "{moment:?}");
            drop(engine);
            assert_searched_by(folder.path(), 8, ROWS);
        }
    }
}

#[test]
fn documents_that_come_at_any_moment_are_there_afterwards() {
    for moment in [Moment::Write, Moment::Collected, Moment::BeforeMove] {
        let folder = filled();
        let engine = open(folder.path(), 5);
        let id = engine.create_reembed_job("notes", &options()).unwrap().id;
        let (path, come) = (folder.path().to_path_buf(), Cell::new(0));
        let hook = move |now: Moment| {
            if now == moment && come.get() < 2 {
                let row = ROWS + come.get();
                come.set(come.get() + 1);
                ingest(&open(&path, 8), row..row + 1);
            }
            Ok(())
        };
        let job = with_faults(hook, || run(&engine, &id));
        assert_eq!(job.state, JobState::Succeeded, "{moment:?}: {:?}", job.failure);
        drop(engine);
        assert_searched_by(folder.path(), 5, ROWS + 2);
    }
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let folder = filled();
    let engine = open(folder.path(), 5);
    let wrong = [
        ("batch", ReembedOptions { batch: 0, ..options() }),
        ("load", ReembedOptions { load: 0.0, ..options() }),
        ("load", ReembedOptions { load: f64::NAN, ..options() }),
        ("queries", ReembedOptions { queries: 10_001, ..options() }),
        ("model", ReembedOptions { model: Some("another".into()), ..options() }),
        ("rollback", ReembedOptions { rollback: true, ..options() }),
    ];
    for (param, options) in wrong {
        let error = engine.create_reembed_job("notes", &options).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidInput, Some(param)), "{error}");
    }
    assert_eq!(engine.create_reembed_job("missing", &options()).unwrap_err().kind(), ErrorKind::NotFound);
}
