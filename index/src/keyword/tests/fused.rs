//! Vectors and words together.

use anser_core::{AttributeValue, ErrorKind};

use super::*;
use crate::{Fusion, FusionMethod};

/// Ten documents whose vectors turn away from (1, 0) and whose texts say "apple" the more often.
fn filled(place: &Place) -> Arc<Collection> {
    let c = place.create();
    let all: Vec<NewDocument> = (0..10)
        .map(|i| {
            let text = format!("fruit {}x{i}", "apple ".repeat(i / 2));
            let mut new = document(&format!("d{i}"), None, &text);
            new.chunks[0].embedding = unit(10.0, i as f32);
            new.document.attributes = [("even".to_owned(), AttributeValue::Bool(i % 2 == 0))].into();
            new
        })
        .collect();
    c.upsert(&all).unwrap();
    c
}

fn both(collection: &Collection, text: &str, params: &SearchParams) -> SearchOutcome {
    let vector = unit(1.0, 0.0);
    collection.search(SearchQuery { vector: Some(&vector), text: Some(text) }, params).unwrap()
}

fn names(outcome: &SearchOutcome) -> Vec<&str> {
    outcome.hits.iter().map(|hit| hit.chunk.document_id.as_str()).collect()
}

#[test]
fn every_hit_says_what_it_scored() {
    let place = Place::new();
    let c = filled(&place);
    let found = both(&c, "apple", &SearchParams { candidates: Some(3), ..SearchParams::new(3) });
    assert_eq!(found.explain.mode, SearchMode::Hybrid);
    assert!(found.explain.fusion.is_some());
    assert_eq!(found.explain.keywords.as_ref().unwrap().matched, 8);
    let words = search(&c, "apple");
    for hit in &found.hits {
        let i: f32 = hit.chunk.document_id.as_str()[1..].parse().unwrap();
        let cosine = 10.0 / (100.0 + i * i).sqrt();
        assert!((hit.vector_score.unwrap() - cosine).abs() < 1e-5, "also where only the words found it");
        let by_words = words.hits.iter().find(|other| other.chunk.id == hit.chunk.id).map(|other| other.score);
        assert_eq!(hit.keyword_score, by_words);
    }
    assert!(found.hits.iter().any(|hit| hit.keyword_score.is_none()));
    assert!(found.hits.iter().all(|hit| (0.0..=1.0).contains(&hit.score)));
}

