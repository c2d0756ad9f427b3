//! Peers: Python programs that do the same work, asked over pipes in lines of JSON.
//!
//! A request is an object whose `op` names what to do; the reply is `{"ok": ...}` or `{"error": "..."}`. A peer measures
//! its own time, so the pipe costs it nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::error::BenchError;

/// Where the programs lie.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// A running peer; it ends when dropped.
pub(crate) struct Peer {
    script: &'static str,
    /// Versions of what it is made of, as it said itself.
    pub(crate) versions: BTreeMap<String, String>,
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    log: NamedTempFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Ok(Value),
    Error(String),
}

#[derive(Deserialize)]
struct Loaded {
    versions: BTreeMap<String, String>,
}

impl Peer {
    /// Starts `script` under `python` with at most `threads` threads in libraries that ask the environment, and sends it
    /// `load`, its first request.
    pub(crate) fn start(python: &Path, script: &'static str, threads: usize, load: &Value) -> Result<Self, BenchError> {
        let failed = |reason: String| BenchError::Peer { script: script.to_owned(), reason };
        let log = NamedTempFile::new().map_err(|e| failed(e.to_string()))?;
        let errors = File::create(log.path()).map_err(BenchError::io("create", log.path()))?;
        let threads = threads.to_string();
        let mut child = Command::new(python)
            .arg(Path::new(PEERS).join(script))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1")
            .envs(["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"].map(|name| (name, &threads)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|e| failed(format!("cannot start {}: {e}", python.display())))?;
        let requests = child.stdin.take();
        let Some(replies) = child.stdout.take() else { return Err(failed("it has no output".to_owned())) };
        let replies = BufReader::new(replies);
        let mut peer = Self { script, versions: BTreeMap::new(), child, requests, replies, log };
        peer.versions = peer.ask::<Loaded>(load)?.versions;
        Ok(peer)
    }

    /// Sends a request and waits for the reply.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T, BenchError> {
        let line = format!("{request}\n");
        let sent = self.requests.as_mut().is_some_and(|pipe| pipe.write_all(line.as_bytes()).is_ok());
        let mut reply = String::new();
        if !sent || self.replies.read_line(&mut reply).is_err() || reply.is_empty() {
            return Err(self.failed(format!("it ended; its last words: {}", self.last_words())));
        }
        let value = match serde_json::from_str(&reply) {
            Ok(Reply::Ok(value)) => value,
            Ok(Reply::Error(reason)) => return Err(self.failed(reason)),
            Err(e) => return Err(self.failed(format!("its reply is not understood: {e}"))),
        };
        serde_json::from_value(value).map_err(|e| self.failed(format!("its reply is not understood: {e}")))
    }

    /// A failure of this peer.
    pub(crate) fn failed(&self, reason: String) -> BenchError {
        BenchError::Peer { script: self.script.to_owned(), reason }
    }

    fn last_words(&self) -> String {
        let log = fs::read(self.log.path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("none").trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A peer ends when its input does; one that is in the middle of something is not waited for.
        self.requests = None;
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
