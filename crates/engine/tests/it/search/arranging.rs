//! Reranking, diverse hits, groups and thresholds.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use anser_core::{AttributeValue, Embedding, ScoredChunk};
use anser_engine::{SearchMode, SearchRequest};

use super::{Shop, chunks, query};

fn vector(text: &str) -> SearchRequest {
    SearchRequest { mode: Some(SearchMode::Vector), limit: 100, ..query(text) }
}

#[test]
fn the_reranker_orders_as_many_hits_as_it_is_told() {
    let shop = Shop::of(80);
    let plain = shop.search(&vector("sweet coffee")).unwrap();
    let reranked =
        shop.search(&SearchRequest { rerank: true, rerank_depth: Some(15), ..vector("sweet coffee") }).unwrap();
    assert_eq!(shop.read.load(Ordering::Relaxed), 15);
    let (plain, order) = (chunks(&plain), chunks(&reranked));
    assert_eq!(order[15..], plain[15..], "those beyond the depth stay as they were");
    assert_ne!(order[..15], plain[..15]);
    assert_eq!(order[..15].iter().collect::<HashSet<_>>(), plain[..15].iter().collect());
    assert!(reranked.hits.iter().take(15).all(|hit| hit.rerank_score.is_some()));
    assert!(reranked.hits.iter().skip(15).all(|hit| hit.rerank_score.is_none()));
    let step = reranked.steps.rerank.unwrap();
    assert_eq!((step.model.as_str(), step.depth, step.read), ("oracle", 15, 15));
    // A page that lies behind what was reranked reads nothing.
    let request = SearchRequest { rerank: true, rerank_depth: Some(5), limit: 5, ..vector("sweet coffee") };
    let after = shop.search(&request).unwrap().next;
    let second = shop.search(&SearchRequest { after, ..request }).unwrap();
    assert_eq!((shop.read.load(Ordering::Relaxed), second.steps.rerank.unwrap().read), (20, 0));
}

#[test]
fn a_lambda_of_one_keeps_the_order_and_of_zero_spreads_as_far_as_can_be() {
    let shop = Shop::of(80);
    let plain = shop.search(&vector("sweet coffee")).unwrap();
    let with = |lambda| shop.search(&SearchRequest { mmr_lambda: Some(lambda), ..vector("sweet coffee") }).unwrap();
    assert_eq!(chunks(&with(1.0)), chunks(&plain));

    let collection = shop.engine.collection("shop").unwrap();
    let of = |hit: &ScoredChunk| collection.vector(&hit.chunk.document_id).unwrap().unwrap();
    let spread = with(0.0);
    assert_eq!(chunks(&spread)[0], chunks(&plain)[0], "nothing tells the first choice from others but its relevance");
    assert_eq!(chunks(&spread).iter().collect::<HashSet<_>>(), chunks(&plain).iter().collect());
    let mut chosen: Vec<Embedding> = Vec::new();
    let mut open: Vec<Embedding> = spread.hits.iter().map(of).collect();
    let nearest = |vector: &Embedding, chosen: &[Embedding]| {
        chosen.iter().map(|other| vector.cosine(other).unwrap()).fold(f32::NEG_INFINITY, f32::max)
    };
    while !open.is_empty() {
        let next = open.remove(0);
        if !chosen.is_empty() {
            let taken = nearest(&next, &chosen);
            let least = open.iter().map(|vector| nearest(vector, &chosen)).fold(f32::INFINITY, f32::min);
            assert!(taken <= least + 1e-4, "{taken} is nearer to what was chosen than {least}");
        }
        chosen.push(next);
    }
}

#[test]
fn diverse_hits_are_chosen_from_what_the_reranker_read() {
    let shop = Shop::of(80);
    let request = SearchRequest { rerank: true, rerank_depth: Some(12), ..vector("sweet coffee") };
    let reranked = chunks(&shop.search(&request).unwrap());
    let spread = chunks(&shop.search(&SearchRequest { mmr_lambda: Some(0.3), ..request.clone() }).unwrap());
    assert_eq!(spread[12..], reranked[12..]);
    assert_eq!(spread[0], reranked[0]);
    assert_ne!(spread[..12], reranked[..12]);
    assert_eq!(chunks(&shop.search(&SearchRequest { mmr_lambda: Some(1.0), ..request }).unwrap()), reranked);
}

