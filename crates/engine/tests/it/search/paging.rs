//! Pages, put together, are one list, whatever is asked for; cursors are good for their search alone.

use std::collections::HashSet;

use anser_engine::{FusionMethod, SearchMode, SearchRequest};
use proptest::prelude::*;

use super::{Shop, chunks, document, id, query};

fn requests() -> impl Strategy<Value = SearchRequest> {
    let mode = prop_oneof![Just(SearchMode::Hybrid), Just(SearchMode::Vector), Just(SearchMode::Keyword)];
    let fusion = (prop_oneof![Just(FusionMethod::ReciprocalRank), Just(FusionMethod::WeightedScores)], 0.0f32..=1.0);
    let depth = prop::option::of(1usize..40);
    let lambda = prop::option::of(0.0f32..=1.0);
    let group = prop::option::of(Just("product".to_owned()));
    let filter = prop::option::of(prop_oneof![Just("at < 90"), Just("product != \"p4\"")]);
    let text = prop_oneof![Just("sweet coffee"), Just("broken blue lamp"), Just("battery")];
    (mode, fusion, depth, lambda, group, filter, text).prop_map(|(mode, fusion, depth, lambda, group, filter, text)| {
        SearchRequest {
            mode: Some(mode),
            fusion: Some(anser_engine::FusionChange { method: Some(fusion.0), vector_weight: Some(fusion.1) }),
            rerank: depth.is_some(),
            rerank_depth: depth,
            mmr_lambda: lambda,
            group_by: group,
            filter: filter.map(|filter| filter.parse().unwrap()),
            ..query(text)
        }
    })
}

#[test]
fn pages_of_every_size_make_the_same_list() {
    let shop = Shop::of(260);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(request in requests(), limits in prop::collection::vec(1usize..60, 1..4))| {
        let list = |limits: &[usize]| {
            let pages = shop.walk(&request, limits);
            let hits: Vec<u64> = pages.iter().flat_map(chunks).collect();
            let groups: Vec<_> = pages.into_iter().flat_map(|page| page.groups).collect();
            (hits, groups)
        };
        let (whole, groups) = list(&[100]);
        prop_assert!(!whole.is_empty());
        prop_assert_eq!(whole.iter().collect::<HashSet<_>>().len(), whole.len(), "no hit twice");
        prop_assert_eq!(groups.len(), if request.group_by.is_some() { whole.len() } else { 0 });
        let (pages, page_groups) = list(&limits);
        prop_assert_eq!(pages, whole);
        prop_assert_eq!(page_groups, groups);
    });
}

#[test]
fn the_list_has_every_different_text_that_matches() {
    let shop = Shop::of(260);
    let texts = |request: &SearchRequest| -> HashSet<String> {
        let pages = shop.walk(request, &[70]);
        let hits: Vec<String> = pages.into_iter().flat_map(|page| page.hits).map(|hit| hit.chunk.text).collect();
        assert_eq!(hits.iter().collect::<HashSet<_>>().len(), hits.len(), "word for word repeats are left out");
        hits.into_iter().collect()
    };
    let all: HashSet<String> = (0..260).map(|at| document("x", at).text).collect();
    assert!(all.len() < 260);
    for mode in [SearchMode::Vector, SearchMode::Hybrid] {
        assert_eq!(texts(&SearchRequest { mode: Some(mode), ..query("coffee") }), all);
    }
    let coffee: HashSet<String> = all.into_iter().filter(|text| text.contains("coffee")).collect();
    assert_eq!(texts(&SearchRequest { mode: Some(SearchMode::Keyword), ..query("coffee") }), coffee);
}

