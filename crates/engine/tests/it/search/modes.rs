//! What is compared, with which models, and what a collection's settings have to do with it.

use anser_core::storage::DataDir;
use anser_core::{
    Attributes, ByteSpan, CancelToken, ChunkId, Document, EmbedderInfo, Embedding, ErrorKind, ScoredChunk,
};
use anser_engine::{
    FusionChange, FusionMethod, IndexOptions, SearchMode, SearchRequest, SearchSettings, SearchSettingsChange,
};
use anser_index::{NewChunk, NewDocument, Store};

use super::{Shop, chunks, id, open, query};

fn with(mode: SearchMode, text: &str) -> SearchRequest {
    SearchRequest { mode: Some(mode), limit: 30, ..query(text) }
}

#[test]
fn hybrid_finds_what_either_finds_and_tells_both_scores() {
    let shop = Shop::of(60);
    let keyword = shop.search(&with(SearchMode::Keyword, "sweet coffee")).unwrap();
    assert!(!keyword.hits.is_empty());
    assert!(keyword.hits.iter().all(|hit| hit.keyword_score == Some(hit.score) && hit.vector_score.is_none()));
    let vector = shop.search(&with(SearchMode::Vector, "sweet coffee")).unwrap();
    assert!(vector.hits.iter().all(|hit| hit.vector_score == Some(hit.score) && hit.keyword_score.is_none()));
    let hybrid = shop.search(&with(SearchMode::Hybrid, "sweet coffee")).unwrap();
    assert_eq!(hybrid.explain.mode, SearchMode::Hybrid);
    assert!(hybrid.hits.iter().all(|hit| hit.vector_score.is_some() && (0.0..=1.0).contains(&hit.score)));
    assert!(hybrid.hits.iter().any(|hit| hit.keyword_score.is_some()));
    // Without a mode it is the collection's, which is hybrid at first.
    assert_eq!(chunks(&shop.search(&SearchRequest { limit: 30, ..query("sweet coffee") }).unwrap()), chunks(&hybrid));
    // All weight on one side is its order.
    let weight = |share| FusionChange { method: Some(FusionMethod::WeightedScores), vector_weight: Some(share) };
    let request = |share| SearchRequest { fusion: Some(weight(share)), ..with(SearchMode::Hybrid, "sweet coffee") };
    assert_eq!(chunks(&shop.search(&request(1.0)).unwrap())[..10], chunks(&vector)[..10]);
}

#[test]
fn words_are_searched_without_any_embedder() {
    let shop = Shop::of(60);
    let expected = shop.search(&with(SearchMode::Keyword, "sweet coffee")).unwrap();
    let shop = shop.without_embedder();
    let found = shop.search(&with(SearchMode::Keyword, "sweet coffee")).unwrap();
    assert_eq!(chunks(&found), chunks(&expected));
    assert!(found.steps.timings.embed_ms.abs() < 1e-9);
    let reranked = shop.search(&SearchRequest {
        rerank: true,
        mmr_lambda: Some(0.5),
        ..with(SearchMode::Keyword, "sweet coffee")
    });
    assert_eq!(reranked.unwrap().hits.len(), found.hits.len(), "neither do reranking and diverse hits need one");
    for mode in [SearchMode::Vector, SearchMode::Hybrid] {
        assert_eq!(shop.search(&with(mode, "sweet coffee")).unwrap_err().kind(), ErrorKind::Internal);
    }
}

#[test]
fn highlights_are_the_words_of_the_query() {
    let shop = Shop::of(60);
    let request = SearchRequest { highlight: true, ..with(SearchMode::Hybrid, "coffee") };
    let reply = shop.search(&request).unwrap();
    let marked = |hit: &ScoredChunk| -> Vec<String> {
        hit.highlights.iter().map(|span| span.slice(&hit.chunk.text).unwrap().to_owned()).collect()
    };
    let with_words: Vec<&ScoredChunk> = reply.hits.iter().filter(|hit| hit.keyword_score.is_some()).collect();
    assert!(!with_words.is_empty());
    assert!(with_words.iter().all(|hit| marked(hit).contains(&"coffee".to_owned())));
    let plain = shop.search(&SearchRequest { highlight: false, ..request }).unwrap();
    assert!(plain.hits.iter().all(|hit| hit.highlights.is_empty()));
}

