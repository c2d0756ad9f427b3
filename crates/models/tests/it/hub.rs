//! The model hub, played by a small server of the test's own.

#![expect(clippy::unwrap_used, reason = "the scaffolding of tests may fail them")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anser_core::{ErrorKind, NoProgress};

use crate::support::{CONFIG, FIRST, HONEST, Place, Recorded};

type Files = HashMap<&'static str, &'static [u8]>;

fn serve(files: Files) -> (String, Arc<Mutex<Vec<String>>>) {
    serve_owned(files.into_iter().map(|(path, body)| (path.to_owned(), body.to_vec())).collect())
}

/// Serves files by path until the process ends; returns the address and the paths asked for so far.
pub(crate) fn serve_owned(files: Vec<(String, Vec<u8>)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let files: HashMap<String, Vec<u8>> = files.into_iter().collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(path) = lines.next().and_then(|l| l.split(' ').nth(1).map(str::to_owned)) else { continue };
            let _ = lines.find(String::is_empty);
            let (status, body) = match files.get(path.as_str()) {
                Some(body) => ("200 OK", body.as_slice()),
                None => ("404 Not Found", &b""[..]),
            };
            log.lock().unwrap().push(path);
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), body].concat());
        }
    });
    (address, asked)
}

const MODEL: &str = "/someone/models/resolve/c0ffee/first/model.bin";
const CONFIG_FILE: &str = "/someone/models/resolve/c0ffee/first/config.json";

#[test]
fn the_hub_is_asked_before_the_registry() {
    let place = Place::serving(&HONEST).with_hub();
    let (address, asked) = serve(HashMap::from([(MODEL, FIRST), (CONFIG_FILE, CONFIG)]));
    let files = place.store().with_hub_endpoint(address).ensure("first", &NoProgress).unwrap();
    assert_eq!(std::fs::read(files.path("model.bin").unwrap()).unwrap(), FIRST);
    assert_eq!(place.downloads(), 0);
    assert_eq!(*asked.lock().unwrap(), [MODEL, CONFIG_FILE]);
    let kept = [".verified.json", "config.json", "model.bin"].map(|f| format!("first/{f}"));
    assert_eq!(place.cached(), kept, "nothing else stays");
}

#[test]
fn a_hub_with_other_bytes_or_without_the_file_gives_way_to_the_registry() {
    for files in [HashMap::from([(MODEL, &b"other bytes"[..])]), HashMap::new()] {
        let place = Place::serving(&HONEST).with_hub();
        let (address, _) = serve(files);
        let progress = Recorded::default();
        let files = place.store().with_hub_endpoint(address).ensure("first", &progress).unwrap();
        assert_eq!(std::fs::read(files.path("model.bin").unwrap()).unwrap(), FIRST);
        assert_eq!(place.downloads(), 1);
        assert!(progress.notes().contains("both 1.0"), "{}", progress.notes());
    }
}

#[test]
fn when_both_fail_both_reasons_are_told() {
    let place = Place::serving(&HONEST).with_hub();
    std::fs::write(place.path("failure"), "ERROR: no route\n").unwrap();
    let (address, _) = serve(HashMap::from([(MODEL, &b"other bytes"[..])]));
    let error = place.store().with_hub_endpoint(address).ensure("first", &NoProgress).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("model.bin") && message.contains("no route") && message.contains("first"), "{message}");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "wrong bytes weigh more than a missing network");
}

#[test]
fn a_hub_out_of_reach_is_asked_once_in_a_process() {
    // Every connection is cut before a word is said.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    let place = Place::serving(&HONEST).with_hub();
    let store = place.store().with_hub_endpoint(address);
    let progress = Recorded::default();
    store.ensure("first", &progress).unwrap();
    assert!(progress.notes().contains("could not be reached"), "{}", progress.notes());
    let asked = connections.load(Ordering::SeqCst);
    assert!(asked > 0);
    store.remove("first").unwrap();
    store.ensure("first", &NoProgress).unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), asked, "the hub was asked again");
    assert_eq!(place.downloads(), 2);
}
