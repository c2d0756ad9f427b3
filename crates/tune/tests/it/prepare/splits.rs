//! The validation part is alike in labels or topics, and nothing in it is asked in the training part too.

use std::collections::{BTreeMap, BTreeSet};

use anser_tune::data::PrepareOptions;

use super::*;

fn questions(examples: &[TrainingExample]) -> Vec<String> {
    let question = |example: &TrainingExample| match example {
        TrainingExample::Chat { turns } => turns[turns.len() - 2].0.content.clone(),
        other => panic!("no chat: {other:?}"),
    };
    examples.iter().map(question).collect()
}

#[test]
fn each_label_is_held_out_in_its_share() {
    let label = |n: usize| {
        if n.is_multiple_of(10) {
            "rare"
        } else if n.is_multiple_of(3) {
            "medium"
        } else {
            "common"
        }
    };
    let rows: Vec<(String, String)> =
        pairs(120).into_iter().enumerate().map(|(n, (q, _))| (q, label(n).to_owned())).collect();
    let prepared = World::with_embedder().run("a.jsonl", chats(&rows));
    assert_eq!(prepared.data.report.split.stratified_by.as_deref(), Some("labels"));
    let count = |examples: &[TrainingExample]| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for example in examples {
            let TrainingExample::Chat { turns } = example else { panic!("a chat") };
            *counts.entry(turns.last().unwrap().0.content.clone()).or_default() += 1;
        }
        counts
    };
    let (training, validation) = (count(&prepared.data.training), count(&prepared.data.validation));
    assert_eq!(prepared.data.validation.len(), 24);
    for (label, held_out) in &validation {
        let share = *held_out as f64 / (held_out + training[label]) as f64;
        assert!((0.1..=0.3).contains(&share), "{label}: {held_out} of {}", training[label]);
    }
    assert_eq!(validation.len(), 3);
}

#[test]
fn near_duplicates_never_lie_on_both_sides() {
    // Every question in three orders of words with answers that differ, so that none is left out.
    let mut rows = Vec::new();
    for (n, (question, _)) in pairs(50).into_iter().enumerate() {
        let mut words: Vec<&str> = question.split(' ').collect();
        for turn in 0..3 {
            rows.push((
                words.join(" "),
                format!("Answer {n} of kind {}", ["alpha beta", "gamma delta", "epsilon zeta"][turn]),
            ));
            words.rotate_left(2);
        }
    }
    let refusing = |seed| World {
        refuse: vec!["near_duplicates", "contradictory_answers"],
        options: PrepareOptions { seed, ..PrepareOptions::default() },
        ..World::with_embedder()
    };
    for seed in 0..5 {
        let prepared = refusing(seed).run("a.jsonl", chats(&rows));
        assert_eq!(prepared.all().count(), 150);
        let bag = |question: &String| question.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
        let trained: BTreeSet<_> = questions(&prepared.data.training).iter().map(bag).collect();
        let held_out = questions(&prepared.data.validation);
        assert!((24..=30).contains(&held_out.len()), "{}", held_out.len());
        assert!(held_out.iter().all(|question| !trained.contains(&bag(question))));
    }
}

#[test]
fn topics_and_lengths_spread_what_has_no_labels() {
    let topics = World::with_embedder().run("a.jsonl", chats(&pairs(120)));
    assert_eq!(topics.data.report.split.stratified_by.as_deref(), Some("topics"));
    let rows: Vec<(String, String)> =
        pairs(120).into_iter().enumerate().map(|(n, (q, a))| (q, format!("{a} {}", "word ".repeat(n)))).collect();
    let lengths = World::new().run("a.jsonl", chats(&rows));
    assert_eq!(lengths.data.report.split.stratified_by.as_deref(), Some("lengths"));
    let mut quarters = [0; 4];
    for example in &lengths.data.validation {
        let number = rows
            .iter()
            .position(|(q, a)| {
                TrainingExample::question_answer(None, q, a.trim()) == *example || example.to_json_line().contains(q)
            })
            .unwrap();
        quarters[number / 30] += 1;
    }
    assert!(quarters.iter().all(|count| (5..=7).contains(count)), "{quarters:?}");
}

#[test]
fn shares_and_limits_are_kept() {
    let share = |share, rows: usize| {
        let options = PrepareOptions { validation_share: Some(share), ..PrepareOptions::default() };
        let data = World { options, ..World::new() }.run("a.jsonl", chats(&pairs(rows))).data;
        (data.training.len(), data.validation.len())
    };
    assert_eq!(share(0.0, 40), (40, 0));
    assert_eq!(share(0.5, 40), (20, 20));
    assert_eq!(share(0.5, 12), (10, 2), "ten are always left to train on");
    let many: Vec<(String, String)> =
        (0..12_000).map(|n| (format!("Question number {n}, please?"), format!("Answer number {n}."))).collect();
    let data = World::new().run("a.jsonl", chats(&many)).data;
    assert_eq!((data.training.len(), data.validation.len()), (11_000, 1000));
}

#[test]
fn ten_examples_are_all_trained_on() {
    let prepared = World::new().run("a.jsonl", chats(&pairs(10)));
    assert_eq!((prepared.data.training.len(), prepared.data.validation.len()), (10, 0));
    assert!(prepared.finding("no_validation").is_some());
}
