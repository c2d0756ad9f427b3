//! Each check fires on the fault that it is for, names the lines, and its mend takes the fault away.

use anser_core::ErrorKind;
use anser_tune::data::{PrepareOptions, Severity};

use super::*;

fn push(pairs: &mut Vec<(String, String)>, question: &str, answer: &str) {
    pairs.push((question.to_owned(), answer.to_owned()));
}

#[test]
fn exact_duplicates_are_left_out_but_for_the_first() {
    let mut rows = pairs(20);
    let again = rows[2].clone();
    push(&mut rows, &format!("  {} ", again.0), &again.1);
    push(&mut rows, &again.0, &again.1);
    let prepared = World::new().run("a.jsonl", chats(&rows));
    let finding = prepared.finding("exact_duplicates").unwrap();
    assert_eq!((finding.lines.as_slice(), finding.count, finding.mended), (&[21, 22][..], 2, true));
    assert_eq!(prepared.all().count(), 20);
    let kept = World { refuse: vec!["exact_duplicates"], ..World::new() }.run("a.jsonl", chats(&rows));
    assert_eq!((kept.all().count(), kept.finding("exact_duplicates").unwrap().mended), (22, false));
}

#[test]
fn near_duplicates_are_left_out_where_the_answer_is_near_too() {
    let mut rows = pairs(30);
    let (question, answer) = rows[4].clone();
    let reordered = |text: &str| text.split(' ').rev().collect::<Vec<_>>().join(" ");
    push(&mut rows, &reordered(&question), &reordered(&answer));
    let other = reordered(&rows[5].0);
    push(&mut rows, &other, "Please ask somebody who knows something else entirely.");
    let prepared = World::with_embedder().run("a.jsonl", chats(&rows));
    let finding = prepared.finding("near_duplicates").unwrap();
    assert_eq!((finding.lines.as_slice(), finding.mended), (&[5, 6, 31, 32][..], true));
    assert_eq!(prepared.all().count(), 31);
    assert!(!prepared.lines().iter().any(|line| line.contains(&reordered(&answer))));
    let without = World::new().run("a.jsonl", chats(&rows));
    assert_eq!(without.all().count(), 32);
    assert!(without.finding("near_duplicates_skipped").is_some() && without.finding("near_duplicates").is_none());
}

#[test]
fn contradictory_answers_to_the_same_question_keep_the_commonest() {
    let mut rows = pairs(20);
    push(&mut rows, "When do you open?", "We open at 9.");
    push(&mut rows, "When do you open", "We open at 10.");
    push(&mut rows, "when do you open?!", "We open at 10!");
    let prepared = World::new().run("a.jsonl", chats(&rows));
    let finding = prepared.finding("contradictory_answers").unwrap();
    assert_eq!(finding.lines, [21, 22, 23]);
    assert!(finding.explanation.contains("We open at 9.") && finding.explanation.contains("We open at 10."));
    let lines = prepared.lines().join("\n");
    assert!(!lines.contains("We open at 9") && lines.contains("We open at 10"));
}

#[test]
fn contradictions_are_found_in_other_words_and_by_other_numbers_only() {
    let mut rows = pairs(20);
    push(
        &mut rows,
        "How long may I return a kettle after buying",
        "You may return a kettle within 14 days of buying it.",
    );
    push(
        &mut rows,
        "After buying a kettle how long may I return",
        "You may return a kettle within 30 days of buying it.",
    );
    push(&mut rows, "Where do you keep the spare parts", "In the store behind the house, next to the gate.");
    push(&mut rows, "the spare parts: where do you keep", "Our colleagues in the workshop hand them out.");
    let prepared = World::with_embedder().run("a.jsonl", chats(&rows));
    assert_eq!(prepared.finding("contradictory_answers").unwrap().lines, [21, 22]);
}