#[test]
fn no_hit_comes_twice_while_documents_come_and_go() {
    for (mode, rerank) in [(SearchMode::Hybrid, true), (SearchMode::Vector, false), (SearchMode::Keyword, false)] {
        let shop = Shop::of(120);
        let request = SearchRequest { mode: Some(mode), rerank, limit: 7, ..query("sweet coffee parcel") };
        let mut shown: HashSet<u64> = HashSet::new();
        let mut after = None;
        for page in 0..8usize {
            let reply = shop.search(&SearchRequest { after, ..request.clone() }).unwrap();
            for chunk in chunks(&reply) {
                assert!(shown.insert(chunk), "{mode:?}: chunk {chunk} came twice");
            }
            after = reply.next;
            if after.is_none() {
                break;
            }
            // What is nearest of all arrives, and something that was shown leaves.
            let mut arrives = document(&format!("new{page}"), 1000 + page);
            arrives.text = format!("sweet coffee parcel {page}");
            shop.add(vec![arrives]);
            shop.delete(
                &[reply.hits[0].chunk.document_id.clone(), id(&format!("d{}", 100 + page))]
                    .into_iter()
                    .collect::<HashSet<_>>()
                    .into_iter()
                    .filter(|id| shop.engine.collection("shop").unwrap().document(id).unwrap().is_some())
                    .collect::<Vec<_>>(),
            );
        }
        assert!(shown.len() > 30, "{mode:?}: {}", shown.len());
    }
}

#[test]
fn no_group_comes_twice_when_a_better_hit_of_it_arrives() {
    let shop = Shop::of(60);
    let request = SearchRequest { group_by: Some("product".into()), limit: 8, ..query("sweet coffee") };
    let first = shop.search(&request).unwrap();
    let mut better = document("better", 4);
    better.text = "sweet coffee".into();
    let product = first.groups.iter().find_map(|group| group.value.clone());
    better.attributes.extend(product.clone().map(|product| ("product".to_owned(), product)));
    shop.add(vec![better]);
    let second = shop.search(&SearchRequest { after: first.next, limit: 50, ..request }).unwrap();
    assert!(!second.hits.is_empty() && product.is_some());
    assert!(second.groups.iter().all(|group| group.value.is_none() || group.value != product));
}

#[test]
fn a_cursor_is_refused_where_it_does_not_belong() {
    let shop = Shop::of(40);
    let request = query("sweet coffee");
    let after = shop.search(&request).unwrap().next;
    assert!(after.is_some());
    // Limit and highlights may change.
    let page = SearchRequest { after: after.clone(), limit: 3, highlight: true, ..request.clone() };
    assert_eq!(shop.search(&page).unwrap().hits.len(), 3);
    let others = [
        query("sweet tea"),
        SearchRequest { mode: Some(SearchMode::Vector), ..request.clone() },
        SearchRequest { rerank: true, ..request.clone() },
        SearchRequest { mmr_lambda: Some(0.5), ..request.clone() },
        SearchRequest { min_score: Some(0.1), ..request.clone() },
        SearchRequest { group_by: Some("product".into()), ..request.clone() },
        SearchRequest { filter: Some("at < 9".parse().unwrap()), ..request.clone() },
    ];
    for other in others {
        let error = shop.search(&SearchRequest { after: after.clone(), ..other.clone() }).unwrap_err();
        assert_eq!(error.param(), Some("after"), "{other:?}: {error}");
        assert!(error.to_string().contains("another query"), "{error}");
    }
    // A collection of the same name that came later.
    assert!(shop.engine.delete_collection("shop").unwrap());
    shop.engine.create_collection("shop").unwrap();
    shop.add((0..40).map(|at| document(&format!("d{at}"), at)).collect());
    assert_eq!(shop.search(&SearchRequest { after, ..request.clone() }).unwrap_err().param(), Some("after"));
    let tampered = shop.search(&SearchRequest { after: Some("00ff".into()), ..request }).unwrap_err();
    assert!(tampered.to_string().contains("not a cursor"), "{tampered}");
}

#[test]
fn paging_ends_after_a_thousand_hits() {
    let shop = Shop::new();
    let text = |at: usize| super::document(&format!("d{at}"), 9 * at);
    shop.add((0..1050).map(text).collect());
    let pages = shop.walk(&SearchRequest { mode: Some(SearchMode::Vector), ..query("coffee") }, &[90]);
    let hits: Vec<u64> = pages.iter().flat_map(chunks).collect();
    assert_eq!((hits.len(), hits.iter().collect::<HashSet<_>>().len()), (1000, 1000));
    assert!(pages.last().is_some_and(|last| last.next.is_none() && last.hits.len() == 1000 % 90));
}
