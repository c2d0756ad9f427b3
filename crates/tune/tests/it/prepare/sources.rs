//! Every format and shape that people have gives the same examples.

use anser_core::ErrorKind;
use anser_tune::data::{ColumnNames, OutputShape, PrepareOptions, SourceFormat};
use encoding_rs::{GB18030, WINDOWS_1252};
use proptest::prelude::*;
use rust_xlsxwriter::Workbook;

use super::*;

/// The lines that the given pairs become, in any order.
fn expected(pairs: &[(String, String)]) -> Vec<String> {
    let mut lines: Vec<String> = chats(pairs).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn assert_gives(prepared: &Prepared, pairs: &[(String, String)], what: &str) {
    let mut lines = prepared.lines();
    lines.sort();
    assert_eq!(lines, expected(pairs), "{what}");
}

fn delimited(pairs: &[(String, String)], header: &str, separator: char) -> String {
    let cell = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let row = |(q, a): &(String, String)| format!("{}{separator}{}\r\n", cell(q), cell(a));
    format!("{}\r\n{}", header.replace(',', &separator.to_string()), pairs.iter().map(row).collect::<Vec<_>>().concat())
}

fn workbook(pairs: &[(String, String)]) -> Vec<u8> {
    let mut book = Workbook::new();
    book.add_worksheet().set_name("empty").unwrap();
    let sheet = book.add_worksheet().set_name("data").unwrap();
    sheet.write(1, 1, "Question").unwrap();
    sheet.write(1, 2, "Answer").unwrap();
    for (at, (question, answer)) in pairs.iter().enumerate() {
        // A blank row between them, as people leave.
        let row = 2 + at as u32 + u32::from(at >= 5);
        sheet.write(row, 1, question.as_str()).unwrap();
        sheet.write(row, 2, answer.as_str()).unwrap();
    }
    book.save_to_buffer().unwrap()
}

#[test]
fn all_formats_give_the_same_examples() {
    let pairs = pairs(24);
    let world = World::new();
    let objects: Vec<String> = jsonl(&pairs, "question", "answer").lines().map(str::to_owned).collect();
    let files: Vec<(&str, Vec<u8>, SourceFormat)> = vec![
        ("a.jsonl", jsonl(&pairs, "question", "answer").into_bytes(), SourceFormat::Jsonl),
        ("a.txt", jsonl(&pairs, "question", "answer").into_bytes(), SourceFormat::Jsonl),
        ("a.json", format!("[{}]", objects.join(",\n")).into_bytes(), SourceFormat::Json),
        (
            "b.json",
            format!("{{\"name\": \"faq\", \"data\": [{}]}}", objects.join(",")).into_bytes(),
            SourceFormat::Json,
        ),
        ("a.csv", delimited(&pairs, "question,answer", ',').into_bytes(), SourceFormat::Csv),
        ("b.csv", delimited(&pairs, "Question,Answer", ';').into_bytes(), SourceFormat::Csv),
        ("a.tsv", delimited(&pairs, "question,answer", '\t').into_bytes(), SourceFormat::Tsv),
        ("a.xlsx", workbook(&pairs), SourceFormat::Xlsx),
        ("named-wrongly.csv", workbook(&pairs), SourceFormat::Xlsx),
        ("chats.jsonl", chats(&pairs).into_bytes(), SourceFormat::Jsonl),
    ];
    for (name, bytes, format) in files {
        let prepared = world.run(name, bytes);
        assert_gives(&prepared, &pairs, name);
        assert_eq!(prepared.data.report.source_format, format, "{name}");
        assert!(prepared.asked.is_empty(), "{name} asked {:?}", prepared.asked);
    }
}

#[test]
fn question_and_answer_are_recognised_by_many_names() {
    let pairs = pairs(12);
    let world = World::new();
    for (question, answer) in [
        ("question", "answer"),
        ("input_text", "output_text"),
        ("Input Text", "Output Text"),
        ("instruction", "response"),
        ("query", "answer"),
        ("prompt", "response"),
        ("问题", "答案"),
        ("user", "assistant"),
        ("Frage", "Antwort"),
    ] {
        let prepared = world.run("a.jsonl", jsonl(&pairs, question, answer));
        assert_gives(&prepared, &pairs, question);
    }
    let error = world.refusal("a.jsonl", jsonl(&pairs, "left", "right"));
    assert!(error.to_string().contains("\"left\", \"right\""), "{error}");
    let named = ColumnNames { question: Some("Left".into()), answer: Some("right".into()), system: None };
    let world = World { options: PrepareOptions { columns: named, ..PrepareOptions::default() }, ..World::new() };
    assert_gives(&world.run("a.jsonl", jsonl(&pairs, "left", "right")), &pairs, "named columns");
    let error = world.refusal("a.jsonl", jsonl(&pairs, "up", "right"));
    assert!(error.to_string().contains("no column \"Left\""), "{error}");
}

#[test]
fn instructions_with_an_input_and_system_columns_are_used_and_other_columns_told() {
    let world = World::new();
    let rows: String = pairs(12)
        .iter()
        .map(|(q, a)| format!("{}\n", serde_json::json!({"id": 3, "system": "Be brief.", "instruction": "Translate this text.", "input": q, "output": a})))
        .collect::<Vec<_>>().concat();
    let prepared = world.run("alpaca.jsonl", rows);
    let line = prepared.lines().into_iter().next().unwrap();
    assert!(line.contains(r#"{"role":"system","content":"Be brief."#), "{line}");
    assert!(
        line.contains("Which") && prepared.finding("extra_fields").unwrap().explanation.contains("\"id\""),
        "{line}"
    );
}

#[test]
fn prompts_with_completions_become_chats_or_stay() {
    let world = World::new();
    let text: String = pairs(12)
        .iter()
        .map(|(q, a)| {
            format!("{}\n", serde_json::json!({"prompt": format!("{q}\n\n###\n\n"), "completion": format!(" {a} END")}))
        })
        .collect::<Vec<_>>()
        .concat();
    let prepared = world.run("legacy.jsonl", &text);
    assert_gives(&prepared, &pairs(12), "separator, space and stop text are taken off");
    assert_eq!(prepared.data.report.format, "chat");
    let options = PrepareOptions { shape: OutputShape::Original, ..PrepareOptions::default() };
    let prepared = World { options, ..World::new() }.run("legacy.jsonl", &text);
    assert_eq!(prepared.data.report.format, "prompt_completion");
    assert!(prepared.asked.is_empty(), "{:?}", prepared.asked);
    assert!(prepared.lines().iter().all(|line| line.contains("###") && line.contains(" END")));
}

#[test]
fn curly_quotes_are_mended_with_consent_only() {
    let world = World::new();
    let text: String = pairs(12)
        .iter()
        .map(|(q, a)| format!("{{“prompt”:“{q}”，“completion”：“{a}”}}\n"))
        .collect::<Vec<_>>()
        .concat();
    let prepared = world.run("中文.jsonl", &text);
    assert_gives(&prepared, &pairs(12), "curly quotes");
    let mend = prepared.asked.iter().find(|mend| mend.finding.id == "typographic_quotes").unwrap();
    assert!(
        mend.required && mend.finding.count == 12 && mend.sample.as_ref().unwrap().1.starts_with("{\"prompt\""),
        "{mend:?}"
    );
    let refusing = World { refuse: vec!["typographic_quotes"], ..World::new() };
    let error = refusing.refusal("a.jsonl", &text);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn other_encodings_are_read_with_consent_only() {
    let chinese: Vec<(String, String)> = (0..12)
        .map(|n| {
            (
                format!("第{n}号商品几天可以退货，运费由谁承担？"),
                format!("第{n}号商品收到后{}天内可以退货，运费由我们承担。", n + 10),
            )
        })
        .collect();
    let french: Vec<(String, String)> = (0..12)
        .map(|n| {
            (
                format!("Où se trouve l'entrepôt numéro {n}, s'il vous plaît ?"),
                format!("À côté de la gare n° {n}, près du café."),
            )
        })
        .collect();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let chinese_text = delimited(&chinese, "问题,答案", ',');
    let french_text = delimited(&french, "question,answer", ';');
    for (bytes, pairs, name) in [
        (GB18030.encode(&chinese_text).0.into_owned(), &chinese, "gb18030"),
        (WINDOWS_1252.encode(&french_text).0.into_owned(), &french, "windows-1252"),
        (utf16(&french_text), &french, "UTF-16LE"),
        ([vec![0xff, 0xfe], utf16(&chinese_text)].concat(), &chinese, "UTF-16LE"),
    ] {
        let prepared = World::new().run("a.csv", &bytes);
        assert_gives(&prepared, pairs, name);
        let mend = &prepared.asked[0];
        assert_eq!(mend.finding.id, "encoding");
        assert!(mend.action.contains(name) && mend.sample.is_some(), "{mend:?}");
        let error = World { refuse: vec!["encoding"], ..World::new() }.refusal("a.csv", &bytes);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn preferences_are_read_in_both_shapes() {
    let world = World::new();
    let wire: String = pairs(12)
        .iter()
        .map(|(q, a)| {
            let answer = |text: &str| serde_json::json!([{"role": "assistant", "content": text}]);
            let line = serde_json::json!({"input": {"messages": [{"role": "user", "content": q}]}, "preferred_output": answer(a), "non_preferred_output": answer("No idea.")});
            format!("{line}\n")
        })
        .collect::<Vec<_>>()
        .concat();
    let flat: String = pairs(12)
        .iter()
        .map(|(q, a)| format!("{}\n", serde_json::json!({"prompt": q, "chosen": a, "rejected": "No idea."})))
        .collect::<Vec<_>>()
        .concat();
    let (wire, flat) = (world.run("wire.jsonl", wire), world.run("flat.jsonl", flat));
    assert_eq!((wire.data.report.format.as_str(), &wire.data.training), ("preference", &flat.data.training));
    assert_eq!(wire.data.training.len() + wire.data.validation.len(), 12);
}

#[test]
fn role_and_field_names_of_other_collections_are_mended() {
    let world = World::new();
    let text: String = pairs(12)
        .iter()
        .map(|(q, a)| format!("{}\n", serde_json::json!({"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}, {"from": "human", "value": "Thanks"}]})))
        .collect::<Vec<_>>().concat();
    let prepared = world.run("share.jsonl", &text);
    assert_gives(&prepared, &pairs(12), "other names");
    let asked: Vec<&str> = prepared.asked.iter().map(|mend| mend.finding.id.as_str()).collect();
    assert_eq!(asked, ["role_names", "trailing_messages"]);
}

#[test]
fn rows_that_make_no_example_are_left_out_with_consent_and_named() {
    let mut lines: Vec<String> = jsonl(&pairs(20), "question", "answer").lines().map(str::to_owned).collect();
    lines[3] = "{\"question\": \"What?\"".to_owned();
    lines[6] = "{\"question\": \"  \", \"answer\": \"Yes.\"}".to_owned();
    lines[9] = "{\"question\": \"What?\"}".to_owned();
    lines[12] = "{\"question\": [1], \"answer\": \"Yes.\"}".to_owned();
    lines[15] = "{\"question\": 7, \"answer\": true}".to_owned();
    let prepared = World::new().run("a.jsonl", lines.join("\n"));
    assert_eq!(prepared.all().count(), 16);
    assert_eq!(prepared.finding("unreadable_lines").unwrap().lines, [4]);
    let missing: Vec<u64> = prepared
        .data
        .report
        .findings
        .iter()
        .filter(|f| f.id == "missing_fields")
        .flat_map(|f| f.lines.clone())
        .collect();
    assert_eq!(missing, [10, 7]);
    assert_eq!(prepared.finding("unusable_rows").unwrap().lines, [13]);
    assert_eq!(prepared.finding("numbers_as_text").unwrap().lines, [16, 16]);
    for id in ["unreadable_lines", "missing_fields", "unusable_rows"] {
        let error = World { refuse: vec![id], ..World::new() }.refusal("a.jsonl", lines.join("\n"));
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{id}");
    }
}

#[test]
fn files_that_are_no_data_are_refused_in_one_sentence() {
    let world = World::new();
    for (name, bytes, words) in [
        ("empty.jsonl", b"".to_vec(), "empty"),
        ("blank.csv", b" \n \n".to_vec(), "empty"),
        ("header.csv", b"question,answer\n".to_vec(), "no row"),
        ("a.xlsx", b"PK\x03\x04 no zip".to_vec(), "spreadsheet"),
        ("a.gz", b"\x1f\x8b\x08rest".to_vec(), "gzip"),
        ("a.pdf", b"%PDF-1.7".to_vec(), "PDF"),
        ("words.jsonl", b"just words\nand more words\n".to_vec(), "expected"),
        ("a.json", b"[{\"question\": \"a\"".to_vec(), "line 1"),
    ] {
        let error = world.refusal(name, bytes);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        assert!(error.to_string().contains(words) && error.to_string().contains(name), "{name}: {error}");
    }
    let error = world.try_run(&world.folder.path().join("absent.csv")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn chats_and_prompts_in_one_file_become_chats() {
    let pairs = pairs(24);
    let text = format!("{}{}", chats(&pairs[..16]), jsonl(&pairs[16..], "prompt", "completion"));
    let prepared = World::new().run("a.jsonl", text);
    assert_gives(&prepared, &pairs, "mixed");
    assert_eq!(prepared.finding("mixed_formats").unwrap().count, 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_under_any_name_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0usize..7) {
        let name = ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.xlsx", "a.txt", "a"][kind];
        let world = World::with_embedder();
        let path = world.write(name, bytes);
        if let Err(error) = world.try_run(&path) {
            prop_assert!(!error.to_string().is_empty() && error.kind() != ErrorKind::Internal);
        }
    }

    #[test]
    fn damaged_files_of_every_format_do_not_panic(kind in 0usize..5, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let pairs = pairs(14);
        let (name, mut bytes) = match kind {
            0 => ("a.jsonl", jsonl(&pairs, "question", "answer").into_bytes()),
            1 => ("a.json", format!("[{}]", jsonl(&pairs, "q", "a").trim_end().replace('\n', ",")).into_bytes()),
            2 => ("a.csv", delimited(&pairs, "question,answer", ',').into_bytes()),
            3 => ("a.xlsx", workbook(&pairs)),
            _ => ("a.jsonl", chats(&pairs).into_bytes()),
        };
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let world = World::with_embedder();
        let path = world.write(name, bytes);
        if let Err(error) = world.try_run(&path) {
            prop_assert!(error.kind() == ErrorKind::InvalidInput, "{error}");
        }
    }
}

#[test]
fn a_help_page_with_titles_that_ask_is_read_as_questions_and_a_row_without_one_is_left_out() {
    let rows: String = pairs(20)
        .iter()
        .enumerate()
        .map(|(n, (q, a))| {
            format!("{}\n", serde_json::json!({"title": if n == 4 { "" } else { q }, "text": a, "category": "goods"}))
        })
        .collect::<Vec<_>>()
        .concat();
    let prepared = World::new().run("faq.jsonl", rows);
    assert_eq!(prepared.finding("missing_fields").unwrap().lines, [5]);
    assert!(prepared.lines().iter().all(|line| line.contains("Which") && !line.contains("goods")));
    let told = &prepared.finding("extra_fields").unwrap().explanation;
    assert!(
        told.contains("The question is \"title\" and the answer \"text\"") && told.contains("\"category\""),
        "{told}"
    );
}
