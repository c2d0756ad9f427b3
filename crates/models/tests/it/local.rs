//! Model folders of the user's own.

use std::fs;

use anser_core::storage::sha256_hex;
use anser_core::{ErrorKind, NoProgress};
use anser_models::{ModelStatus, ModelStore, ModelStoreOptions, ModelsError};

use crate::support::{CONFIG, FIRST, HONEST, Place};

fn with_local(place: &Place) -> ModelStore {
    place.store_with(ModelStoreOptions { local: Some(place.path("own")), ..place.options() })
}

#[test]
fn the_user_s_own_files_come_first_and_have_their_own_fingerprint() {
    let place = Place::serving(&HONEST);
    let downloaded = place.store().ensure("first", &NoProgress).unwrap();
    fs::create_dir_all(place.path("own/first")).unwrap();
    fs::write(place.path("own/first/model.bin"), FIRST).unwrap();
    fs::write(place.path("own/first/config.json"), CONFIG).unwrap();

    let same = with_local(&place).ensure("first", &NoProgress).unwrap();
    assert_eq!(same.dir, place.path("own/first"));
    assert_eq!(same.fingerprint(), downloaded.fingerprint(), "the same bytes are the same model");

    fs::write(place.path("own/first/model.bin"), "fine-tuned").unwrap();
    let tuned = with_local(&place).ensure("first", &NoProgress).unwrap();
    assert_ne!(tuned.fingerprint(), downloaded.fingerprint());
    assert_eq!(tuned.spec.files[0].sha256, sha256_hex(b"fine-tuned"));
    assert_eq!(
        with_local(&place).status("first").unwrap(),
        ModelStatus::Present { path: place.path("own/first"), bytes: 12 }
    );
    assert_eq!(place.downloads(), 1);
}

#[test]
fn a_model_without_a_folder_of_its_own_is_downloaded() {
    let place = Place::serving(&HONEST);
    fs::create_dir_all(place.path("own")).unwrap();
    let files = with_local(&place).ensure("first", &NoProgress).unwrap();
    assert_eq!(files.dir, place.cache().join("first"));
}

#[test]
fn a_folder_that_lacks_a_file_is_an_error_not_a_download() {
    let place = Place::serving(&HONEST);
    fs::create_dir_all(place.path("own/first")).unwrap();
    fs::write(place.path("own/first/model.bin"), FIRST).unwrap();
    let error = with_local(&place).ensure("first", &NoProgress).unwrap_err();
    assert!(matches!(&error, ModelsError::LocalIncomplete { file, .. } if file == "config.json"), "{error}");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(matches!(with_local(&place).status("first").unwrap(), ModelStatus::Damaged { .. }));
    assert_eq!(place.downloads(), 0);
}
