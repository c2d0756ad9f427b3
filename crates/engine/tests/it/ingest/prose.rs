//! Markdown, plain text, folders, and how texts become chunks.

use std::fmt::Write as _;

use anser_core::{CancelToken, NoProgress};
use anser_engine::{FileFormat, IngestOptions};

use super::{Bench, MAX_TOKENS, check_counts, count_tokens, fields};

#[test]
fn a_markdown_file_is_one_document_called_by_its_first_heading() {
    let bench = Bench::new();
    let report = bench.file("guide.md", "Intro.\n\n# Returns & refunds\n\nSend it back.\n").unwrap();
    assert_eq!((report.rows, report.inserted, report.fields.text.as_ref()), (1, 1, None));
    let documents = bench.documents();
    let document = &documents["guide.md"];
    assert_eq!(document.title.as_deref(), Some("Returns & refunds"));
    assert!(document.text.starts_with("Intro.\n"));
}

#[test]
fn a_folder_gives_one_document_for_each_text_with_its_path_as_id() {
    let bench = Bench::new();
    bench.write("docs/b.txt", "plain");
    bench.write("docs/a.md", "# A\n\ntext");
    bench.write("docs/deep/c.markdown", "no heading");
    bench.write("docs/.hidden/d.md", "hidden");
    bench.write("docs/table.csv", "id,text\n1,a\n");
    bench.write("docs/bad.txt", b"fine\nnot \xFF fine");
    bench.write("docs/empty.txt", b"");
    let path = bench.folder.path().join("docs");
    let options = IngestOptions::default();
    let report = bench.engine.ingest_file("c", &path, &options, &NoProgress, &CancelToken::new()).unwrap();
    check_counts(&report);
    assert_eq!((report.inserted, report.rejected), (3, 2));
    assert_eq!(bench.documents().into_keys().collect::<Vec<_>>(), ["a.md", "b.txt", "deep/c.markdown"]);
    let errors: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
    assert!(errors[0].starts_with("line 2: field \"bad.txt\": not valid UTF-8"), "{errors:?}");
    assert!(errors[1].contains("\"empty.txt\": it is empty"), "{errors:?}");

    let empty = bench.folder.path().join("none");
    std::fs::create_dir(&empty).unwrap();
    let error = bench.engine.ingest_file("c", &empty, &options, &NoProgress, &CancelToken::new()).unwrap_err();
    assert!(error.to_string().contains("holds no Markdown or text files"), "{error}");
}

#[test]
fn unusable_text_files_are_refused() {
    for (name, bytes, expected) in [
        ("a.txt", b"".to_vec(), "it is empty (0 bytes)"),
        ("a.md", b"one\ntwo\n\xC3".to_vec(), "line 3 is not valid UTF-8"),
        ("b.txt", vec![b'x'; 200], "longer than the limit of 100 bytes"),
    ] {
        let options = IngestOptions { max_text_bytes: 100, ..IngestOptions::default() };
        let error = Bench::new().file_with(name, bytes, &options).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn a_text_without_a_name_gets_an_id_from_its_content() {
    let bench = Bench::new();
    assert_eq!(bench.reader(FileFormat::Text, "some text").unwrap().inserted, 1);
    assert_eq!(bench.reader(FileFormat::Text, "some text").unwrap().unchanged, 1);
    assert_eq!(bench.reader(FileFormat::Text, "other text").unwrap().inserted, 1);
    assert!(bench.documents().keys().all(|id| id.len() == 32));
}

#[test]
fn long_texts_become_overlapping_chunks_within_the_limit() {
    let mut text = "# Long\n\n".to_owned();
    for i in 0..400 {
        writeln!(text, "Sentence number {i} says something about kettles. 第{i}句话说的是水壶。\n").unwrap();
    }
    let options = IngestOptions { chunk_tokens: 64, chunk_overlap: 24, ..IngestOptions::default() };
    for name in ["long.md", "long.txt"] {
        let bench = Bench::new();
        let report = bench.file_with(name, &text, &options).unwrap();
        let document = bench.documents().remove(name).unwrap();
        let chunks = bench.chunks(&document);
        assert_eq!(report.chunks, chunks.len() as u64);
        assert!(chunks.len() > 50, "{name}: {}", chunks.len());
        let mut covered = 0;
        let mut overlaps = 0;
        for chunk in &chunks {
            assert_eq!(chunk.span.slice(&document.text), Some(chunk.text.as_str()));
            assert_eq!(chunk.tokens as usize, count_tokens(&chunk.text));
            assert!(chunk.tokens <= 64, "{}", chunk.tokens);
            assert!(document.text.get(covered.min(chunk.span.start)..chunk.span.start).unwrap().trim().is_empty());
            overlaps += usize::from(chunk.span.start < covered);
            covered = chunk.span.end;
        }
        assert!(document.text[covered..].trim().is_empty());
        assert!(overlaps > chunks.len() / 2, "{name}: {overlaps} of {}", chunks.len());
        let embedded = bench.embedder.texts.lock();
        let with_title = embedded.iter().filter(|text| text.starts_with("Long\n\n")).count();
        assert_eq!(with_title, if name == "long.md" { chunks.len() } else { 0 });
    }
}

#[test]
fn a_title_never_pushes_the_text_out_of_the_model() {
    let bench = Bench::new();
    let title = "word ".repeat(5000);
    let text = "text ".repeat(1000);
    let report = bench.file("a.csv", format!("id,title,text\n1,{title},{text}\n")).unwrap();
    assert_eq!((report.inserted, report.truncated_chunks), (1, 0));
    for embedded in bench.embedder.texts.lock().iter() {
        assert!(count_tokens(embedded) + 2 <= MAX_TOKENS);
        assert!(embedded.starts_with("word word") && embedded.ends_with("text text"));
    }
}

#[test]
fn text_without_spaces_does_not_become_one_huge_chunk() {
    let bench = Bench::new();
    let text = "QUJD".repeat(25_000);
    bench.file("a.txt", &text).unwrap();
    let document = bench.documents().remove("a.txt").unwrap();
    let chunks = bench.chunks(&document);
    assert!(chunks.iter().all(|chunk| chunk.text.len() <= 256 * 12), "{}", chunks.len());
    assert!(chunks.len() >= 32);
}

#[test]
fn a_megabyte_of_chinese_is_cut_at_sentences() {
    let bench = Bench::new();
    let text = "水壶烧水很快，而且没有异味。价格也很合理！".repeat(17_000);
    let content = format!("{}\n", serde_json::json!({"id": "long", "text": text}));
    let report = bench.file_with("a.jsonl", content, &fields(None, None, Some("text"))).unwrap();
    let document = bench.documents().remove("long").unwrap();
    let chunks = bench.chunks(&document);
    assert_eq!(report.chunks, chunks.len() as u64);
    assert!(chunks.iter().all(|chunk| chunk.tokens <= 256));
    assert!(chunks.iter().all(|chunk| chunk.text.ends_with(['。', '！'])), "chunks end where sentences end");
}