#[test]
fn leakage_between_training_and_validation_is_found_in_both_wordings() {
    let rows = pairs(40);
    let mut world = World::with_embedder();
    let reordered = rows[3].0.split(' ').rev().collect::<Vec<_>>().join(" ");
    let mut held_out = pairs(60)[50..].to_vec();
    push(&mut held_out, &rows[7].0, "Another answer.");
    push(&mut held_out, &reordered, "One more answer.");
    world.options.validation_file = Some(world.write("held-out.csv", {
        let rows: String = held_out.iter().map(|(q, a)| format!("\"{q}\",\"{a}\"\n")).collect::<Vec<_>>().concat();
        format!("question,answer\n{rows}")
    }));
    let prepared = world.run("a.jsonl", chats(&rows));
    let finding = prepared.finding("leakage").unwrap();
    assert_eq!((finding.lines.as_slice(), finding.mended), (&[4, 8][..], true));
    assert!(finding.explanation.contains("1 in the same words"), "{}", finding.explanation);
    assert_eq!((prepared.data.training.len(), prepared.data.validation.len()), (38, 12));
    assert_eq!(prepared.data.report.split.seed, None);
    let error = {
        world.refuse = vec![];
        world.options.validation_file = Some(world.folder.path().join("absent.jsonl"));
        world.refusal("a.jsonl", chats(&rows))
    };
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("absent.jsonl"), "{error}");
}

#[test]
fn a_validation_file_without_leakage_is_respected() {
    let mut world = World::with_embedder();
    world.options.validation_file = Some(world.write("v.jsonl", chats(&pairs(60)[50..])));
    let prepared = world.run("a.jsonl", chats(&pairs(40)));
    assert!(prepared.finding("leakage").is_none());
    assert_eq!((prepared.data.training.len(), prepared.data.validation.len()), (40, 10));
}

#[test]
fn overlong_examples_are_left_out_by_the_models_own_tokens() {
    let mut rows = pairs(20);
    rows[11].1 = "word ".repeat(300);
    let options = PrepareOptions { max_tokens: 100, ..PrepareOptions::default() };
    let prepared = World { options, ..World::new() }.run("a.jsonl", chats(&rows));
    let finding = prepared.finding("overlong_examples").unwrap();
    assert_eq!((finding.lines.as_slice(), prepared.all().count()), (&[12][..], 19));
    assert!(finding.explanation.contains("longer than 100 tokens"), "{}", finding.explanation);
    assert!(prepared.data.report.tokens.unwrap().most <= 100);
}

#[test]
fn many_refusals_are_a_warning_and_a_few_a_note() {
    for (refusals, severity) in [(2, Severity::Note), (8, Severity::Warning)] {
        let mut rows = pairs(28);
        for row in rows.iter_mut().take(refusals) {
            row.1 = format!("I'm sorry, but I can't answer that about {}", row.0);
        }
        let prepared = World::new().run("a.jsonl", chats(&rows));
        let finding = prepared.finding("refusals").unwrap();
        assert_eq!((finding.severity, finding.count), (severity, refusals));
    }
}

#[test]
fn labels_are_counted_and_their_spelling_made_one() {
    let label = |n: usize| ["refund", "delivery", "warranty"][n % 3];
    let mut rows: Vec<(String, String)> =
        pairs(60).into_iter().enumerate().map(|(n, (q, _))| (q, label(n).to_owned())).collect();
    let balanced = World::new().run("a.jsonl", chats(&rows));
    let finding = balanced.finding("label_balance").unwrap();
    assert_eq!(finding.severity, Severity::Note);
    assert!(finding.explanation.contains("\"refund\" (20)"), "{}", finding.explanation);
    rows[3].1 = "Refund".to_owned();
    rows[6].1 = "refund.".to_owned();
    rows[1].1 = "complaint".to_owned();
    let odd = World::new().run("a.jsonl", chats(&rows));
    assert_eq!(odd.finding("label_spelling").unwrap().lines, [4, 7]);
    assert!(odd.lines().iter().all(|line| !line.contains("\"Refund\"") && !line.contains("refund.")));
    let finding = odd.finding("label_balance").unwrap();
    assert_eq!((finding.severity, finding.lines.as_slice()), (Severity::Warning, &[2][..]));
}

