//! Several processes that write, search, seal and compact at once are killed at random moments: every acknowledged write
//! is there, each write is there as a whole or not at all, and nothing is left lying about.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anser_core::storage::DataDir;
use anser_core::{CancelToken, NoProgress};
use anser_index::{Collection, IndexError, IndexOptions, SearchMode, SearchParams, SearchQuery, Store};
use rand::Rng;

use crate::support::{Place, direction, embedder, options, rng};
use crate::work::{DIMENSION, Model, Operation, check, orphans, word};

/// Tells the child where to write.
const FOLDER: &str = "ANSER_INDEX_KILL_TEST_FOLDER";
/// Tells it which writers it plays and where each goes on: `writer:number,writer:number`.
const WRITERS: &str = "ANSER_INDEX_KILL_TEST_WRITERS";
/// How many rounds the long test takes.
const ROUNDS: &str = "ANSER_TEST_KILL_ROUNDS";
/// How long a child may take until it writes.
const PATIENCE: Duration = Duration::from_mins(1);

fn store(folder: &Path) -> Store {
    Store::open(&DataDir::open(folder).unwrap(), IndexOptions { seal_threshold: 150, ..options() }).unwrap()
}

/// Says something to the parent, in one piece whoever else speaks.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone; then nobody needs to know.
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

/// Whatever fails in the child is a failure of the test.
fn must<T>(what: &str, outcome: Result<T, IndexError>) {
    if let Err(e) = outcome {
        say(&format!("broken {what}: {e}"));
        std::process::exit(3);
    }
}

/// Not a test of its own: what the killed process does. It says which operation of which writer is done, for ever.
#[test]
fn worker() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = store(Path::new(&folder));
    let collection = &*store.get("c").unwrap();
    let writers = std::env::var(WRITERS).unwrap();
    std::thread::scope(|scope| {
        for (writer, from) in writers.split(',').filter_map(|part| part.split_once(':')) {
            let (writer, from) = (writer.parse::<u64>().unwrap(), from.parse::<u64>().unwrap());
            scope.spawn(move || {
                for number in from.. {
                    must("write", Operation::numbered(writer, number).run(collection));
                    say(&format!("done {writer} {number}"));
                }
            });
        }
        scope.spawn(move || maintain(collection));
        scope.spawn(move || search(collection));
    });
}

fn maintain(collection: &Collection) {
    let mut rng = rng(5);
    loop {
        std::thread::sleep(Duration::from_millis(rng.random_range(0..40)));
        must("seal", collection.seal());
        if rng.random_bool(0.3) {
            must("compact", collection.compact(&NoProgress, &CancelToken::new()));
        }
    }
}

fn search(collection: &Collection) {
    for seed in 0.. {
        let vector = direction(&mut rng(seed), DIMENSION);
        let words = word(seed % 4, seed % 50);
        for mode in [SearchMode::Vector, SearchMode::Keyword, SearchMode::Hybrid] {
            let query = SearchQuery { vector: Some(&vector), text: Some(&words) };
            let filter = (seed % 2 == 0).then(|| format!("number >= {}", seed % 30).parse().unwrap());
            let params = SearchParams { mode: Some(mode), exact: Some(seed % 3 == 0), filter, ..SearchParams::new(20) };
            must("search", collection.search(query, &params));
        }
    }
}

struct Killed {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Killed {
    /// Starts a child that plays `writers`, and waits until it writes.
    fn start(folder: &Path, writers: &[(u64, u64)]) -> Self {
        let list: Vec<String> = writers.iter().map(|(writer, from)| format!("{writer}:{from}")).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::worker", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .env(WRITERS, list.join(","))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Kills it and notes in `done` what it acknowledged: how many operations of each writer.
    fn kill(mut self, done: &mut BTreeMap<u64, u64>) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for line in self.lines {
            assert!(!line.contains("broken"), "{line}");
            // The test harness writes its own words in front of the first line.
            let Some((_, rest)) = line.split_once("done ") else { continue };
            // A line that the end of the process cut off was not said.
            let Some((writer, number)) = rest.split_once(' ') else { continue };
            done.insert(writer.parse().unwrap(), number.parse::<u64>().unwrap() + 1);
        }
    }
}

/// What must be stored of one writer after so many of its operations.
fn model_of(writer: u64, operations: u64) -> Model {
    let mut model = Model::new();
    (0..operations).for_each(|number| Operation::numbered(writer, number).note(&mut model));
    model
}

fn rounds(rounds: u64) {
    let place = Place::new();
    let folder = place.data().root().to_path_buf();
    store(&folder).create("c", &embedder(DIMENSION)).unwrap();
    let mut done: BTreeMap<u64, u64> = (0..4).map(|writer| (writer, 0)).collect();
    let mut rng = rng(11);
    for round in 0..rounds {
        let part = |writers: &[u64]| writers.iter().map(|writer| (*writer, done[writer])).collect::<Vec<_>>();
        let children = [Killed::start(&folder, &part(&[0, 1])), Killed::start(&folder, &part(&[2, 3]))];
        let before: u64 = done.values().sum();
        let first = children[0].lines.recv_timeout(PATIENCE).unwrap();
        assert!(!first.contains("broken"), "{first}");
        for child in children {
            std::thread::sleep(Duration::from_millis(rng.random_range(5..150)));
            child.kill(&mut done);
        }
        let store = store(&folder);
        let collection = store.get("c").unwrap();
        let stored = collection.documents(None, 100_000).unwrap();
        let mut model = Model::new();
        for (writer, count) in &mut done {
            // One more may have been committed without being told.
            let whole = (*count..=*count + 1).find_map(|operations| {
                let model = model_of(*writer, operations);
                let of = stored.iter().filter(|document| document.id.as_str().starts_with(&format!("w{writer}-")));
                of.eq(model.values().map(|new| &new.document)).then_some((operations, model))
            });
            let (operations, of_writer) =
                whole.unwrap_or_else(|| panic!("round {round}: writer {writer} after {count} operations: {stored:?}"));
            *count = operations;
            model.extend(of_writer);
        }
        check(&collection, &model, round);
        // One pass of maintenance clears away what was interrupted.
        let next = Operation::numbered(0, done[&0]);
        next.run(&collection).unwrap();
        done.entry(0).and_modify(|count| *count += 1);
        collection.seal().unwrap();
        drop((collection, store));
        assert_eq!(orphans(&place.folder("c")), Vec::<std::path::PathBuf>::new(), "round {round}");
        assert!(done.values().sum::<u64>() >= before, "round {round}");
    }
    assert!(done.values().sum::<u64>() > rounds, "the children did nothing: {done:?}");
    let mut model = Model::new();
    for (writer, count) in &done {
        model.extend(model_of(*writer, *count));
    }
    std::fs::remove_dir_all(place.cache("c")).unwrap();
    check(&store(&folder).get("c").unwrap(), &model, 1);
}

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_lost() {
    rounds(10);
}

#[test]
#[ignore = "takes minutes: ANSER_TEST_KILL_ROUNDS=200 cargo test -p anser-index --test it -- --ignored kill::"]
fn killed_many_times() {
    rounds(std::env::var(ROUNDS).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200));
}
