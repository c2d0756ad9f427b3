//! Documents with planted topics for this folder's tests.

use anser_core::{AttributeValue, CancelToken, Document, DocumentId, Embedding, NoProgress};
use anser_index::analysis::ClusterCount;

use super::job::cluster_documents;
use super::{ClusterOptions, ClusterReport};

/// Three topics of four words.
pub(super) const TOPICS: [[&str; 4]; 3] = [
    ["coffee", "roast", "beans", "espresso"],
    ["kitten", "whiskers", "litter", "purring"],
    ["红茶", "绿茶", "茶壶", "茶叶"],
];

/// A document without title and attributes.
pub(super) fn document(number: usize, text: &str) -> Document {
    Document {
        id: DocumentId::new(format!("d{number}")).unwrap(),
        title: None,
        text: text.to_owned(),
        attributes: anser_core::Attributes::new(),
    }
}

/// `each` documents of every topic in turn, with vectors around three corners and a score from 1 to 5.
pub(super) fn sample_documents(each: usize) -> (Vec<Document>, Vec<Embedding>) {
    (0..each * TOPICS.len())
        .map(|at| {
            let topic = at % TOPICS.len();
            let words = TOPICS[topic];
            let second = words[1 + at / TOPICS.len() % 3];
            let mut document = document(at, &format!("note {at} says {} and {second} & <more> of it", words[0]));
            document.title = (at % 2 == 0).then(|| format!("About {second}"));
            document.attributes.insert("score".to_owned(), AttributeValue::Integer(1 + (at % 5) as i64));
            let mut vector = vec![0.0_f32; 5];
            vector[topic] = 1.0;
            vector[3] = 0.3 * (at as f32).sin();
            vector[4] = 0.3 * (at as f32 * 1.7).cos();
            (document, Embedding::normalize(vector).unwrap())
        })
        .unzip()
}

/// The report on `sample_documents`.
pub(super) fn sample_report(each: usize) -> ClusterReport {
    let request = ClusterOptions { count: ClusterCount::Auto { min: 2, max: 5 }, seed: 1, examples: 2, keywords: 6 };
    let watch = (&CancelToken::new(), &NoProgress as &dyn anser_core::Progress);
    cluster_documents("notes".to_owned(), sample_documents(each), &request, watch).unwrap()
}
