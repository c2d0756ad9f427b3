//! The domain types keep their promises at the border.

use anser_core::storage::{DataDir, check_name, folder_of, sha256_file, sha256_hex, write_atomic};
use anser_core::{AttributeKind, AttributeValue, ByteSpan, CancelToken, DocumentId, Embedding, ErrorKind};
use proptest::prelude::*;

#[test]
fn an_embedding_is_unit_norm_and_finite_or_it_is_refused() {
    let embedding = Embedding::normalize(vec![3.0, 4.0]).unwrap();
    assert_eq!(embedding.as_slice(), [0.6, 0.8]);
    for bad in [vec![], vec![0.0, 0.0], vec![1.0, f32::NAN], vec![f32::INFINITY, 0.0]] {
        assert_eq!(Embedding::normalize(bad).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(Embedding::from_unit(vec![1.0, 1.0]).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(embedding.cosine(&Embedding::normalize(vec![1.0]).unwrap()).is_err());
    assert!((embedding.cosine(&embedding).unwrap() - 1.0).abs() < 1e-6);
}

#[test]
fn attribute_values_keep_their_type_through_json() {
    let values = [
        (AttributeValue::Bool(true), AttributeKind::Bool),
        (AttributeValue::Integer(-3), AttributeKind::Integer),
        (AttributeValue::Float(2.5), AttributeKind::Float),
        (AttributeValue::Time(time::macros::datetime!(2026-01-02 03:04:05 UTC)), AttributeKind::Time),
        (AttributeValue::String("kettle".into()), AttributeKind::String),
        (AttributeValue::StringList(vec!["a".into(), "b".into()]), AttributeKind::StringList),
    ];
    for (value, kind) in values {
        let json = serde_json::to_string(&value).unwrap();
        let back: AttributeValue = serde_json::from_str(&json).unwrap();
        assert_eq!((back.kind(), &back), (kind, &value), "{json}");
    }
}

#[test]
fn a_cancelled_token_stops_its_clones() {
    let token = CancelToken::new();
    let clone = token.clone();
    assert!(clone.check().is_ok());
    token.cancel();
    assert_eq!(clone.check().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn an_atomic_write_replaces_the_file_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/manifest.json");
    write_atomic(&path, b"one").unwrap();
    write_atomic(&path, b"two").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    assert_eq!(sha256_file(&path).unwrap(), sha256_hex(b"two"));
    // A bare file name lies in the current folder.
    assert_eq!(folder_of("curves.svg".as_ref()), std::path::Path::new("."));
    assert_eq!(folder_of(&path), path.parent().unwrap());
}

#[test]
fn a_data_folder_that_cannot_be_made_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = DataDir::open(file.join("data")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("file"), "{error}");
}

proptest! {
    #[test]
    fn a_collection_name_never_leads_out_of_the_data_folder(name in "\\PC{0,80}") {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        if let Ok(path) = data.collection(&name) {
            prop_assert_eq!(path.parent().unwrap().to_path_buf(), data.collections());
            prop_assert_eq!(path.file_name().unwrap().to_str().unwrap(), name);
        } else {
            prop_assert!(check_name("collection", &name).is_err());
        }
    }

    #[test]
    fn document_ids_hold_no_control_characters_and_are_bounded(id in "(?s).{0,600}") {
        match DocumentId::new(id.clone()) {
            Ok(kept) => prop_assert!(kept.as_str() == id && !id.is_empty() && id.len() <= 512 && !id.chars().any(char::is_control)),
            Err(error) => prop_assert_eq!(error.param(), Some("id")),
        }
    }

    #[test]
    fn a_span_slices_whole_characters_or_nothing(text in "\\PC{0,20}", start in 0usize..70, end in 0usize..70) {
        if let Some(span) = ByteSpan::new(start, end) {
            let inside = end <= text.len() && text.is_char_boundary(start) && text.is_char_boundary(end);
            prop_assert_eq!(span.slice(&text).is_some(), inside);
        }
    }
}
