//! JSON Lines and JSON.

use anser_core::{AttributeKind, AttributeValue};
use anser_engine::{FileFormat, IngestOptions};

use super::{Bench, check_counts};

#[test]
fn objects_on_lines_keep_their_types() {
    let bench = Bench::new();
    let report = bench
        .file(
            "faq.jsonl",
            concat!(
                r#"{"id": 7, "question": "How long?", "answer": "Two weeks.", "tags": ["ship", "time"], "rank": 1, "by": {"name": "Ann", "age": 30}}"#,
                "\n\n",
                r#"{"id": "b", "question": "Why?", "answer": "因为。", "rank": 2.5, "zip": "01234", "at": "2026-01-31T00:00:00Z", "open": true, "none": null}"#,
                "\n",
            ),
        )
        .unwrap();
    assert_eq!((report.inserted, report.rejected), (2, 0));
    assert_eq!(report.fields.text.as_ref().unwrap().column, "answer");
    assert_eq!(report.fields.title.as_ref().unwrap().column, "question");
    let documents = bench.documents();
    let first = &documents["7"];
    assert_eq!((first.title.as_deref(), first.text.as_str()), (Some("How long?"), "Two weeks."));
    assert_eq!(first.attributes["tags"], AttributeValue::StringList(vec!["ship".into(), "time".into()]));
    assert_eq!(first.attributes["rank"], AttributeValue::Float(1.0));
    assert_eq!(first.attributes["by.name"], AttributeValue::String("Ann".into()));
    assert_eq!(first.attributes["by.age"], AttributeValue::Integer(30));
    let second = &documents["b"];
    assert_eq!(second.attributes["zip"], AttributeValue::String("01234".into()));
    assert_eq!(second.attributes["at"].kind(), AttributeKind::Time);
    assert_eq!(second.attributes["open"], AttributeValue::Bool(true));
    assert!(!second.attributes.contains_key("none"));
}

#[test]
fn the_member_attributes_gives_attributes_by_their_own_names() {
    let bench = Bench::new();
    let content = concat!(
        r#"{"id":"a","text":"x","attributes":{"score":5,"id":"inner","sku":"k1"}}"#,
        "\n",
        r#"{"id":"b","text":"y","attributes":{"score":4},"sku":"k2"}"#
    );
    bench.file("a.jsonl", content).unwrap();
    let documents = bench.documents();
    assert_eq!(documents["a"].attributes["score"], AttributeValue::Integer(5));
    assert_eq!(documents["a"].attributes["attributes.id"], AttributeValue::String("inner".into()));
    assert_eq!(documents["a"].attributes["attributes.sku"], AttributeValue::String("k1".into()));
    assert_eq!(documents["b"].attributes["sku"], AttributeValue::String("k2".into()));
}

