//! Training files from outside: whatever they hold, reading them ends with problems that name their line.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anser_tune::data::{MINIMUM_EXAMPLES, check_training_file, read_training_file, read_validation_file};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::malformed_files::malformed_files;

fn write(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("data.jsonl");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn every_malformed_file_is_refused_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let files = malformed_files();
    let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let contents: BTreeSet<&[u8]> = files.iter().map(|file| file.bytes.as_slice()).collect();
    assert_eq!(names.len(), files.len(), "names are unique");
    assert!(contents.len() > 300, "only {} distinct files", contents.len());
    for file in &files {
        let path = write(&folder, &file.bytes);
        let (examples, check) = read_training_file(&path).unwrap();
        assert!(check.problem_count > 0, "{}: accepted", file.name);
        assert!(check.problems.iter().any(|p| p.line == file.line), "{}: line {}: {check:?}", file.name, file.line);
        assert!(examples.iter().all(|(line, _)| file.line == 0 || *line != file.line), "{}", file.name);
        assert_eq!(examples.len(), check.examples, "{}", file.name);
        for problem in &check.problems {
            assert!(problem.message.len() > 15 && problem.message.len() < 400, "{}: {problem:?}", file.name);
            assert!(!problem.message.contains(['\n', '\0']), "{}: {problem:?}", file.name);
        }
        assert_eq!(check_training_file(&path, MINIMUM_EXAMPLES).unwrap(), check, "{}", file.name);
    }
}

#[test]
fn a_file_that_is_missing_is_an_error_and_no_problem_list() {
    let folder = tempfile::tempdir().unwrap();
    let error = read_training_file(&folder.path().join("absent.jsonl")).unwrap_err();
    assert_eq!(error.kind(), anser_core::ErrorKind::Io);
    assert!(error.to_string().contains("absent.jsonl"));
    assert!(read_validation_file(folder.path()).is_err(), "a folder is no file");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_panic_and_none_are_examples(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        let (examples, check) = read_training_file(&write(&folder, &bytes)).unwrap();
        prop_assert!(examples.is_empty() && check.problem_count > 0);
    }

    #[test]
    fn a_damaged_file_gives_the_damaged_line_and_keeps_the_others(at in 0usize..2000, byte in any::<u8>()) {
        let line = r#"{"messages":[{"role":"user","content":"When do you open?"},{"role":"assistant","content":"At nine."}]}"#;
        let mut bytes = format!("{line}\n").repeat(20).into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let folder = tempfile::tempdir().unwrap();
        let (examples, check) = read_training_file(&write(&folder, &bytes)).unwrap();
        // A line break that is overwritten joins two lines; one that is added makes two of one.
        prop_assert!(examples.len() >= 18 && check.problem_count <= 3, "{check:?}");
        let damaged = at as u64 / (line.len() as u64 + 1) + 1;
        for problem in &check.problems {
            prop_assert!((damaged..=damaged + 1).contains(&problem.line), "{problem:?}, damaged {damaged}");
        }
    }

    #[test]
    fn what_is_written_is_read_back(prompt in "\\PC{0,40}", completion in "[^\0]{0,40}x", weight in any::<bool>()) {
        use anser_core::{ChatMessage, Role};
        use anser_tune::data::TrainingExample;
        let turn = |role, text: &str, learned| (ChatMessage::new(role, text), learned);
        let chat = TrainingExample::Chat { turns: vec![
            turn(Role::System, &prompt, false),
            turn(Role::User, &completion, false),
            turn(Role::Assistant, &completion, weight),
            turn(Role::User, &completion, false),
            turn(Role::Assistant, &completion, true),
        ] };
        let legacy = TrainingExample::PromptCompletion { prompt, completion };
        for example in [chat, legacy] {
            let folder = tempfile::tempdir().unwrap();
            let path = write(&folder, format!("{}\n", example.to_json_line()).as_bytes());
            let (examples, check) = read_validation_file(&path).unwrap();
            prop_assert_eq!(check.problem_count, 0);
            prop_assert_eq!(&examples, &[(1, example)]);
        }
    }
}
