//! Files that are lost or damaged, several handles, and texts that must be gone.

use anser_core::CancelToken;

use super::*;
use crate::keyword::part::FIELDS;

fn filled(place: &Place) -> Arc<Collection> {
    let c = place.create();
    let all: Vec<String> = (0..300).map(|i| format!("text number{i} about topic{} and more", i % 7)).collect();
    texts(&c, &all.iter().map(String::as_str).collect::<Vec<_>>());
    c.keywords.seal(&c.upkeep.database, true).unwrap();
    c
}

fn answers(collection: &Collection) -> Vec<Vec<(String, f32)>> {
    ["number7", "topic3 more", "\"about topic5\"", "text"].iter().map(|query| hits(collection, query)).collect()
}

#[test]
fn what_was_written_is_read_and_not_made_anew() {
    let place = Place::new();
    let c = filled(&place);
    let (expected, before) = (answers(&c), place.files());
    assert!(before.len() > 5, "{before:?}");
    drop(c);
    let again = place.open();
    assert_eq!(answers(&again), expected);
    assert_eq!(place.files(), before);
}

#[test]
fn every_damaged_file_is_noticed_and_made_anew() {
    let place = Place::new();
    let expected = answers(&filled(&place));
    let kinds = place.files().len();
    for kind in 0..kinds {
        for way in 0..3 {
            let files = place.files();
            let file = &files[kind % files.len()];
            let bytes = std::fs::read(file).unwrap();
            match way {
                0 => std::fs::remove_file(file).unwrap(),
                1 => std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap(),
                _ => {
                    let mut flipped = bytes;
                    let middle = flipped.len() / 2;
                    flipped.get_mut(middle).into_iter().for_each(|byte| *byte ^= 0x10);
                    std::fs::write(file, flipped).unwrap();
                }
            }
            let c = place.open();
            assert_eq!(answers(&c), expected, "{} in way {way}", file.display());
            c.keywords.seal(&c.upkeep.database, true).unwrap();
        }
    }
    assert_eq!(place.files().len(), kinds, "nothing is left lying about");
}

#[test]
fn a_newer_or_foreign_manifest_is_made_anew() {
    let place = Place::new();
    let expected = answers(&filled(&place));
    let other = Place::new();
    filled(&other);
    let manifest = |place: &Place| place.folder().join("manifest.json");
    std::fs::copy(manifest(&other), manifest(&place)).unwrap();
    assert_eq!(answers(&place.open()), expected);
    std::fs::write(manifest(&place), "{}").unwrap();
    assert_eq!(answers(&place.open()), expected);
}

#[test]
fn each_handle_sees_what_the_other_acknowledged() {
    let place = Place::new();
    let (here, there) = (filled(&place), place.open());
    assert_eq!(answers(&here), answers(&there));
    for round in 0..6 {
        let (one, other) = if round % 2 == 0 { (&here, &there) } else { (&there, &here) };
        one.upsert(&[document(&format!("new{round}"), None, &format!("zebra stripe{round}"))]).unwrap();
        assert_eq!(ids(other, &format!("stripe{round}"))[0], format!("new{round}"));
        other.delete(&[DocumentId::new(format!("d{round}")).unwrap()]).unwrap();
        assert!(!ids(one, &format!("number{round}")).contains(&format!("d{round}")));
        one.keywords.seal(&one.upkeep.database, true).unwrap();
        assert_eq!(answers(&here), answers(&there), "round {round}");
    }
    assert_eq!(set(&there, "zebra").len(), 6);
    assert_eq!(answers(&place.open()), answers(&here));
}

#[test]
fn what_another_process_wrote_since_a_search_began_is_not_made_anew() {
    let place = Place::new();
    drop(filled(&place));
    let (here, there) = (place.open(), place.open());
    let database = &here.upkeep.database;
    let found = database.reader().unwrap().transact(|connection| {
        database.last_seq(connection)?;
        texts(&there, &["something new"]);
        there.keywords.seal(&there.upkeep.database, true)?;
        here.keywords.catch_up(database, connection)
    });
    let (found, theirs) = (found.unwrap(), there.keywords.snapshot());
    assert_eq!((found.seq, found.generation), (theirs.seq, theirs.generation));
    assert!(found.generation > 1 && found.on_disk() == found.views.len());
    assert_eq!(ids(&here, "something"), ["d0"]);
}

