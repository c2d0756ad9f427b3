//! The layout of texts: separators, stop texts, common beginnings, capitals, system messages and turns.

use anser_tune::data::{OutputShape, PrepareOptions, Severity};

use super::*;

fn legacy(prompt: impl Fn(&str) -> String, completion: impl Fn(&str) -> String) -> String {
    let row = |(q, a): &(String, String)| serde_json::json!({"prompt": prompt(q), "completion": completion(a)});
    pairs(20).iter().map(|pair| format!("{}\n", row(pair))).collect::<Vec<_>>().concat()
}

fn original() -> World {
    World { options: PrepareOptions { shape: OutputShape::Original, ..PrepareOptions::default() }, ..World::new() }
}

#[test]
fn missing_separator_space_and_stop_are_added_to_data_that_stay_prompts() {
    let bare = legacy(str::to_owned, str::to_owned);
    let prepared = original().run("a.jsonl", &bare);
    assert_eq!(prepared.ids(), ["missing_separator", "missing_stop_suffix", "missing_leading_space"]);
    assert!(
        prepared
            .data
            .report
            .findings
            .iter()
            .take(3)
            .all(|f| f.mended && f.count == 20 && f.severity == Severity::Warning)
    );
    for line in prepared.lines() {
        assert!(line.contains(r#"\n\n###\n\n","completion":" The "#) && line.ends_with("\\n\"}"), "{line}");
    }
    let refused =
        World { refuse: vec!["missing_separator", "missing_stop_suffix", "missing_leading_space"], ..original() };
    let mut lines = refused.run("a.jsonl", &bare).lines();
    lines.sort();
    let mut given: Vec<String> = bare.lines().map(str::to_owned).collect();
    given.sort();
    assert_eq!(lines, given);
}

#[test]
fn in_chats_the_template_does_their_work() {
    let prepared = World::new().run("a.jsonl", legacy(str::to_owned, str::to_owned));
    assert_eq!(prepared.ids(), ["missing_separator", "missing_stop_suffix", "missing_leading_space"]);
    assert!(prepared.asked.is_empty());
    assert!(prepared.data.report.findings.iter().take(3).all(|f| f.severity == Severity::Note));
    let prepared = World::new().run("a.jsonl", legacy(|q| format!("{q} ->"), |a| format!(" {a}\n")));
    assert_eq!(prepared.ids(), ["legacy_separator", "legacy_stop_suffix"]);
    assert!(prepared.lines().iter().all(|line| !line.contains("->") && !line.contains("\\n")));
}

#[test]
fn a_separator_that_also_stands_within_prompts_is_told() {
    let text =
        legacy(|q| format!("{}{q} ->", if q.contains("kettle") { "kettle -> " } else { "" }), |a| format!(" {a}\n"));
    let prepared = original().run("a.jsonl", text);
    assert_eq!(prepared.finding("separator_within").unwrap().lines, [1, 11]);
}

#[test]
fn what_all_questions_begin_with_becomes_a_system_message() {
    let rows: Vec<(String, String)> =
        pairs(20).into_iter().map(|(q, a)| (format!("You are the help desk. Answer briefly: {q}"), a)).collect();
    let prepared = World::new().run("a.jsonl", chats(&rows));
    assert!(prepared.finding("common_prompt_prefix").unwrap().mended);
    for line in prepared.lines() {
        let start = r#"{"messages":[{"role":"system","content":"You are the help desk. Answer briefly:"},{"role":"user","content":"Which "#;
        assert!(line.starts_with(start), "{line}");
    }
    let kept = World { refuse: vec!["common_prompt_prefix"], ..World::new() }.run("a.jsonl", chats(&rows));
    assert!(kept.lines().iter().all(|line| !line.contains("system")));
}

#[test]
fn a_label_before_all_completions_is_taken_off() {
    let labelled = original().run("a.jsonl", legacy(str::to_owned, |a| format!(" Answer: {a}")));
    assert!(labelled.finding("common_completion_prefix").unwrap().mended);
    assert!(labelled.lines().iter().all(|line| !line.contains("Answer:")));
}

#[test]
fn a_house_style_is_told_of_and_kept() {
    for prefix in ["Short answer: ", "Good day and welcome! "] {
        let rows: Vec<(String, String)> = pairs(20).into_iter().map(|(q, a)| (q, format!("{prefix}{a}"))).collect();
        let styled = World::new().run("a.jsonl", chats(&rows));
        assert_eq!(styled.finding("common_completion_prefix").unwrap().severity, Severity::Note);
        assert!(styled.lines().iter().all(|line| line.contains(prefix)));
    }
}

#[test]
fn data_in_capitals_are_written_small() {
    let rows: Vec<(String, String)> = pairs(20)
        .into_iter()
        .enumerate()
        .map(|(n, (q, a))| if n % 2 == 0 { (q.to_uppercase(), a) } else { (q, a) })
        .collect();
    let prepared = World::new().run("a.jsonl", chats(&rows));
    assert_eq!(prepared.finding("upper_case").unwrap().count, 10);
    assert!(prepared.lines().iter().all(|line| !line.contains("WHICH")));
    let few: Vec<(String, String)> = pairs(20)
        .into_iter()
        .enumerate()
        .map(|(n, (q, a))| if n % 5 == 0 { (q.to_uppercase(), a) } else { (q, a) })
        .collect();
    assert!(World::new().run("a.jsonl", chats(&few)).finding("upper_case").is_none());
}

fn with_system(system: impl Fn(usize) -> Option<&'static str>) -> String {
    let line = |(n, (q, a)): (usize, &(String, String))| {
        TrainingExample::question_answer(system(n), q, a).to_json_line() + "\n"
    };
    pairs(20).iter().enumerate().map(line).collect()
}

#[test]
fn a_missing_system_message_is_filled_in_with_the_usual_one() {
    let prepared = World::new().run("a.jsonl", with_system(|n| (n != 4).then_some("Be brief.")));
    assert_eq!(prepared.finding("inconsistent_system").unwrap().lines, [5]);
    assert!(prepared.lines().iter().all(|line| line.contains("Be brief.")));
    let varied = World::new().run("a.jsonl", with_system(|n| Some(if n < 4 { "Be rude." } else { "Be brief." })));
    assert_eq!(varied.finding("system_messages_vary").unwrap().severity, Severity::Note);
    let options = PrepareOptions { system: Some("Be kind.".into()), ..PrepareOptions::default() };
    let given = World { options, ..World::new() }.run("a.jsonl", with_system(|_| None));
    assert!(given.lines().iter().all(|line| line.contains("Be kind.")) && given.asked.is_empty());
}

#[test]
fn turns_of_one_side_are_joined() {
    let mut lines: Vec<String> = chats(&pairs(20)).lines().map(str::to_owned).collect();
    lines[2] = r#"{"messages":[{"role":"user","content":"One."},{"role":"user","content":"Two."},{"role":"assistant","content":"A.","weight":0},{"role":"assistant","content":"B."}]}"#.to_owned();
    lines[5] = r#"{"messages":[{"role":"assistant","content":"Welcome!"},{"role":"user","content":"Hello there."},{"role":"assistant","content":"Hi."}]}"#.to_owned();
    let prepared = World::new().run("a.jsonl", lines.join("\n"));
    assert_eq!(prepared.finding("inconsistent_roles").unwrap().lines, [3]);
    assert_eq!(prepared.finding("unusual_turn_order").unwrap().lines, [6]);
    let joined = r#"{"messages":[{"role":"user","content":"One.\n\nTwo."},{"role":"assistant","content":"A.\n\nB."}]}"#;
    assert!(prepared.lines().iter().any(|line| line == joined));
}
