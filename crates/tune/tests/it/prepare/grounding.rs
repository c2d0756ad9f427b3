//! Grounded examples: the supporting passage among others, or missing with a refusal.

use anser_core::{ByteSpan, ChatMessage, ChunkId, ContextPassage, DocumentId, Role};
use anser_tune::data::{GroundOptions, GroundedContext, ground};

use super::*;

fn passage(id: usize, text: &str) -> ContextPassage {
    ContextPassage {
        number: 0,
        document_id: DocumentId::new(format!("doc-{id}")).unwrap(),
        chunk_id: ChunkId(id as u64),
        span: ByteSpan::new(0, text.len()).unwrap(),
        title: None,
        text: text.to_owned(),
        score: 0.5,
        rerank_score: None,
    }
}

fn lay_out(question: &str, passages: &[ContextPassage]) -> Vec<ChatMessage> {
    let listed: String = passages.iter().map(|p| format!("[{}] {}\n", p.number, p.text)).collect::<Vec<_>>().concat();
    vec![ChatMessage::new(Role::System, "Read."), ChatMessage::new(Role::User, format!("{listed}\n{question}"))]
}

fn examples(count: usize) -> Vec<TrainingExample> {
    pairs(count).iter().map(|(q, a)| TrainingExample::question_answer(Some("Old."), q, a)).collect()
}

/// For each question the passage with its answer, third among five.
fn retrieve(count: usize) -> impl FnMut(&str) -> anser_core::Result<GroundedContext> {
    move |question| {
        let at = pairs(count).iter().position(|(q, _)| q == question).unwrap();
        let answer = pairs(count)[at].1.clone();
        let passages = (0..5)
            .map(|n| {
                if n == 2 {
                    passage(at, &format!("Known: {answer}"))
                } else {
                    passage(1000 + n, &format!("Something else {n}."))
                }
            })
            .collect();
        Ok(GroundedContext { passages, ..GroundedContext::default() })
    }
}

fn parts(example: &TrainingExample) -> (&str, &str) {
    let TrainingExample::Chat { turns } = example else { panic!("a chat") };
    assert_eq!(
        turns.iter().map(|(turn, learned)| (turn.role, *learned)).collect::<Vec<_>>(),
        [(Role::System, false), (Role::User, false), (Role::Assistant, true)]
    );
    assert_eq!(turns[0].0.content, "Read.", "the answer path's system message replaces the old one");
    (&turns[1].0.content, &turns[2].0.content)
}

#[test]
fn the_supporting_passage_stands_among_others_or_is_missing_in_its_share() {
    let options = GroundOptions { missing_share: 0.25, distractors: 2, ..GroundOptions::default() };
    let grounded = ground(&examples(40), &mut retrieve(40), &lay_out, &options).unwrap();
    assert_eq!((grounded.supported, grounded.missing, grounded.unsupported.len()), (30, 10, 0));
    let mut places = [0; 3];
    for (example, (question, answer)) in grounded.examples.iter().zip(pairs(40)) {
        let (prompt, reply) = parts(example);
        assert!(
            prompt.ends_with(&question)
                && prompt.starts_with("[1] ")
                && prompt.contains("\n[2] ")
                && prompt.contains("\n[3] ")
                && !prompt.contains("[4]"),
            "{prompt}"
        );
        match prompt.lines().position(|line| line.contains(&answer)) {
            Some(place) => {
                assert_eq!(reply, answer);
                places[place] += 1;
            }
            None => assert_eq!(reply, options.refusal),
        }
    }
    assert!(places.iter().all(|count| *count >= 4), "{places:?}");
    let again = ground(&examples(40), &mut retrieve(40), &lay_out, &options).unwrap();
    assert_eq!(grounded, again);
    let other = ground(&examples(40), &mut retrieve(40), &lay_out, &GroundOptions { seed: 1, ..options }).unwrap();
    assert_ne!(grounded, other);
}