#[test]
fn only_the_beginning_of_an_endless_title_is_searched() {
    let place = Place::new();
    let c = place.create();
    let title = format!("alpha {} omega", "é".repeat(5000));
    c.upsert(&[document("d", Some(&title), "text")]).unwrap();
    assert_eq!(ids(&c, "alpha"), ["d"]);
    assert_eq!(ids(&c, "omega"), Vec::<String>::new());
}

#[test]
fn two_handles_write_at_once() {
    let place = Place::new();
    let handles = [place.create(), place.open()];
    std::thread::scope(|scope| {
        for (number, c) in handles.iter().enumerate() {
            scope.spawn(move || {
                for i in 0..25 {
                    let name = format!("w{number}x{i}");
                    c.upsert(&[document(&name, None, &format!("common {name}word"))]).unwrap();
                    assert_eq!(ids(c, &format!("{name}word")), [name]);
                    if i % 6 == 5 {
                        c.keywords.seal(&c.upkeep.database, i % 4 == 1).unwrap();
                    }
                    if i % 9 == 8 {
                        c.keywords.compact(&c.upkeep.database, &CancelToken::new()).unwrap();
                    }
                }
            });
        }
    });
    for c in &handles {
        assert_eq!(set(c, "common").len(), 50);
    }
}

#[test]
fn no_term_of_a_deleted_text_is_left_in_any_file() {
    let place = Place::new();
    let c = filled(&place);
    c.upsert(&[document("secret", Some("canarytitle"), "the canaryword of 鸟巢金丝雀 is here")]).unwrap();
    c.keywords.seal(&c.upkeep.database, true).unwrap();
    // The dictionary lies folded on disk, so it is asked what terms it has.
    let holds = |word: &str| {
        let c = place.open();
        search(&c, "anything");
        c.keywords.snapshot().views.iter().any(|view| {
            assert!(view.part.folder.is_some());
            FIELDS.iter().any(|field| view.part.postings(*field).terms().get(word).unwrap().is_some())
        })
    };
    let words = ["canaryword", "canarytitl", "canarytitle", "金丝雀", "鸟巢", "丝雀"];
    assert!(words.iter().all(|word| holds(word)));
    c.delete(&[DocumentId::new("secret").unwrap()]).unwrap();
    assert!(holds("canaryword"), "it is not found any more, but still there");
    c.compact(&anser_core::NoProgress, &CancelToken::new()).unwrap();
    assert!(!words.iter().any(|word| holds(word)) && holds("topic"));
    let raw = |word: &str| {
        let bytes = |file: &PathBuf| std::fs::read(file).unwrap();
        place.files().iter().any(|file| bytes(file).windows(word.len()).any(|window| window == word.as_bytes()))
    };
    assert!(!words.iter().any(|word| raw(word)));
    assert_eq!(answers(&place.open()), answers(&c));
}

#[test]
fn a_folder_that_cannot_be_written_does_not_stop_searches() {
    let place = Place::new();
    let c = place.create();
    std::fs::write(place.folder(), "a file where the folder should be").unwrap();
    texts(&c, &["red cat", "blue sky"]);
    assert_eq!(ids(&c, "cat"), ["d0"]);
    assert!(c.keywords.seal(&c.upkeep.database, true).is_err());
    assert_eq!(ids(&c, "sky"), ["d1"]);
}

#[test]
fn much_that_is_new_is_written_in_the_background() {
    let place = Place::new();
    let c = place.create();
    let line = "alpha beta gamma delta epsilon zeta eta theta iota kappa ".repeat(10);
    let all: Vec<_> = (0..6000).map(|i| document(&format!("d{i}"), None, &format!("{line} number{i}"))).collect();
    c.upsert(&all).unwrap();
    let patience = std::time::Instant::now();
    while !place.folder().join("manifest.json").exists() && patience.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(place.folder().join("manifest.json").exists(), "no search was needed for that");
    assert_eq!(ids(&c, "number4711")[0], "d4711");
}
