//! CSV and TSV: fields, types, and everything that can be wrong with a row.

use std::fmt::Write as _;

use anser_core::{AttributeKind, AttributeValue, ErrorKind};
use anser_engine::{EngineError, IngestOptions};

use super::{Bench, check_counts, fields};

#[test]
fn columns_are_guessed_and_typed() {
    let bench = Bench::new();
    let report = bench
        .file(
            "reviews.csv",
            "id,product,title,text,score,price,verified,date\n\
             r1,kettle,Great,\"Boils, and quickly\",5,19.90,true,2026-01-31\n\
             r2,kettle,,\"Says \"\"hello\"\" twice\",2,20,false,2026-02-01T10:00:00Z\n\
             r3,lamp,Dim,很暗,,,,\n",
        )
        .unwrap();
    assert_eq!((report.rows, report.inserted, report.rejected), (3, 3, 0));
    let resolved = &report.fields;
    assert_eq!(resolved.text.as_ref().unwrap().column, "text");
    assert!(resolved.text.as_ref().unwrap().guessed);
    assert_eq!(resolved.title.as_ref().unwrap().column, "title");
    assert_eq!(resolved.id.as_ref().unwrap().column, "id");
    let kinds: Vec<_> = resolved.attributes.iter().map(|a| (a.name.as_str(), a.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("product", AttributeKind::String),
            ("score", AttributeKind::Integer),
            ("price", AttributeKind::Float),
            ("verified", AttributeKind::Bool),
            ("date", AttributeKind::Time)
        ]
    );

    let documents = bench.documents();
    let first = &documents["r1"];
    assert_eq!((first.title.as_deref(), first.text.as_str()), (Some("Great"), "Boils, and quickly"));
    assert_eq!(first.attributes["score"], AttributeValue::Integer(5));
    assert_eq!(first.attributes["price"], AttributeValue::Float(19.9));
    assert!(matches!(first.attributes["date"], AttributeValue::Time(t) if t.unix_timestamp() == 1_769_817_600));
    assert_eq!(documents["r2"].text, "Says \"hello\" twice");
    assert_eq!(documents["r2"].title, None);
    assert_eq!(documents["r3"].attributes.len(), 1, "empty cells are missing");
    assert_eq!(bench.embedder.texts.lock()[0], "Great\n\nBoils, and quickly");
}

#[test]
fn the_text_is_the_longest_column_when_no_name_tells() {
    let bench = Bench::new();
    let report =
        bench.file("a.csv", "who,what,n\nann,a much longer piece of writing,1\nbob,more writing here,2\n").unwrap();
    assert_eq!(report.fields.text.unwrap().column, "what");
    assert_eq!(report.fields.id, None);
}

#[test]
fn separators_marks_and_line_breaks_of_other_programs_are_understood() {
    for (name, content) in [
        ("semicolon.csv", "id;text\n1;good, really\n"),
        ("tab.csv", "id\ttext\n1\tgood, really\n"),
        ("tabs.tsv", "id\ttext\n1\tgood, really\n"),
        ("bom.csv", "\u{feff}id,text\n1,\"good, really\"\n"),
        ("windows.csv", "id,text\r\n1,\"good, really\"\r\n"),
        ("old-mac.csv", "id,text\r1,\"good, really\"\r"),
        ("no-last-break.csv", "\n\nid,text\n\n1,\"good, really\""),
    ] {
        let bench = Bench::new();
        let report = bench.file(name, content).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((report.inserted, report.rejected), (1, 0), "{name}: {report:?}");
        assert_eq!(bench.documents()["1"].text, "good, really", "{name}");
    }
}