#[test]
fn an_answer_that_no_passage_supports_is_left_out_and_a_refusal_kept() {
    let mut given = examples(12);
    given[3] = TrainingExample::question_answer(None, &pairs(12)[3].0, "Completely different words appear here.");
    given[4] = TrainingExample::question_answer(None, &pairs(12)[4].0, "I don't know.");
    let mut find = retrieve(12);
    let mut without_support = |question: &str| {
        let mut found = find(question)?;
        if question == pairs(12)[4].0 {
            found.passages.remove(2);
        }
        Ok(found)
    };
    let options = GroundOptions { missing_share: 0.0, ..GroundOptions::default() };
    let grounded = ground(&given, &mut without_support, &lay_out, &options).unwrap();
    assert_eq!((grounded.unsupported.as_slice(), grounded.supported, grounded.missing), (&[3][..], 10, 1));
    assert_eq!(parts(&grounded.examples[3]).1, "I don't know.");
}

#[test]
fn documents_known_to_hold_the_answer_need_no_overlap() {
    let given = [TrainingExample::question_answer(None, "When?", "Different words.")];
    let mut context = |_: &str| {
        Ok(GroundedContext {
            passages: vec![passage(1, "a"), passage(2, "b")],
            supporting: vec![DocumentId::new("doc-2").unwrap()],
            refusal: None,
        })
    };
    let grounded =
        ground(&given, &mut context, &lay_out, &GroundOptions { missing_share: 0.0, ..GroundOptions::default() })
            .unwrap();
    assert_eq!((grounded.supported, parts(&grounded.examples[0]).1), (1, "Different words."));
}

#[test]
fn a_prepared_dataset_is_grounded_with_its_report() {
    let world = World::with_embedder();
    let prepared = world.run("a.jsonl", jsonl(&pairs(60), "question", "answer")).data;
    let before = prepared.report.clone();
    let grounded = prepared.grounded(&mut retrieve(60), &lay_out, &GroundOptions::default(), Some(&WordCount)).unwrap();
    assert_eq!((grounded.training.len(), grounded.validation.len()), (48, 12));
    assert_ne!(grounded.report.fingerprint, before.fingerprint);
    assert!(grounded.report.tokens.unwrap().training > before.tokens.unwrap().training);
    assert!(
        grounded.report.to_string().contains("48 show one that holds the answer, and 12 show none"),
        "{}",
        grounded.report
    );
    let prepared = world.run("a.jsonl", jsonl(&pairs(60), "question", "answer")).data;
    let mut nothing = |_: &str| Ok(GroundedContext::default());
    let error = prepared.grounded(&mut nothing, &lay_out, &GroundOptions::default(), None).unwrap_err();
    assert!(
        error.kind() == anser_core::ErrorKind::InvalidInput && error.to_string().contains("only 0 of 48"),
        "{error}"
    );
}

#[test]
fn options_out_of_range_and_failing_searches_are_errors() {
    for options in [
        GroundOptions { missing_share: 1.0, ..GroundOptions::default() },
        GroundOptions { refusal: " ".into(), ..GroundOptions::default() },
    ] {
        assert!(ground(&examples(3), &mut retrieve(3), &lay_out, &options).is_err());
    }
    let mut failing = |_: &str| Err(anser_core::Error::not_found("there is no such collection"));
    let error = ground(&examples(3), &mut failing, &lay_out, &GroundOptions::default()).unwrap_err();
    assert_eq!(error.kind(), anser_core::ErrorKind::NotFound);
}

#[test]
fn a_missing_answer_is_declined_in_the_words_of_the_answer_path() {
    let mut find = retrieve(12);
    let mut context =
        |question: &str| Ok(GroundedContext { refusal: Some("Das steht da nicht.".to_owned()), ..find(question)? });
    let options = GroundOptions { missing_share: 0.5, ..GroundOptions::default() };
    let grounded = ground(&examples(12), &mut context, &lay_out, &options).unwrap();
    let declined = grounded.examples.iter().filter(|example| parts(example).1 == "Das steht da nicht.").count();
    assert_eq!((declined, grounded.missing), (6, 6));
}
