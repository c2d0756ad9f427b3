//! A full disk, a folder that cannot be written, and clocks that lie.
//!
//! The first two need a file system of one's own: the test runs itself again in a namespace in which it may mount one.
//! Where the system does not allow that, it says so and tests nothing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use anser_core::ErrorKind;
use anser_core::storage::DataDir;
use anser_index::{IndexOptions, Store};

use crate::support::{Place, answers, direction, document, documents, embedder, files, filled, id, options, rng};
use crate::work::{Model, check_documents, check_search};

const DIMENSION: usize = 16;
/// Tells the child where its file system lies.
const FOLDER: &str = "ANSER_INDEX_LIMITS_TEST_FOLDER";

/// Runs the test called `child` in a namespace in which `mounts` was run before, with the folder as `$1`. `None`, said
/// loudly, where that cannot be done.
fn run_in_namespace(child: &str, mounts: &str, folder: &Path) -> Option<Output> {
    let namespace = |script: &str, arguments: &[&OsStr]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-e", "-c", script, "sh"]).args(arguments);
        command.env(FOLDER, folder).stdin(Stdio::null()).output()
    };
    let possible = namespace(mounts, &[folder.as_os_str()]);
    if !possible.as_ref().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI needs unshare and user namespaces: {possible:?}");
        eprintln!("\n*** SKIPPED: a file system cannot be mounted in a user namespace here ***\n");
        return None;
    }
    let script = format!("{mounts}\nexec \"$2\" \"$3\" --exact --nocapture --test-threads=1");
    let program = std::env::current_exe().unwrap();
    Some(namespace(&script, &[folder.as_os_str(), program.as_os_str(), OsStr::new(child)]).unwrap())
}

fn expect_success(child: &str, mounts: &str) {
    let folder = tempfile::tempdir().unwrap();
    let Some(output) = run_in_namespace(child, mounts, folder.path()) else { return };
    let text = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed") && text.contains("reached the end"), "{text}");
}

#[test]
fn a_full_disk_loses_nothing_and_works_again_when_there_is_space() {
    expect_success("limits::on_a_full_disk", "mount -t tmpfs -o size=6m tmpfs \"$1\"");
}

/// Not a test of its own: runs on a file system of 6 MiB.
#[test]
fn on_a_full_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let data = DataDir::open(folder).unwrap();
    let open = || Store::open(&data, IndexOptions { seal_threshold: 100, ..options() }).unwrap();
    let store = open();
    let collection = store.create("c", &embedder(DIMENSION)).unwrap();
    let filler = folder.join("filler");
    fs::write(&filler, vec![1u8; 2 << 20]).unwrap();
    let mut rng = rng(1);
    let mut model = Model::new();
    let (mut number, mut refused) = (0, 0);
    // Until it is full, and a good while longer.
    while refused < 20 {
        assert!(number < 20_000, "the disk does not fill");
        let mut new = document(format!("n{number}"), "v1", &[direction(&mut rng, DIMENSION)]);
        new.document.text.push_str(&"padding ".repeat(500));
        match collection.upsert(std::slice::from_ref(&new)) {
            Ok(_) => drop(model.insert(format!("n{number}"), new)),
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                let text = error.to_string();
                assert!(text.contains("collection.sqlite") && text.contains("full"), "{text}");
                // Segments cannot be made either; that is not worth more than an error.
                if let Err(error) = collection.seal() {
                    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                }
            }
        }
        number += 1;
    }
    let query = direction(&mut rng, DIMENSION);
    let check = |collection: &anser_index::Collection, model: &Model| {
        check_documents(collection, model);
        check_search(collection, model, &query, None);
    };
    check(&collection, &model);
    // Opened anew while it is full, its caches too old.
    drop((collection, store));
    let store = open();
    let collection = store.get("c").unwrap();
    check(&collection, &model);
    // What is there can still be deleted, or that is refused as a whole.
    match collection.delete(&[id("n0")]) {
        Ok(1) => drop(model.remove("n0")),
        other => assert_eq!(other.unwrap_err().kind(), ErrorKind::Io),
    }
    check(&collection, &model);
    fs::remove_file(&filler).unwrap();
    let new = document("later", "v1", &[direction(&mut rng, DIMENSION)]);
    collection.upsert(std::slice::from_ref(&new)).unwrap();
    model.insert("later".into(), new);
    collection.seal().unwrap();
    check(&collection, &model);
    drop((collection, store));
    check(&open().get("c").unwrap(), &model);
    println!("reached the end");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_and_left_as_it_is() {
    // The folder is filled before it is made read-only, by the same program outside the child.
    let place = Place::new();
    drop(filled(&place.store(), DIMENSION, &documents(1, 20, DIMENSION)));
    let root = place.data().root().to_path_buf();
    let Some(output) = run_in_namespace(
        "limits::in_a_read_only_folder",
        "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"",
        &root,
    ) else {
        return;
    };
    let text = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("reached the end"), "{text}");
    let output = run_in_namespace(
        "limits::in_a_collection_that_is_read_only",
        "mount --bind \"$1/collections/c\" \"$1/collections/c\"; mount -o remount,bind,ro \"$1/collections/c\"",
        &root,
    );
    let output = output.unwrap();
    let text = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("reached the end"), "{text}");
    assert_eq!(place.store().get("c").unwrap().info().unwrap().documents, 20);
}