#[test]
fn bad_rows_are_reported_with_their_line_and_the_others_kept() {
    let bench = Bench::new();
    let mut content = b"id,text\n1,first\n2\n3,too,many\n4,\n,no id\n".to_vec();
    content.extend(b"6,caf\xE9\n");
    content.extend(b"7,\"two\nlines\"\n8,last\n");
    let report = bench.file("a.csv", content).unwrap();
    check_counts(&report);
    assert_eq!((report.rows, report.inserted, report.rejected), (8, 3, 5));
    let errors: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
    assert!(errors[0].starts_with("line 3: the row has 1 field but the header has 2"), "{errors:?}");
    assert!(errors[1].starts_with("line 4: the row has 3 fields but the header has 2; put quotes"), "{errors:?}");
    assert_eq!(errors[2], "line 5: field \"text\": the text is missing");
    assert_eq!(errors[3], "line 6: field \"id\": the id is missing");
    assert!(errors[4].starts_with("line 7: not valid UTF-8"), "{errors:?}");
    assert_eq!(bench.documents().into_keys().collect::<Vec<_>>(), ["1", "7", "8"]);
}

#[test]
fn a_quote_that_is_never_closed_costs_one_row() {
    let bench = Bench::new();
    let report = bench.file("a.csv", "id,text\n1,good\n2,\"broken\n3,fine\n4,also fine\n").unwrap();
    assert_eq!((report.rows, report.inserted, report.rejected), (4, 3, 1));
    let error = report.errors[0].to_string();
    assert!(error.starts_with("line 3: the quote opened on line 3 is never closed"), "{error}");
    assert_eq!(bench.documents().into_keys().collect::<Vec<_>>(), ["1", "3", "4"]);
}

#[test]
fn a_stray_quote_does_not_swallow_rows_up_to_the_next_quote() {
    let bench = Bench::new();
    let report = bench.file("a.csv", "id,text\n1,\"broken\n2,fine\n3,\"quoted, well\"\n4,\"ends\nhere\"\n").unwrap();
    assert_eq!((report.rows, report.inserted, report.rejected), (4, 3, 1), "{report:?}");
    assert!(report.errors[0].message.contains("opened on line 2 is closed on line 4 in the middle of a field"));
    assert_eq!(bench.documents()["3"].text, "quoted, well");
    assert_eq!(bench.documents()["4"].text, "ends\nhere");
}

#[test]
fn a_huge_line_is_skipped_within_bounded_memory() {
    let bench = Bench::new();
    let mut content = b"id,text\n1,before\n2,".to_vec();
    content.resize(content.len() + (50 << 20), b'x');
    content.extend(b"\n3,after\n");
    let report = bench.file("a.csv", &content).unwrap();
    assert_eq!((report.inserted, report.rejected), (2, 1));
    let error = report.errors[0].to_string();
    assert!(error.starts_with("line 3: the row is longer than the limit of 16 MiB (52428803 bytes)"), "{error}");

    // The same inside quotes, and as a row within the limit whose text is over its own.
    let quoted = ["id,text\n1,\"", &"x".repeat(3000), "\n", &"y".repeat(3000), "\"\n2,after\n"].concat();
    let options = IngestOptions { max_row_bytes: 5000, ..IngestOptions::default() };
    let report = Bench::new().file_with("b.csv", &quoted, &options).unwrap();
    assert_eq!((report.inserted, report.rejected), (1, 2), "{report:?}");
    assert!(report.errors[0].message.contains("not closed within the limit of 5 KiB"), "{:?}", report.errors);
    let options = IngestOptions { max_text_bytes: 5000, ..IngestOptions::default() };
    let report = Bench::new().file_with("b.csv", &quoted, &options).unwrap();
    assert_eq!((report.inserted, report.rejected), (1, 1));
    assert!(report.errors[0].message.contains("more than the limit of 5 KiB"), "{:?}", report.errors);

    let titled = [
        "id,title,text
1,",
        &"t".repeat(40_000),
        ",a text
2,short,another
",
    ]
    .concat();
    let report = Bench::new().file("c.csv", &titled).unwrap();
    assert_eq!((report.inserted, report.rejected), (1, 1));
    assert!(report.errors[0].message.contains("the title has 40000 bytes"), "{:?}", report.errors);
}

