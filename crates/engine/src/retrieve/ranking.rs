//! The list that pages are cut from, made as far as a page needs it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use anser_core::{CancelToken, Reranker, ScoredChunk};
use anser_index::{Collection, SearchExplain, SearchParams, SearchQuery};
use serde_json::json;

use super::cursor::{self, MAX_PAGED, Shown};
use super::diversify::diversify;
use super::group::{self, HitGroup};
use super::reply::{RerankStep, SearchReply, SearchSteps};
use super::request::{MAX_LIMIT, Plan, SearchRequest};
use super::rerank::rerank_hits;
use super::{SearchTimings, milliseconds};
use crate::EngineError;

/// Hits that are looked at first, and by what factor there are more when a page lies deeper. One more than the largest page
/// has, to see whether there is another. Groups need more of them: one value may have many hits.
const FIRST_POOL: usize = MAX_LIMIT + 1;
const FIRST_POOL_OF_GROUPS: usize = 200;
const POOL_GROWTH: usize = 4;

/// Most hits that maximal marginal relevance orders.
const SPREAD: usize = 100;

/// Most hits that are looked at.
const LAST_POOL: usize = 4000;

/// A search being carried out.
pub(super) struct Search<'a> {
    collection: &'a Collection,
    request: &'a SearchRequest,
    plan: &'a Plan,
    reranker: Option<Arc<dyn Reranker>>,
    cancel: &'a CancelToken,
    steps: SearchSteps,
}

/// The first hits of the index, without word-for-word repeats.
struct Pool {
    hits: Vec<ScoredChunk>,
    explain: SearchExplain,
    /// Whether no further hit can be found by looking at more.
    complete: bool,
}

/// The page being filled.
struct Page<'a> {
    limit: usize,
    shown: &'a Shown,
    /// What has had its place in the list: keys, and titles with texts.
    keys: HashSet<u64>,
    texts: HashSet<(Option<String>, String)>,
    hits: Vec<ScoredChunk>,
    groups: Vec<HitGroup>,
    has_more: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        collection: &'a Collection,
        request: &'a SearchRequest,
        plan: &'a Plan,
        reranker: Option<Arc<dyn Reranker>>,
        cancel: &'a CancelToken,
    ) -> Self {
        let steps = SearchSteps {
            mmr_lambda: request.mmr_lambda,
            group_by: request.group_by.clone(),
            timings: SearchTimings { embed_ms: plan.embed_ms, ..SearchTimings::default() },
            ..SearchSteps::default()
        };
        Self { collection, request, plan, reranker, cancel, steps }
    }

    /// The page that the request asks for.
    pub(super) fn page(mut self) -> Result<SearchReply, EngineError> {
        let fingerprint = self.fingerprint();
        let mut shown = match &self.request.after {
            Some(cursor) => Shown::read(cursor, fingerprint)?,
            None => Shown::default(),
        };
        let left = MAX_PAGED.saturating_sub(shown.len());
        let mut page = Page::new(self.request.limit.min(left), &shown);
        let group_by = self.request.group_by.as_deref();
        let mut size = self.first_pool();
        let mut pool = self.first_hits(&mut size)?;
        let mut hits = self.arrange(std::mem::take(&mut pool.hits), &shown)?;
        let explain = pool.explain;
        loop {
            page.take(hits, group_by);
            if page.has_more || pool.complete || size >= LAST_POOL {
                break;
            }
            size = (size * POOL_GROWTH).min(LAST_POOL);
            pool = self.look(size)?;
            hits = std::mem::take(&mut pool.hits);
        }
        let Page { hits, groups, has_more, .. } = page;
        shown.extend(hits.iter().map(|hit| group::key(hit, group_by)));
        let next = (has_more && shown.len() < MAX_PAGED).then(|| shown.write(fingerprint));
        let SearchTimings { embed_ms, search_ms, rerank_ms, .. } = self.steps.timings;
        let steps = self.steps;
        Ok(SearchReply { hits, groups, next, explain, steps, retrieve_ms: embed_ms + search_ms, rerank_ms })
    }

    /// How many hits are looked at first; not of the page's doing.
    fn first_pool(&self) -> usize {
        let least = if self.request.group_by.is_some() { FIRST_POOL_OF_GROUPS } else { FIRST_POOL };
        least.max(self.plan.rerank_depth)
    }

    /// The pool that is reranked and spread: wide enough for as many different hits as that needs, where there are so many.
    fn first_hits(&mut self, size: &mut usize) -> Result<Pool, EngineError> {
        let spread = if self.request.mmr_lambda.is_some() { SPREAD } else { 1 };
        let needed = if self.reranker.is_some() { self.plan.rerank_depth } else { spread };
        loop {
            let pool = self.look(*size)?;
            if pool.hits.len() >= needed || pool.complete || *size >= LAST_POOL {
                return Ok(pool);
            }
            *size = (*size * POOL_GROWTH).min(LAST_POOL);
        }
    }

    /// The first `size` hits of the index.
    fn look(&mut self, size: usize) -> Result<Pool, EngineError> {
        self.cancel.check()?;
        let started = Instant::now();
        let text = Some(self.request.query.as_str()).filter(|text| !text.trim().is_empty());
        let query = SearchQuery { vector: self.plan.vector.as_ref(), text };
        let params = SearchParams {
            mode: Some(self.plan.mode),
            fusion: Some(self.plan.fusion),
            candidates: Some(size),
            exact: self.request.exact,
            ef_search: self.request.ef_search,
            filter: self.request.filter.clone(),
            highlight: self.request.highlight,
            ..SearchParams::new(size)
        };
        let outcome = self.collection.search(query, &params)?;
        self.steps.timings.search_ms += milliseconds(started);
        self.steps.looked_at = outcome.hits.len();
        let mut complete = outcome.hits.len() < size;
        let mut hits = outcome.hits;
        if let Some(least) = self.request.min_score {
            // They come in the order of their scores.
            let kept = hits.iter().take_while(|hit| hit.score >= least).count();
            complete |= kept < hits.len();
            hits.truncate(kept);
        }
        Ok(Pool { hits: drop_duplicates(hits), explain: outcome.explain, complete })
    }

    /// Reranks and spreads the first hits of the first pool.
    fn arrange(&mut self, mut hits: Vec<ScoredChunk>, shown: &Shown) -> Result<Vec<ScoredChunk>, EngineError> {
        let mut first = SPREAD.min(hits.len());
        if let Some(reranker) = &self.reranker {
            let started = Instant::now();
            first = self.plan.rerank_depth.min(hits.len());
            let group_by = self.request.group_by.as_deref();
            // A spread order depends on the relevance of all hits.
            let spread = self.request.mmr_lambda.is_some();
            let is_shown = |hit: &ScoredChunk| !spread && shown.contains(group::key(hit, group_by));
            let (read, _) = hits.split_at_mut(first);
            let read = rerank_hits(reranker.as_ref(), &self.request.query, read, is_shown, self.cancel)?;
            self.steps.timings.rerank_ms = milliseconds(started);
            let (model, depth) = (reranker.model().to_owned(), self.plan.rerank_depth);
            self.steps.rerank = Some(RerankStep { model, depth, read });
        }
        if let Some(lambda) = self.request.mmr_lambda {
            let rest = hits.split_off(first);
            hits = diversify(self.collection, hits, lambda)?;
            hits.extend(rest);
        }
        Ok(hits)
    }

    /// Everything that the list depends on besides the collection's contents.
    fn fingerprint(&self) -> u64 {
        let Self { collection, request, plan, .. } = self;
        let compared = json!([request.query, request.vector, plan.mode, plan.fusion, request.filter]);
        let walked = json!([request.exact, request.ef_search]);
        let arranged = json!([plan.rerank_depth, request.mmr_lambda, request.min_score, request.group_by]);
        cursor::hash(json!([collection.id(), compared, walked, arranged]).to_string().as_bytes())
    }
}