/// Not a test of its own: its folder cannot be written at all.
#[test]
fn in_a_read_only_folder() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let error = DataDir::open(Path::new(&folder)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let text = error.to_string();
    assert!(text.contains(&*folder.to_string_lossy()) && text.contains("--data-dir"), "{text}");
    println!("reached the end");
}

/// Not a test of its own: one of its collections cannot be written.
#[test]
fn in_a_collection_that_is_read_only() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Store::open(&DataDir::open(Path::new(&folder)).unwrap(), options()).unwrap();
    // It may be read or refused, but in one sentence that names the file, and nothing is written.
    match store.get("c") {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            assert!(error.to_string().contains("collection.sqlite"), "{error}");
        }
        Ok(collection) => {
            let error = collection.upsert(&documents(2, 1, DIMENSION)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        }
    }
    assert_eq!(store.list().unwrap().iter().filter(|info| info.documents != 20).count(), 0);
    store.create("other", &embedder(DIMENSION)).unwrap().upsert(&documents(3, 5, DIMENSION)).unwrap();
    assert!(store.delete("other").unwrap());
    println!("reached the end");
}

/// Sets the times of all files below a folder.
fn set_times(folder: &Path, time: SystemTime) {
    for path in files(folder) {
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn file_times_of_the_future_or_of_long_ago_change_nothing() {
    let place = Place::new();
    let before = {
        let store = place.store();
        let collection = filled(&store, DIMENSION, &documents(1, 700, DIMENSION));
        collection.seal().unwrap();
        collection.delete(&[id("d4")]).unwrap();
        answers(&collection, DIMENSION)
    };
    let year = Duration::from_hours(24 * 365);
    for time in [SystemTime::now() + 30 * year, SystemTime::UNIX_EPOCH, SystemTime::now() - year] {
        set_times(place.data().root(), time);
        let store = place.store();
        let collection = store.get("c").unwrap();
        assert_eq!(answers(&collection, DIMENSION), before);
        collection.upsert(&documents(1, 1, DIMENSION)).unwrap();
        collection.seal().unwrap();
        assert_eq!(answers(&collection, DIMENSION), before);
    }
}

#[test]
fn a_creation_that_seems_to_lie_in_the_future_is_not_taken_for_an_old_one() {
    let place = Place::new();
    let folder = place.data().collections();
    for (name, hours, kept) in [(".creating-a", -48i64, false), (".creating-b", 0, true), (".creating-c", 48, true)] {
        let made = folder.join(name);
        fs::create_dir_all(&made).unwrap();
        fs::write(made.join("collection.sqlite"), b"half").unwrap();
        let offset = Duration::from_hours(hours.unsigned_abs());
        let time = if hours < 0 { SystemTime::now() - offset } else { SystemTime::now() + offset };
        File::open(&made).unwrap().set_modified(time).unwrap();
        drop(place.store());
        assert_eq!(made.exists(), kept, "{name}");
    }
}

#[test]
fn a_date_of_creation_that_cannot_be_is_an_error_and_any_other_is_shown() {
    let place = Place::new();
    drop(filled(&place.store(), DIMENSION, &documents(1, 5, DIMENSION)));
    let database = place.folder("c").join("collection.sqlite");
    let set = |value: i64| {
        let connection = rusqlite::Connection::open(&database).unwrap();
        connection.execute("UPDATE meta SET value = ?1 WHERE key = 'created_at'", [value]).unwrap();
    };
    for seconds in [0, -86_400, 32_503_680_000] {
        set(seconds);
        assert_eq!(place.store().get("c").unwrap().info().unwrap().created_at.unix_timestamp(), seconds);
    }
    set(i64::MAX);
    assert_eq!(place.store().get("c").unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(place.store().list().unwrap().is_empty());
}