#[test]
fn unusable_files_are_refused_in_one_sentence_and_leave_no_collection() {
    let utf16: Vec<u8> =
        [0xFF, 0xFE].into_iter().chain("id,text\n1,a\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("empty.csv", Vec::new(), "it is empty (0 bytes)"),
        ("blank.csv", b" \n\n".to_vec(), "nothing but white space"),
        ("header.csv", b"id,text\n".to_vec(), "it holds no rows"),
        ("utf16.csv", utf16, "UTF-16; save it as UTF-8"),
        ("image.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), "it is not UTF-8 text"),
        ("sheet.csv", b"PK\x03\x04rest".to_vec(), "an office document; export it as CSV"),
        ("twice.csv", b"id,text,text\n1,a,b\n".to_vec(), "the column \"text\" more than once (id, text, text)"),
        (
            "numbers.csv",
            b"a,b\n1,2\n3,4\n".to_vec(),
            "no column holds text; name the text column; the columns are a, b",
        ),
        ("ragged.csv", b"id,text\n1\n2\n".to_vec(), "none of the first 2 rows can be read; line 2: "),
    ];
    for (name, content, expected) in cases {
        let bench = Bench::new();
        let error = bench.file(name, content).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        let message = error.to_string();
        assert!(message.contains(name) && message.contains(expected) && !message.contains('\n'), "{name}: {message}");
        assert!(bench.engine.collections().unwrap().is_empty(), "{name}");
    }
    let bench = Bench::new();
    let error = bench.file("table.xlsx", "x").unwrap_err().to_string();
    assert!(error.contains("choose one of csv, tsv, jsonl"), "{error}");
    let missing = bench.folder.path().join("nowhere.csv");
    let error = bench
        .engine
        .ingest_file("c", &missing, &IngestOptions::default(), &anser_core::NoProgress, &anser_core::CancelToken::new())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_named_column_that_is_not_there_lists_those_that_are() {
    let bench = Bench::new();
    let content = "Id,Score,Text\n1,5,good\n";
    let error = bench.file_with("a.csv", content, &fields(None, None, Some("Body"))).unwrap_err();
    assert!(matches!(&error, EngineError::InvalidRequest { param: "text_field", .. }));
    assert_eq!(error.to_string(), "there is no column \"Body\" in the first rows; the columns are Id, Score, Text");
    let error = bench.file_with("a.csv", content, &fields(Some("Text"), None, Some("text"))).unwrap_err();
    assert!(error.to_string().contains("cannot be two of"), "{error}");
    // Another letter case is understood.
    let report = bench.file_with("a.csv", content, &fields(Some("id"), None, Some("TEXT"))).unwrap();
    assert_eq!(report.fields.text.unwrap().column, "Text");
}

#[test]
fn a_row_number_column_is_left_out_and_another_nameless_column_kept() {
    let bench = Bench::new();
    let report = bench.file("pandas.csv", ",Text\n0,good\n1,bad\n").unwrap();
    assert_eq!(report.fields.ignored, ["column_1"]);
    assert!(bench.documents().values().all(|document| document.attributes.is_empty()));

    let bench = Bench::new();
    let report = bench.file("codes.csv", ",Text\n7,good\n3,bad\n").unwrap();
    assert_eq!(report.fields.attributes[0].name, "column_1");
    assert!(report.fields.ignored.is_empty());
}

#[test]
fn values_that_do_not_fit_their_column_are_left_out_and_counted() {
    let bench = Bench::new();
    let mut content = "id,text,score,size\n".to_owned();
    for i in 0..1000 {
        writeln!(content, "{i},row {i},{},{i}", i % 5).unwrap();
    }
    content += "1000,late row,five,2.5\n1001,last row,3,n/a\n";
    let report = bench.file("a.csv", &content).unwrap();
    assert_eq!((report.inserted, report.rejected), (1002, 0));
    let score = &report.fields.attributes[0];
    assert_eq!((score.name.as_str(), score.kind, score.misfits), ("score", AttributeKind::Integer, 1));
    assert_eq!(report.fields.attributes[1].kind, AttributeKind::Float, "a later fraction makes it a column of numbers");
    assert_eq!(report.warnings[0].to_string(), "line 1002: field \"score\": \"five\" is not a number and was left out");
    let documents = bench.documents();
    assert!(!documents["1000"].attributes.contains_key("score"));
    assert_eq!(documents["1000"].attributes["size"], AttributeValue::Float(2.5));
    assert_eq!(documents["1001"].attributes["score"], AttributeValue::Integer(3));
    assert!(!documents["1001"].attributes.contains_key("size"));
}