#[test]
fn modes_are_what_they_say_and_fall_back() {
    let place = Place::new();
    let c = filled(&place);
    let mode = |mode| SearchParams { mode: Some(mode), ..SearchParams::new(3) };
    assert_eq!(names(&both(&c, "apple", &mode(SearchMode::Vector))), ["d0", "d1", "d2"]);
    let by_words = both(&c, "apple", &mode(SearchMode::Keyword));
    assert_eq!(by_words.explain.mode, SearchMode::Keyword);
    assert!(by_words.hits.iter().all(|hit| hit.vector_score.is_some() && hit.keyword_score == Some(hit.score)));
    let vector = unit(1.0, 0.0);
    let only_vector = c.search(&vector, &SearchParams::new(3)).unwrap();
    assert_eq!((only_vector.explain.mode, names(&only_vector)), (SearchMode::Vector, vec!["d0", "d1", "d2"]));
    let only_text = c.search(SearchQuery { vector: None, text: Some("apple") }, &SearchParams::new(3)).unwrap();
    assert_eq!((only_text.explain.mode, only_text.hits.len()), (SearchMode::Keyword, 3));
    assert_eq!(both(&c, "?!", &SearchParams::new(3)).explain.mode, SearchMode::Vector, "no words in it");
    for (query, params) in [
        (SearchQuery::default(), SearchParams::new(3)),
        (SearchQuery { vector: None, text: Some("x") }, mode(SearchMode::Vector)),
        (SearchQuery { vector: Some(&vector), text: None }, mode(SearchMode::Keyword)),
        (SearchQuery { vector: Some(&vector), text: Some("x") }, SearchParams::new(0)),
        (
            SearchQuery { vector: Some(&vector), text: Some("x") },
            SearchParams { fusion: Some(Fusion { vector_weight: 2.0, ..Fusion::default() }), ..SearchParams::new(1) },
        ),
    ] {
        assert_eq!(c.search(query, &params).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn pages_agree_and_ties_go_by_age() {
    let place = Place::new();
    let c = filled(&place);
    for method in [FusionMethod::ReciprocalRank, FusionMethod::WeightedScores] {
        let params = |k| SearchParams {
            candidates: Some(10),
            fusion: Some(Fusion { method, ..Fusion::default() }),
            ..SearchParams::new(k)
        };
        let all = both(&c, "apple fruit", &params(10));
        assert_eq!(all.hits.len(), 10);
        for k in 1..10 {
            assert_eq!(names(&both(&c, "apple fruit", &params(k))), names(&all)[..k], "{method:?}");
        }
    }
    texts(&c, &["same words", "same words", "same words"]);
    assert_eq!(ids(&c, "same"), ["d0", "d1", "d2"]);
}

#[test]
fn filters_hold_on_both_sides() {
    let place = Place::new();
    let c = filled(&place);
    let filter = Some("even = true".parse().unwrap());
    for mode in [SearchMode::Hybrid, SearchMode::Vector, SearchMode::Keyword] {
        let found =
            both(&c, "apple", &SearchParams { mode: Some(mode), filter: filter.clone(), ..SearchParams::new(10) });
        let expected = if mode == SearchMode::Keyword { 4 } else { 5 };
        assert_eq!(found.hits.len(), expected, "{mode:?}");
        assert!(found.hits.iter().all(|hit| hit.chunk.document_id.as_str()[1..].parse::<u32>().unwrap() % 2 == 0));
        let explain = found.explain.filter.unwrap();
        assert!((explain.selectivity - 0.5).abs() < 1e-9);
        if let Some(keywords) = found.explain.keywords {
            assert_eq!(keywords.matched, 4);
        }
    }
}

#[test]
fn settings_of_the_collection_count_unless_the_request_says_otherwise() {
    let place = Place::new();
    let c = filled(&place);
    let settings = crate::SearchSettings { mode: SearchMode::Keyword, ..c.search_settings().unwrap() };
    c.set_search_settings(&settings).unwrap();
    assert_eq!(both(&c, "apple", &SearchParams::new(2)).explain.mode, SearchMode::Keyword);
    let asked = SearchParams { mode: Some(SearchMode::Vector), ..SearchParams::new(2) };
    assert_eq!(both(&c, "apple", &asked).explain.mode, SearchMode::Vector);
}

#[test]
fn places_of_words_and_phrases_are_marked() {
    let place = Place::new();
    let c = place.create();
    texts(&c, &["The runner's shoes ran; a Wi-Fi café — 我喜欢喝咖啡。 running shoes"]);
    let marked = |query: &str| -> Vec<String> {
        let params = SearchParams { mode: Some(SearchMode::Keyword), highlight: true, ..SearchParams::new(1) };
        let found = c.search(SearchQuery { vector: None, text: Some(query) }, &params).unwrap();
        let hit = &found.hits[0];
        let spans = hit.highlights.iter().map(|span| span.slice(&hit.chunk.text).unwrap().to_owned()).collect();
        assert!(hit.highlights.is_sorted_by(|a, b| a.end <= b.start));
        spans
    };
    assert_eq!(marked("the shoe"), ["shoes", "shoes"], "not the article");
    assert_eq!(marked("the"), ["The"]);
    assert_eq!(marked("\"running shoes\""), ["running shoes"]);
    assert_eq!(marked("wifi CAFE"), ["Wi-Fi", "café"]);
    assert_eq!(marked("咖啡"), ["咖啡"]);
    assert_eq!(marked("喜欢喝"), ["喜欢喝"]);
    let plain = search(&c, "shoe");
    assert!(plain.hits[0].highlights.is_empty(), "only on request");
}
