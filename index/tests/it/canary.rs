//! What was deleted is gone from every file: its texts, its words, its vectors and what was computed of them.

use std::path::{Path, PathBuf};

use anser_core::{AttributeValue, Embedding};
use anser_index::{Collection, IndexOptions, NewDocument, SearchMode, SearchParams, SearchQuery};

use crate::support::{Place, compact, direction, files, filled, id, options, rng, written};
use crate::work::{filler, write_words};

const DIMENSION: usize = 32;

/// Bytes to look for, and what they are.
struct Needle {
    what: &'static str,
    bytes: Vec<u8>,
}

impl Needle {
    fn text(what: &'static str, text: &str) -> Self {
        Self { what, bytes: text.as_bytes().to_vec() }
    }
}

/// Which needle lies in which file.
fn traces(folder: &Path, needles: &[Needle]) -> Vec<(&'static str, PathBuf)> {
    let mut found = Vec::new();
    for path in files(folder) {
        let bytes = std::fs::read(&path).unwrap();
        // A table of where each first byte occurs would be quicker, but these files are small.
        for needle in needles {
            if bytes.windows(needle.bytes.len()).any(|window| window == needle.bytes) {
                found.push((needle.what, path.clone()));
            }
        }
    }
    found
}

fn kinds(found: &[(&'static str, PathBuf)]) -> Vec<&'static str> {
    let mut kinds: Vec<_> = found.iter().map(|(what, _)| *what).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// A vector as it lies in files: parts of it suffice.
fn vector_needles(vector: &Embedding) -> Vec<Needle> {
    let bytes: Vec<u8> = vector.as_slice().iter().flat_map(|value| value.to_le_bytes()).collect();
    let floats = bytes.chunks(16).map(|part| Needle { what: "vector", bytes: part.to_vec() });
    // Codes are the values scaled to bytes, by the largest of the vector or of another fixed number.
    let largest = vector.as_slice().iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let codes = [largest, 1.0].map(|scale| {
        let codes: Vec<u8> =
            vector.as_slice().iter().map(|value| ((value / scale * 127.0).round() as i8).to_le_bytes()[0]).collect();
        Needle { what: "codes", bytes: codes }
    });
    floats.chain(codes).collect()
}

/// A document of which every part is recognisable, with what to look for. `salt` makes its words its own.
fn canary(name: &str, salt: &str, vector: &Embedding) -> (NewDocument, Vec<Needle>) {
    let pieces = [
        (format!("the {salt}quokkas were Singing{salt} loudly"), vector.clone()),
        (format!("another {salt}wombat piece"), vector.clone()),
    ];
    let mut new = written(name, format!("{salt}fingerprint"), &pieces);
    new.document.title = Some(format!("{salt}titles of {name}"));
    let attributes = &mut new.document.attributes;
    attributes.insert("secret".into(), AttributeValue::String(format!("{salt}attribute")));
    attributes.insert("secrets".into(), AttributeValue::StringList(vec![format!("{salt}listed")]));
    attributes.insert(format!("{salt}key"), AttributeValue::Integer(5));
    let mut needles = vec![
        Needle::text("text", &format!("{salt}quokkas")),
        Needle::text("text", &format!("Singing{salt}")),
        Needle::text("term", &format!("{salt}quokka")),
        Needle::text("term", &format!("singing{salt}")),
        Needle::text("title", &format!("{salt}titles")),
        Needle::text("term", &format!("{salt}titl")),
        Needle::text("attribute", &format!("{salt}attribute")),
        Needle::text("attribute", &format!("{salt}listed")),
        Needle::text("attribute name", &format!("{salt}key")),
        Needle::text("fingerprint", &format!("{salt}fingerprint")),
        // The words' common part, in any spelling.
        Needle::text("anything", salt),
    ];
    needles.extend(vector_needles(vector));
    (new, needles)
}

/// Everything that makes copies of what is stored: searches of all kinds, cached filters, segments.
fn use_it(collection: &Collection, salt: &str, vector: &Embedding) {
    let words = format!("{salt}quokkas singing{salt}");
    for mode in [SearchMode::Vector, SearchMode::Keyword, SearchMode::Hybrid] {
        let filter = Some(format!("secret = \"{salt}attribute\"").parse().unwrap());
        for filter in [None, filter] {
            let params = SearchParams { mode: Some(mode), filter, highlight: true, ..SearchParams::new(5) };
            collection.search(SearchQuery { vector: Some(vector), text: Some(&words) }, &params).unwrap();
        }
    }
}

/// Beside the one that vanishes lie enough documents for graphs, and enough words for an index of them on disk.
fn crowd(seed: u64) -> Vec<NewDocument> {
    let mut rng = rng(seed);
    (0..900)
        .map(|i| {
            let text = format!("piece {}", filler(&mut rng, 250));
            written(&format!("crowd{i}"), "v1".into(), &[(text, direction(&mut rng, DIMENSION))])
        })
        .collect()
}

/// Whether an index of words on disk knows a term that begins with `salt`. Terms are not found by looking for bytes: they
/// lie there as a graph of shared beginnings and ends.
fn term_on_disk(folder: &Path, salt: &str) -> bool {
    let parts = std::fs::read_dir(folder.join("keywords")).unwrap().map(|entry| entry.unwrap().path());
    parts.filter(|path| path.is_dir()).any(|path| {
        let index = tantivy::Index::open_in_dir(path).unwrap();
        let searcher = index.reader().unwrap().searcher();
        searcher.segment_readers().iter().any(|segment| {
            let fields = index.schema().fields().map(|(field, _)| field).collect::<Vec<_>>();
            fields.into_iter().filter_map(|field| segment.inverted_index(field).ok()).any(|inverted| {
                let mut terms = inverted.terms().stream().unwrap();
                while terms.advance() {
                    if terms.key().windows(salt.len()).any(|window| window == salt.as_bytes()) {
                        return true;
                    }
                }
                false
            })
        })
    })
}

fn options_of_two_segments() -> IndexOptions {
    IndexOptions { exact_below: 10, ..options() }
}

#[test]
fn a_deleted_document_leaves_nothing_in_any_file() {
    let place = Place::new();
    let store = place.store_with(options_of_two_segments());
    let collection = filled(&store, DIMENSION, &crowd(1));
    let vector = direction(&mut rng(77), DIMENSION);
    let (new, mut needles) = canary("zyzzyvaid", "xylo", &vector);
    needles.push(Needle::text("id", "zyzzyvaid"));
    collection.upsert(&[new]).unwrap();
    collection.seal().unwrap();
    use_it(&collection, "xylo", &vector);
    write_words(&collection, &place.folder("c"));
    assert!(term_on_disk(&place.folder("c"), "xylo"));
    let before = kinds(&traces(&place.folder("c"), &needles));
    for expected in ["anything", "attribute", "attribute name", "fingerprint", "id", "text", "title", "vector"] {
        assert!(before.contains(&expected), "{expected} would not be found if it were there: {before:?}");
    }
    assert_eq!(collection.delete(&[id("zyzzyvaid")]).unwrap(), 1);
    use_it(&collection, "xylo", &vector);
    compact(&collection);
    assert_eq!(traces(place.data().root(), &needles), []);
    assert!(!term_on_disk(&place.folder("c"), "xylo"));
    // Nor when it is closed, and opened again.
    drop((collection, store));
    assert_eq!(traces(place.data().root(), &needles), []);
    let store = place.store();
    use_it(&store.get("c").unwrap(), "xylo", &vector);
    assert_eq!(traces(place.data().root(), &needles), []);
}

#[test]
fn what_was_replaced_leaves_nothing_in_any_file() {
    let place = Place::new();
    let store = place.store_with(options_of_two_segments());
    let collection = filled(&store, DIMENSION, &crowd(2));
    let mut rng = rng(78);
    let (old, fresh) = (direction(&mut rng, DIMENSION), direction(&mut rng, DIMENSION));
    let (first, needles) = canary("same", "xylo", &old);
    let (second, present) = canary("same", "balalaika", &fresh);
    collection.upsert(&[first]).unwrap();
    collection.seal().unwrap();
    use_it(&collection, "xylo", &old);
    write_words(&collection, &place.folder("c"));
    collection.upsert(&[second]).unwrap();
    use_it(&collection, "balalaika", &fresh);
    compact(&collection);
    assert!(!term_on_disk(&place.folder("c"), "xylo"));
    assert_eq!(traces(place.data().root(), &needles), []);
    assert!(!traces(place.data().root(), &present).is_empty(), "what took its place is there");
}

#[test]
fn an_attribute_that_was_set_anew_leaves_nothing_in_any_file() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &crowd(3));
    let vector = direction(&mut rng(79), DIMENSION);
    let (new, _) = canary("same", "xylo", &vector);
    collection.upsert(&[new]).unwrap();
    collection.seal().unwrap();
    use_it(&collection, "xylo", &vector);
    let changes = [("secret", Some(AttributeValue::String("plain".into()))), ("secrets", None), ("xylokey", None)];
    let changes: Vec<_> = changes.into_iter().map(|(key, value)| (id("same"), key, value)).collect();
    assert!(collection.set_attributes(&changes).unwrap() > 0);
    use_it(&collection, "xylo", &vector);
    compact(&collection);
    let gone = ["xyloattribute", "xylolisted", "xylokey"].map(|text| Needle::text("attribute", text));
    assert_eq!(traces(place.data().root(), &gone), []);
    let hit = Needle::text("text", "xyloquokkas");
    assert!(!traces(place.data().root(), &[hit]).is_empty(), "its text is still there");
}

#[test]
fn a_deleted_collection_leaves_nothing_in_any_file() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &crowd(4));
    let vector = direction(&mut rng(80), DIMENSION);
    let (new, needles) = canary("same", "xylo", &vector);
    collection.upsert(&[new]).unwrap();
    collection.seal().unwrap();
    drop(collection);
    store.delete("c").unwrap();
    assert_eq!(files(place.data().root()), Vec::<PathBuf>::new());
    assert_eq!(traces(place.data().root(), &needles), []);
}
