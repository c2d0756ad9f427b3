//! The documents that stand for a cluster: near its centroid, not near-copies of each other, long enough to say something;
//! and those at its border.

use anser_core::{Document, ProgressUnit};
use unicode_segmentation::UnicodeSegmentation;

use super::partition::{Partition, dot};
use super::report::{BorderlineDocument, TypicalDocument};
use crate::EngineError;
use crate::analysis::{Subject, Work};

/// Two documents whose vectors are nearer than this say the same thing.
const NEAR_COPY: f32 = 0.97;

/// A text with fewer words than this ("Great!") says nothing about its cluster.
const FEWEST_WORDS: usize = 5;

/// Longest text shown, in characters.
const SNIPPET: usize = 240;

/// Documents looked at for each one that is listed, beside a few more.
const LOOKED_AT: usize = 6;

/// Clusters whose texts are in memory at a time.
const CLUSTERS_AT_ONCE: usize = 32;

/// Documents listed for one cluster.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Listed {
    pub(super) typical: Vec<TypicalDocument>,
    pub(super) borderline: Vec<BorderlineDocument>,
}

/// The most typical and the most borderline documents of every cluster.
pub(super) fn listed_documents(
    work: &Work<'_>,
    partition: &Partition,
    (typical, borderline): (usize, usize),
) -> Result<Vec<Listed>, EngineError> {
    let near = best_of_each(partition, typical, &|at| Some(partition.similarities[at]));
    let doubtful = best_of_each(partition, borderline, &|at| partition.margin(at).map(|margin| -margin));
    work.progress.start("reading examples", Some(partition.k() as u64), ProgressUnit::Items);
    let mut listed = Vec::with_capacity(partition.k());
    for first in (0..partition.k()).step_by(CLUSTERS_AT_ONCE) {
        work.cancel.check()?;
        let clusters = first..(first + CLUSTERS_AT_ONCE).min(partition.k());
        let mut places: Vec<usize> =
            clusters.clone().flat_map(|c| near[c].iter().chain(&doubtful[c]).copied()).collect();
        places.sort_unstable();
        places.dedup();
        let documents = work.subject.some(&places)?;
        let read = Read { subject: work.subject, places: &places, documents: &documents };
        for cluster in clusters {
            listed.push(Listed {
                typical: read.choose(&near[cluster], typical).map(|at| read.typical(at, partition)).collect(),
                borderline: read
                    .choose(&doubtful[cluster], borderline)
                    .filter_map(|at| read.borderline(at, partition))
                    .collect(),
            });
        }
        work.progress.set(listed.len() as u64);
    }
    work.progress.finish();
    Ok(listed)
}

/// The members of each cluster with the highest scores, best first: enough of them that `wanted` remain when copies and
/// short texts are left out.
fn best_of_each(partition: &Partition, wanted: usize, score: &dyn Fn(usize) -> Option<f32>) -> Vec<Vec<usize>> {
    let kept = if wanted == 0 { 0 } else { wanted * LOOKED_AT + 20 };
    let mut best: Vec<Vec<(f32, usize)>> = vec![Vec::new(); partition.k()];
    let cut = |members: &mut Vec<(f32, usize)>| {
        members.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        members.truncate(kept);
    };
    for (at, cluster) in partition.assignments.iter().enumerate() {
        let Some((cluster, score)) = cluster.zip(score(at)) else { continue };
        let members = &mut best[cluster as usize];
        members.push((score, at));
        if members.len() >= 4 * kept + 64 {
            cut(members);
        }
    }
    let finished = best.into_iter().map(|mut members| {
        cut(&mut members);
        members.into_iter().map(|(_, at)| at).collect()
    });
    finished.collect()
}

/// Documents that were read, by their places.
struct Read<'a> {
    subject: &'a Subject,
    /// In rising order.
    places: &'a [usize],
    documents: &'a [Document],
}

impl<'a> Read<'a> {
    fn document(&self, at: usize) -> Option<&'a Document> {
        self.places.binary_search(&at).ok().and_then(|place| self.documents.get(place))
    }

    /// At most `wanted` of `ranked`, in its order. Short texts are taken only when there are too few longer ones,
    /// near-copies never.
    fn choose(&self, ranked: &[usize], wanted: usize) -> std::vec::IntoIter<usize> {
        let mut chosen: Vec<usize> = Vec::with_capacity(wanted);
        for long in [true, false] {
            for &at in ranked {
                if chosen.len() == wanted {
                    break;
                }
                let fits = self.document(at).is_some_and(|document| is_long(&document.text) == long);
                if fits && !chosen.iter().any(|&other| self.is_copy(other, at)) {
                    chosen.push(at);
                }
            }
        }
        chosen.into_iter()
    }

    fn is_copy(&self, a: usize, b: usize) -> bool {
        let same = self.document(a).zip(self.document(b)).is_some_and(|(a, b)| a.text == b.text);
        same || dot(self.subject.vectors.row(a), self.subject.vectors.row(b)) > NEAR_COPY
    }

    fn shown(&self, at: usize) -> (Option<String>, String) {
        self.document(at).map_or((None, String::new()), |document| (document.title.clone(), snippet(&document.text)))
    }

    fn typical(&self, at: usize, partition: &Partition) -> TypicalDocument {
        let (title, text) = self.shown(at);
        TypicalDocument { id: self.subject.ids[at].clone(), title, text, similarity: partition.similarities[at] }
    }

    fn borderline(&self, at: usize, partition: &Partition) -> Option<BorderlineDocument> {
        let ((other, other_similarity), margin) = partition.others[at].zip(partition.margin(at))?;
        let (title, text) = self.shown(at);
        let (id, similarity) = (self.subject.ids[at].clone(), partition.similarities[at]);
        Some(BorderlineDocument { id, title, text, similarity, other, other_similarity, margin })
    }
}

fn is_long(text: &str) -> bool {
    text.unicode_words().nth(FEWEST_WORDS - 1).is_some()
}

/// The beginning of `text` on one line, cut between words and marked with an ellipsis when longer than 240 characters.
fn snippet(text: &str) -> String {
    let mut shown = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let word_length = word.chars().count();
        let gap = usize::from(length > 0);
        if length + gap + word_length > SNIPPET {
            // A text without spaces is cut inside; so is a very long last word.
            if length < SNIPPET / 2 {
                shown.extend(std::iter::repeat_n(' ', gap).chain(word.chars().take(SNIPPET - length - gap)));
            }
            shown.push('…');
            break;
        }
        shown.extend(std::iter::repeat_n(' ', gap).chain(word.chars()));
        length += gap + word_length;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_are_one_line_cut_between_words() {
        assert_eq!(snippet("a\n  b\tc"), "a b c");
        let long = snippet(&"word ".repeat(100));
        assert!(long.ends_with("word…") && long.chars().count() <= SNIPPET + 1);
        assert_eq!(snippet(&"咖".repeat(500)).chars().count(), SNIPPET + 1);
        assert_eq!(snippet(""), "");
    }
}
