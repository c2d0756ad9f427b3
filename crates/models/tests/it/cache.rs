//! The cache: offline, damaged, shared by threads and processes.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anser_core::{ErrorKind, NoProgress};
use anser_models::{ModelStatus, ModelStore, ModelStoreOptions, ModelsError};

use crate::support::{FIRST, HONEST, Place, Recorded, overwrite};

fn offline(place: &Place) -> ModelStore {
    place.store_with(ModelStoreOptions { offline: true, ..place.options() })
}

#[test]
fn offline_never_downloads_and_says_what_to_run() {
    let place = Place::serving(&HONEST);
    let error = offline(&place).ensure("first", &NoProgress).unwrap_err();
    assert!(error.to_string().contains("`anser models pull first`"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(place.downloads(), 0);
    assert!(!place.cache().exists(), "offline leaves no trace");

    place.store().ensure("first", &NoProgress).unwrap();
    offline(&place).ensure("first", &NoProgress).unwrap();
    overwrite(&place.cache().join("first/model.bin"), b"damaged");
    let error = offline(&place).ensure("first", &NoProgress).unwrap_err();
    assert!(error.to_string().contains("damaged") && error.to_string().contains("model.bin"), "{error}");
    assert_eq!(place.downloads(), 1);
}

#[test]
fn a_damaged_file_is_noticed_and_fetched_again() {
    let place = Place::serving(&HONEST);
    let store = place.store();
    let path = store.ensure("first", &NoProgress).unwrap().path("model.bin").unwrap();
    let flipped: Vec<u8> = FIRST.iter().map(|b| b ^ 1).collect();
    for damage in [&b"cut"[..], &flipped, b""] {
        overwrite(&path, damage);
        // A write shows in the file's time; set it apart in case the clock is coarse.
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let status = store.status("first").unwrap();
        assert!(matches!(&status, ModelStatus::Damaged { reason } if reason.contains("model.bin")), "{status:?}");
        let progress = Recorded::default();
        store.ensure("first", &progress).unwrap();
        assert!(progress.notes().contains("damaged"), "{}", progress.notes());
        assert_eq!(fs::read(&path).unwrap(), FIRST);
        assert!(matches!(store.status("first").unwrap(), ModelStatus::Present { .. }));
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(store.status("first").unwrap(), ModelStatus::Damaged { reason } if reason.contains("missing")));
    store.ensure("first", &NoProgress).unwrap();
    assert_eq!(place.downloads(), 5);
}

#[test]
fn a_file_is_read_again_only_when_it_looks_different() {
    let place = Place::serving(&HONEST);
    let store = place.store();
    let path = store.ensure("first", &NoProgress).unwrap().path("model.bin").unwrap();
    let verified_at = fs::metadata(&path).unwrap().modified().unwrap();
    let flipped: Vec<u8> = FIRST.iter().map(|b| b ^ 1).collect();
    overwrite(&path, &flipped);
    let file = File::options().write(true).open(&path).unwrap();
    // The record of size and time is believed as long as both agree: this is what saves reading it at every start.
    file.set_modified(verified_at).unwrap();
    assert!(matches!(store.status("first").unwrap(), ModelStatus::Present { .. }));
    file.set_modified(verified_at + Duration::from_secs(1)).unwrap();
    assert!(matches!(store.status("first").unwrap(), ModelStatus::Damaged { .. }));
}

#[test]
fn files_put_there_by_hand_and_a_damaged_record_are_verified_anew() {
    let place = Place::serving(&HONEST);
    let store = place.store();
    store.ensure("first", &NoProgress).unwrap();
    for record in [&b"\xff{"[..], b"{\"model.bin\": 3}", b"[]"] {
        overwrite(&place.cache().join("first/.verified.json"), record);
        store.ensure("first", &NoProgress).unwrap();
    }
    fs::remove_file(place.cache().join("first/.verified.json")).unwrap();
    store.ensure("first", &NoProgress).unwrap();
    assert!(place.cache().join("first/.verified.json").exists());
    assert_eq!(place.downloads(), 1);
}

#[test]
fn a_cache_that_cannot_be_made_is_named() {
    let place = Place::serving(&HONEST);
    let cache = place.wheel().join("models");
    let store = place.store_with(ModelStoreOptions { cache: cache.clone(), ..place.options() });
    let error = store.ensure("first", &NoProgress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains(cache.to_str().unwrap()), "{error}");
    assert_eq!(place.downloads(), 0);
}

#[test]
fn remove_takes_one_model_and_says_whether_it_was_there() {
    let place = Place::serving(&HONEST);
    let store = place.store();
    assert!(!store.remove("first").unwrap());
    assert_eq!(store.status("first").unwrap(), ModelStatus::Missing);
    store.ensure("first", &NoProgress).unwrap();
    assert!(store.remove("first").unwrap());
    assert_eq!(store.status("first").unwrap(), ModelStatus::Missing);
    assert!(matches!(store.status("second").unwrap(), ModelStatus::Present { .. }));
    assert!(matches!(store.remove("../second"), Err(ModelsError::UnknownModel { .. })));
}

#[test]
fn what_a_killed_download_left_is_removed_by_the_next() {
    let place = Place::serving(&HONEST);
    let left = place.cache().join(".pull-both-1.0.Ab3dEf");
    let other = place.cache().join(".pull-other-2.0.Ab3dEf");
    for folder in [&left, &other] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("half.whl"), "half").unwrap();
    }
    place.store().ensure("first", &NoProgress).unwrap();
    assert!(!left.exists());
    assert!(other.exists(), "another model's download may still run");
}

#[test]
fn threads_that_want_the_same_wheel_at_once_download_it_once() {
    let place = Place::serving(&HONEST);
    fs::write(place.path("delay"), "0.3").unwrap();
    std::thread::scope(|scope| {
        for name in ["first", "second", "first", "second"] {
            let store = place.store();
            scope.spawn(move || store.ensure(name, &NoProgress).unwrap());
        }
    });
    assert_eq!(place.downloads(), 1);
}

#[test]
fn processes_that_want_the_same_wheel_at_once_download_it_once() {
    let place = Place::serving(&HONEST);
    fs::write(place.path("delay"), "0.3").unwrap();
    let this_test = std::env::current_exe().unwrap();
    let children: Vec<_> = ["first", "second", "first"]
        .map(|name| {
            Command::new(&this_test)
                .args(["--exact", "cache::pull_in_a_process_of_its_own", "--ignored", "--quiet"])
                .env("ANSER_TEST_MODEL", name)
                .env("ANSER_TEST_CACHE", place.cache())
                .env("ANSER_TEST_PYTHON", place.python())
                .spawn()
                .unwrap()
        })
        .into();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(place.downloads(), 1);
    assert!(matches!(place.store().status("first").unwrap(), ModelStatus::Present { .. }));
    assert!(matches!(place.store().status("second").unwrap(), ModelStatus::Present { .. }));
}

/// Run by the test above, in a process of its own.
#[test]
#[ignore = "part of processes_that_want_the_same_wheel_at_once_download_it_once"]
fn pull_in_a_process_of_its_own() {
    let Some(name) = std::env::var_os("ANSER_TEST_MODEL") else { return };
    let path = |variable| std::env::var_os(variable).map(PathBuf::from);
    let options = ModelStoreOptions {
        cache: path("ANSER_TEST_CACHE").unwrap(),
        offline: false,
        local: None,
        python: path("ANSER_TEST_PYTHON"),
    };
    let place = Place::serving(&HONEST);
    place.store_with(options).ensure(name.to_str().unwrap(), &NoProgress).unwrap();
}