#[test]
fn a_group_shows_its_best_hit_and_counts_the_others() {
    let shop = Shop::of(150);
    let all = shop.search(&vector("sweet coffee")).unwrap();
    let pages = shop.walk(&vector("sweet coffee"), &[100]);
    let every: Vec<ScoredChunk> = pages.into_iter().flat_map(|page| page.hits).collect();
    let grouped = shop.search(&SearchRequest { group_by: Some("product".into()), ..vector("sweet coffee") }).unwrap();
    assert_eq!(grouped.hits[0], all.hits[0]);
    let mut values = HashSet::new();
    let mut ungrouped = 0;
    for (hit, group) in grouped.hits.iter().zip(&grouped.groups) {
        assert_eq!(hit.attributes.get("product"), group.value.as_ref());
        let Some(value) = &group.value else {
            ungrouped += 1;
            assert_eq!(group.more, 0);
            continue;
        };
        assert!(values.insert(value.display()), "{value:?} came twice");
        let same: Vec<&ScoredChunk> =
            every.iter().filter(|other| other.attributes.get("product") == Some(value)).collect();
        assert_eq!((same[0].chunk.id, same.len() - 1), (hit.chunk.id, group.more));
    }
    assert!(values.len() == 20 && ungrouped > 20, "documents without it are each their own: {values:?} {ungrouped}");
    let json = serde_json::to_value(&grouped).unwrap();
    assert!(json["hits"][0]["group"]["more"].is_u64() && json["hits"][0]["chunk"]["text"].is_string());
    assert_eq!(json["explain"]["group_by"], "product");
    assert!(json["explain"]["timings"]["total_ms"].is_f64() && json["explain"]["mode"] == "vector");
}

#[test]
fn a_least_score_cuts_the_list_where_it_is_reached() {
    let shop = Shop::of(80);
    let all = shop.search(&vector("sweet coffee")).unwrap();
    let least = all.hits[9].score;
    let request = SearchRequest { min_score: Some(least), rerank: true, limit: 6, ..vector("sweet coffee") };
    let pages = shop.walk(&request, &[6]);
    let hits: Vec<&ScoredChunk> = pages.iter().flat_map(|page| &page.hits).collect();
    let wanted = all.hits.iter().filter(|hit| hit.score >= least).count();
    assert_eq!(hits.len(), wanted);
    assert!(hits.iter().all(|hit| hit.score >= least));
}

#[test]
fn documents_are_deleted_by_what_they_say_of_themselves() {
    let shop = Shop::of(50);
    let cancel = anser_core::CancelToken::new();
    let deleted = shop.engine.delete_where("shop", &"at >= 10 and at < 30".parse().unwrap(), &cancel).unwrap();
    assert_eq!(deleted, 20);
    assert_eq!(shop.engine.delete_where("shop", &"at >= 10 and at < 30".parse().unwrap(), &cancel).unwrap(), 0);
    // A slip that would let everything through deletes nothing.
    for slip in ["att != 10", "at != \"10\"", "not at = \"10\""] {
        let refused = shop.engine.delete_where("shop", &slip.parse().unwrap(), &cancel).unwrap_err();
        assert_eq!(refused.param(), Some("filter"), "{slip}: {refused}");
    }
    let left = shop.search(&vector("coffee")).unwrap();
    let outside = |hit: &ScoredChunk| match hit.attributes.get("at") {
        Some(AttributeValue::Integer(at)) => !(10..30).contains(at),
        _ => false,
    };
    assert!(!left.hits.is_empty() && left.hits.iter().all(outside));
    let cancelled = anser_core::CancelToken::new();
    cancelled.cancel();
    assert!(shop.engine.delete_where("shop", &"at >= 0".parse().unwrap(), &cancelled).is_err());
}