/// A collection whose vectors came from outside: two documents, their vectors at right angles.
fn external(shop: &Shop) {
    let store = Store::open(&DataDir::open(shop.folder.path()).unwrap(), IndexOptions::default()).unwrap();
    let collection = store.create("own", &EmbedderInfo::external("theirs", 2)).unwrap();
    let document = |name: &str, text: &str, vector: [f32; 2]| NewDocument {
        document: Document { id: id(name), title: None, text: text.into(), attributes: Attributes::new() },
        fingerprint: name.into(),
        chunks: vec![NewChunk {
            span: ByteSpan { start: 0, end: text.len() },
            text: text.into(),
            tokens: 2,
            embedding: Embedding::normalize(vector.to_vec()).unwrap(),
        }],
    };
    collection.upsert(&[document("a", "sweet coffee", [1.0, 0.0]), document("b", "blue lamp", [0.0, 1.0])]).unwrap();
}

#[test]
fn a_collection_of_foreign_vectors_is_searched_by_words_or_by_a_vector_of_its_kind() {
    let shop = Shop::of(1);
    external(&shop);
    let (engine, _) = open(&shop.folder, false);
    let search = |request: SearchRequest| engine.search("own", &request, &CancelToken::new());
    let ids = |request| search(request).unwrap().hits.iter().map(|hit| hit.chunk.id).collect::<Vec<ChunkId>>();
    let words = search(query("lamp")).unwrap();
    assert_eq!((words.explain.mode, words.hits.len()), (SearchMode::Keyword, 1));
    let refused = search(with(SearchMode::Vector, "lamp")).unwrap_err();
    assert_eq!((refused.kind(), refused.param()), (ErrorKind::InvalidInput, Some("mode")));
    assert!(refused.to_string().contains("keyword"), "{refused}");
    let near_a = SearchRequest { vector: Some(vec![0.9, 0.1]), ..query("") };
    let order = ids(near_a.clone());
    assert_eq!(order.len(), 2);
    let both = search(SearchRequest { query: "lamp".into(), ..near_a }).unwrap();
    assert_eq!((both.explain.mode, both.hits.len()), (SearchMode::Hybrid, 2));
    let wrong = search(SearchRequest { vector: Some(vec![1.0; 3]), ..query("") }).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
}

#[test]
fn settings_stand_for_what_a_request_leaves_open() {
    let shop = Shop::of(60);
    assert_eq!(shop.engine.search_settings("shop").unwrap(), SearchSettings::default());
    let change = SearchSettingsChange {
        mode: Some(SearchMode::Keyword),
        fusion: Some(FusionChange { vector_weight: Some(0.8), method: None }),
        rerank_depth: Some(3),
    };
    let settings = change.of(SearchSettings::default());
    shop.engine.set_search_settings("shop", &settings).unwrap();
    assert_eq!(shop.engine.search_settings("shop").unwrap(), settings);
    let reply = shop.search(&SearchRequest { rerank: true, ..query("sweet coffee") }).unwrap();
    assert_eq!((reply.explain.mode, reply.steps.rerank.unwrap().depth), (SearchMode::Keyword, 3));
    let hybrid = shop.search(&with(SearchMode::Hybrid, "sweet coffee")).unwrap();
    assert!((hybrid.explain.fusion.unwrap().vector_weight - 0.8).abs() < 1e-6);
    // A depth of 0 switches reranking off.
    let off = SearchSettings { rerank_depth: 0, ..settings };
    shop.engine.set_search_settings("shop", &off).unwrap();
    assert!(shop.search(&SearchRequest { rerank: true, ..query("coffee") }).unwrap().steps.rerank.is_none());
    let far = SearchSettings { rerank_depth: 201, ..settings };
    assert_eq!(shop.engine.set_search_settings("shop", &far).unwrap_err().param(), Some("rerank_depth"));
    let mut heavy = settings;
    heavy.fusion.vector_weight = f32::NAN;
    assert_eq!(shop.engine.set_search_settings("shop", &heavy).unwrap_err().param(), Some("vector_weight"));
    assert_eq!(shop.engine.search_settings("none").unwrap_err().kind(), ErrorKind::NotFound);
}