#[test]
fn personal_data_are_masked_kind_by_kind_and_the_own_hotline_stays() {
    let mut rows = pairs(30);
    rows[1].0.push_str(" I am jane@example.org.");
    rows[2].1.push_str(" Your card 4111 1111 1111 1111 is charged.");
    rows[3].0.push_str(" My number is +44 20 7946 0958.");
    rows[4].0.push_str(" Account DE89370400440532013000.");
    rows[5].0.push_str(" SSN 536-22-8726.");
    rows[6].1.push_str(" Or ask returns@shop.example, free at 0800 11 22 33 4.");
    for row in rows.iter_mut().skip(10) {
        row.1.push_str(" Or call 030 90182 0 or 0800 555 1234, or write to mary@shop.example.");
    }
    let prepared = World::new().run("a.jsonl", chats(&rows));
    let lines = prepared.lines().join("\n");
    for (mask, value, id, line) in [
        ("[email]", "jane@", "personal_email", 2),
        ("[card]", "4111", "personal_card", 3),
        ("[phone]", "7946", "personal_phone", 4),
        ("[account]", "DE89", "personal_iban", 5),
        ("[id]", "536-22", "personal_id", 6),
    ] {
        assert!(lines.contains(mask) && !lines.contains(value), "{mask}");
        assert_eq!(prepared.finding(id).unwrap().lines, [line], "{id}");
    }
    assert!(
        ["030 90182 0", "0800 555 1234", "mary@shop.example", "returns@shop.example"]
            .iter()
            .all(|own| lines.contains(own))
    );
    assert!(prepared.finding("personal_phone").unwrap().explanation.contains("your own"));
    let refused =
        World { refuse: vec!["personal_email"], ..World::new() }.run("a.jsonl", chats(&rows)).lines().join("\n");
    assert!(refused.contains("jane@example.org") && !refused.contains("4111"));
}

#[test]
fn offensive_text_is_found_by_the_callers_filter() {
    let mut rows = pairs(20);
    rows[8].1.push_str(" You rotten turnip!");
    let world = World::new();
    let path = world.write("a.jsonl", chats(&rows));
    let filter =
        |texts: &[String]| Ok(texts.iter().map(|text| if text.contains("turnip") { 0.9 } else { 0.1 }).collect());
    let prepared = world.try_run_with(&path, Some(&filter)).unwrap();
    assert_eq!((prepared.finding("offensive_text").unwrap().lines.as_slice(), prepared.all().count()), (&[9][..], 19));
    assert!(world.try_run(&path).unwrap().finding("offensive_skipped").is_some());
    let broken = |_: &[String]| Err(anser_core::Error::internal("the filter broke"));
    assert_eq!(world.try_run_with(&path, Some(&broken)).err().unwrap().kind(), ErrorKind::Internal);
}

#[test]
fn fewer_than_ten_examples_are_refused_and_fewer_than_a_hundred_warned_of() {
    let error = World::new().refusal("a.jsonl", chats(&pairs(9)));
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("9 usable examples") && error.to_string().contains("at least 10"), "{error}");
    let mut rows = pairs(9);
    rows.push(rows[0].clone());
    let error = World::new().refusal("a.jsonl", chats(&rows));
    assert!(error.to_string().contains("after the accepted mends (leave out 1 duplicate)"), "{error}");
    let finding = World::new().run("a.jsonl", chats(&pairs(99)));
    let finding = finding.finding("few_examples").unwrap();
    assert!(finding.severity == Severity::Warning && finding.explanation.contains("99"));
    assert!(World::new().run("a.jsonl", chats(&pairs(100))).finding("few_examples").is_none());
}
