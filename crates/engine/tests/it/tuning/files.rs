//! Uploads, lists, expiry and what is left after a crash.

use std::io::Write;

use anser_core::ErrorKind;
use anser_engine::{EngineError, FilePurpose, FileStatus, PageRequest};

use super::{Bench, examples, upload};

#[test]
fn an_upload_is_stored_as_it_came() {
    let bench = Bench::new();
    let file = bench.upload(&examples());
    assert!(file.id.starts_with("file-"));
    assert_eq!((file.filename.as_str(), file.purpose), ("train.jsonl", FilePurpose::FineTune));
    assert_eq!((file.bytes, file.status, file.expires_at), (examples().len() as u64, FileStatus::Processed, None));
    assert_eq!(file.sha256, anser_core::storage::sha256_hex(examples().as_bytes()));
    let path = bench.engine.file_path(&file.id).unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), examples());
    assert_eq!(bench.other_process().file(&file.id).unwrap(), file);
    bench.engine.delete_file(&file.id).unwrap();
    for error in [
        bench.engine.file(&file.id).unwrap_err(),
        bench.engine.file_path(&file.id).unwrap_err(),
        bench.engine.delete_file(&file.id).unwrap_err(),
        bench.engine.file("../control.sqlite").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    assert!(bench.names("files").is_empty());
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    let bench = Bench::new();
    let mut upload = bench.engine.begin_upload("x.bin", FilePurpose::UserData, None).unwrap();
    upload.write_all(b"half of it").unwrap();
    assert_eq!(bench.names("files").len(), 1);
    drop(upload);
    assert!(bench.names("files").is_empty());
    assert!(bench.engine.files(None, &PageRequest::default()).unwrap().items.is_empty());
}

#[test]
fn a_file_over_the_limit_is_refused_while_it_comes() {
    let bench = Bench::new();
    let mut upload = bench.engine.begin_upload("x.bin", FilePurpose::Batch, None).unwrap();
    upload.append(&[b'x'; 3999]).unwrap();
    let error = upload.append(b"xx").unwrap_err();
    assert_eq!((error.kind(), error.param()), (ErrorKind::TooLarge, Some("file")));
    assert!(error.to_string().contains("4000 bytes"), "{error}");
    assert_eq!(upload.finish().unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(bench.names("files").is_empty());
}

#[test]
fn faults_of_training_data_are_told_with_their_lines() {
    let bench = Bench::new();
    let text = format!("{}not json\n{}", examples(), "{\"message\": 1}\n".repeat(9));
    let error = upload(&bench.engine, &text).unwrap_err();
    assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidInput, Some("file")));
    let said = error.to_string();
    assert!(said.contains("train.jsonl") && said.contains("line 13: messages: there are no messages"), "{said}");
    assert!(said.contains("line 17") && !said.contains("line 18") && said.contains("and 5 more"), "{said}");
    let EngineError::TrainingFile { check, .. } = error else { panic!("{error}") };
    assert_eq!((check.problem_count, check.problems.len(), check.problems[9].line), (10, 10, 22));
    assert!(bench.names("files").is_empty());
    let empty = upload(&bench.engine, "").unwrap_err();
    assert_eq!((empty.kind(), empty.param()), (ErrorKind::InvalidInput, Some("file")));
}

#[test]
fn other_files_are_not_read() {
    let bench = Bench::new();
    let mut upload = bench.engine.begin_upload("notes.txt", FilePurpose::Assistants, None).unwrap();
    upload.write_all(b"not training data").unwrap();
    assert_eq!(upload.finish().unwrap().purpose, FilePurpose::Assistants);
    let refused = bench.engine.begin_upload("x", FilePurpose::FineTuneResults, None).err().unwrap();
    assert_eq!((refused.kind(), refused.param()), (ErrorKind::InvalidInput, Some("purpose")));
}

#[test]
fn lists_are_walked_by_page_and_purpose() {
    let bench = Bench::new();
    let ids: Vec<String> = (0..5).map(|_| bench.upload(&examples()).id).collect();
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    let mut seen = Vec::new();
    let mut page = PageRequest { limit: 2, ..PageRequest::default() };
    loop {
        let found = bench.engine.files(Some(FilePurpose::FineTune), &page).unwrap();
        page.after = found.items.last().map(|file| file.id.clone());
        seen.extend(found.items.into_iter().map(|file| file.id));
        if !found.has_more {
            break;
        }
    }
    assert_eq!(seen, newest_first);
    let ascending = PageRequest { ascending: true, ..PageRequest::default() };
    let all = bench.engine.files(None, &ascending).unwrap();
    assert_eq!(all.items.into_iter().map(|file| file.id).collect::<Vec<_>>(), ids);
    assert!(bench.engine.files(Some(FilePurpose::Batch), &ascending).unwrap().items.is_empty());
}

#[test]
fn a_file_goes_when_its_time_is_over_unless_a_job_needs_it() {
    let bench = Bench::new();
    let mut upload = bench.engine.begin_upload("x", FilePurpose::UserData, Some(3600)).unwrap();
    upload.write_all(b"x").unwrap();
    let file = upload.finish().unwrap();
    assert_eq!(file.expires_at, Some(file.created_at + 3600));
    let job = bench.job(|_| {});
    bench.control().execute("UPDATE files SET expires_at = 1000", []).unwrap();
    assert_eq!(bench.engine.file(&file.id).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(bench.engine.files(None, &PageRequest::default()).unwrap().items.is_empty());
    assert_eq!(bench.names("files"), std::slice::from_ref(&job.request.training_file));
    bench.run();
    assert_eq!(bench.status(&job.id).as_str(), "succeeded");
    bench.engine.files(None, &PageRequest::default()).unwrap();
    assert!(!bench.names("files").contains(&job.request.training_file));
    for seconds in [3599, 2_592_001] {
        let error = bench.engine.begin_upload("x", FilePurpose::UserData, Some(seconds)).err().unwrap();
        assert_eq!(error.param(), Some("expires_after"));
    }
}

#[test]
fn a_file_that_a_job_needs_is_not_deleted() {
    let bench = Bench::new();
    let job = bench.job(|_| {});
    let error = bench.engine.delete_file(&job.request.training_file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("needed by a job"), "{error}");
    bench.engine.cancel_fine_tuning_job(&job.id).unwrap();
    bench.engine.delete_file(&job.request.training_file).unwrap();
}

#[test]
fn what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not() {
    let bench = Bench::new();
    let kept = bench.upload(&examples());
    for name in [".file-dead", "file-renamed-but-without-row"] {
        std::fs::write(bench.folder.path().join("files").join(name), "x").unwrap();
    }
    let mut upload = bench.engine.begin_upload("x", FilePurpose::UserData, None).unwrap();
    upload.write_all(b"still coming").unwrap();
    bench.other_process();
    let names = bench.names("files");
    assert!(names.len() == 2 && names.contains(&kept.id), "{names:?}");
    let finished = upload.finish().unwrap();
    assert_eq!(bench.engine.file(&finished.id).unwrap().bytes, 12);
}