impl<'a> Page<'a> {
    fn new(limit: usize, shown: &'a Shown) -> Self {
        Self {
            limit,
            shown,
            keys: HashSet::new(),
            texts: HashSet::new(),
            hits: Vec::new(),
            groups: Vec::new(),
            has_more: false,
        }
    }

    /// Appends those of `hits` to the list that are not in it, and to the page those that it has room for.
    fn take(&mut self, hits: Vec<ScoredChunk>, group_by: Option<&str>) {
        let mut groups = group_by.map(|attribute| group::count(&hits, attribute));
        for hit in hits {
            let key = group::key(&hit, group_by);
            let text = text_of(&hit);
            // A repeat of a listed hit may stand before it once more hits are looked at.
            if self.keys.contains(&key) || self.texts.contains(&text) {
                continue;
            }
            self.keys.insert(key);
            self.texts.insert(text);
            if self.shown.contains(key) {
                continue;
            }
            if self.hits.len() == self.limit {
                self.has_more = true;
                return;
            }
            self.groups.extend(groups.as_mut().and_then(|groups| groups.remove(&key)));
            self.hits.push(hit);
        }
    }
}

/// Keeps the first of hits with the same title and text.
fn drop_duplicates(hits: Vec<ScoredChunk>) -> Vec<ScoredChunk> {
    let mut seen = HashSet::new();
    hits.into_iter().filter(|hit| seen.insert(text_of(hit))).collect()
}

fn text_of(hit: &ScoredChunk) -> (Option<String>, String) {
    (hit.title.clone(), hit.chunk.text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::fixtures::hit;

    #[test]
    fn word_for_word_repeats_are_dropped_but_other_chunks_of_a_document_stay() {
        let mut same = hit(3, "a", "one two", 0.7);
        same.title = Some("other title".into());
        let hits = vec![hit(1, "a", "one two", 0.9), hit(2, "b", " one two ", 0.8), same, hit(4, "a", "three", 0.6)];
        let kept: Vec<u64> = drop_duplicates(hits).iter().map(|h| h.chunk.id.0).collect();
        assert_eq!(kept, [1, 3, 4]);
    }

    #[test]
    fn a_page_passes_over_what_was_shown_and_what_is_listed() {
        let mut shown = Shown::default();
        shown.extend([1, 7]);
        let mut page = Page::new(2, &shown);
        page.take(vec![hit(1, "a", "one", 0.9), hit(2, "b", "two", 0.8)], None);
        assert!(!page.has_more);
        let wider =
            vec![hit(1, "a", "one", 0.9), hit(5, "e", "two", 0.8), hit(2, "b", "two", 0.8), hit(3, "c", "x", 0.7)];
        page.take(wider, None);
        let ids: Vec<u64> = page.hits.iter().map(|h| h.chunk.id.0).collect();
        assert_eq!((ids, page.has_more), (vec![2, 3], false));
        page.take(vec![hit(7, "g", "y", 0.6), hit(8, "h", "z", 0.5)], None);
        assert!(page.has_more);
    }
}