#[test]
fn an_empty_text_is_rejected_and_no_other_member_takes_its_place() {
    let bench = Bench::new();
    let report = bench.file("a.jsonl", r#"{"id":"q","title":"A title","text":""}"#).unwrap();
    assert_eq!((report.inserted, report.rejected), (0, 1), "{report:?}");
    assert!(bench.file("b.jsonl", r#"{"id":"q","title":"A title"}"#).is_err(), "an id or title is not a text");
}

#[test]
fn bad_lines_are_reported_and_the_others_kept() {
    let bench = Bench::new();
    let mut content = b"{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\"\n[1]\n{\"id\":4,\"text\":\"\xFF\"}\n".to_vec();
    content.extend(b"{\"id\":5,\"text\":\"");
    content.resize(content.len() + (50 << 20), b'x');
    content.extend(b"\"}\n{\"id\":6,\"text\":\"f\"}");
    let report = bench.file("a.jsonl", content).unwrap();
    check_counts(&report);
    assert_eq!((report.inserted, report.rejected), (2, 4));
    let errors: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
    assert!(errors[0].starts_with("line 2: invalid JSON at column"), "{errors:?}");
    assert_eq!(errors[1], "line 3: expected a JSON object, found an array");
    assert!(errors[2].starts_with("line 4: not valid UTF-8"), "{errors:?}");
    assert!(errors[3].starts_with("line 5: the row is longer than the limit of 16 MiB"), "{errors:?}");
}

#[test]
fn an_array_is_read_alone_or_inside_an_object() {
    for content in [
        r#"[{"id":"a","text":"x [y] \"z\" {"},{"id":"b","text":"\\"}]"#,
        "\u{feff} [\n {\"id\": \"a\", \"text\": \"x [y] \\\"z\\\" {\"} ,\n {\"id\": \"b\", \"text\": \"\\\\\"}\n]\n",
        r#"{"version": 1, "tags": ["a", "]"], "nested": {"rows": [{}]}, "rows": [{"id":"a","text":"x [y] \"z\" {"},{"id":"b","text":"\\"}], "n": 2}"#,
    ] {
        let bench = Bench::new();
        let report = bench.file("a.json", content).unwrap_or_else(|e| panic!("{content}: {e}"));
        assert_eq!((report.inserted, report.rejected), (2, 0), "{content}: {report:?}");
        let documents = bench.documents();
        assert_eq!((documents["a"].text.as_str(), documents["b"].text.as_str()), ("x [y] \"z\" {", "\\"));
    }
}

#[test]
fn objects_on_lines_are_read_whatever_the_file_is_called() {
    let bench = Bench::new();
    let report = bench.file("a.json", "{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\":\"b\"}\n").unwrap();
    assert_eq!(report.inserted, 2);
}

#[test]
fn a_bad_element_costs_one_row_and_a_broken_end_keeps_the_rows_before() {
    let bench = Bench::new();
    let content = "[{\"id\":1,\"text\":\"a\"},\n {\"id\":2,\"text\":oops},\n 3,\n {\"id\":4,\"text\":\"d\"}]";
    let report = bench.file("a.json", content).unwrap();
    assert_eq!((report.inserted, report.rejected), (2, 2));
    assert!(report.errors[0].to_string().starts_with("line 2: invalid JSON at column 16"), "{}", report.errors[0]);
    assert_eq!(report.errors[1].to_string(), "line 3: expected a JSON object, found a number");

    let error = bench.file("b.json", "[{\"id\":8,\"text\":\"h\"},\n {\"id\":9,\"text\":\"i").unwrap_err().to_string();
    assert!(error.contains("ends in the middle of the value that begins at line 2; the 1 rows before"), "{error}");
    assert_eq!(bench.documents()["8"].text, "h");

    let limit = IngestOptions { max_row_bytes: 1000, ..IngestOptions::default() };
    let long = format!("[{{\"id\":\"l\",\"text\":\"{}\"}},{{\"id\":\"m\",\"text\":\"short\"}}]", "x".repeat(200_000));
    let report = bench.file_with("c.json", long, &limit).unwrap();
    assert_eq!((report.inserted, report.rejected), (1, 1));
}

#[test]
fn json_without_rows_is_refused() {
    for (content, expected) in [
        ("", "it is empty (0 bytes)"),
        ("[]", "it holds no rows"),
        ("{\"a\": 1}", "without an array of objects"),
        ("\"text\"", "it must begin with [ or {"),
        ("{\"data\": [{\"paragraphs\": [{\"context\": \"x\"}], \"n\": 1}]", "found the end of the file"),
        ("[{\"n\": 1}]", "no column holds text; name the text column; the columns are n"),
    ] {
        let error = Bench::new().file("a.json", content).unwrap_err().to_string();
        assert!(error.contains(expected), "{content}: {error}");
    }
}

#[test]
fn a_second_array_is_mentioned() {
    let bench = Bench::new();
    let report = bench.file("a.json", r#"{"a": [{"id":1,"text":"x"}], "b": [{"id":2,"text":"y"}]}"#).unwrap();
    assert_eq!(report.inserted, 1);
    assert!(report.warnings[0].message.contains("only the array \"a\" was read"), "{:?}", report.warnings);
}

#[test]
fn request_bodies_are_read_like_files() {
    let bench = Bench::new();
    assert_eq!(bench.reader(FileFormat::Jsonl, "{\"id\":1,\"text\":\"a\"}\n").unwrap().inserted, 1);
    assert_eq!(bench.reader(FileFormat::Csv, "id,text\n1,a\n2,b\n").unwrap().unchanged, 1);
    let error = bench.reader(FileFormat::Csv, "").unwrap_err().to_string();
    assert_eq!(error, "the uploaded data: it is empty (0 bytes)");
}
