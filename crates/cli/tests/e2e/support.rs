//! Starting the built program, in a data folder of its own, and talking to it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a server may take until it is ready: it loads its models.
const START_LIMIT: Duration = Duration::from_mins(2);

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file of `examples/data`.
pub(crate) fn example(name: &str) -> PathBuf {
    workspace().join("examples/data").join(name)
}

/// The program over the data folder `data`, undisturbed by the user's own configuration.
pub(crate) fn anser(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
    let models = std::env::var_os("ANSER_MODELS_DIR").map_or_else(|| workspace().join("target/models"), PathBuf::from);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANSER_")) {
        command.env_remove(name);
    }
    command.env("ANSER_DATA_DIR", data).env("ANSER_MODELS_DIR", models).env("XDG_CONFIG_HOME", data.join("no-config"));
    command.stdin(Stdio::null());
    command
}

/// Runs to the end.
pub(crate) fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(data: &Path, args: I) -> Output {
    anser(data).args(args).output().expect("the program starts")
}

/// Runs to the end, expects success, and reads the JSON it printed.
pub(crate) fn json<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(data: &Path, args: I) -> Value {
    let output = anser(data).args(args).arg("--json").output().expect("the program starts");
    assert!(output.status.success(), "exit {:?}: {}", output.status.code(), stderr(&output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("not JSON ({e}): {}", String::from_utf8_lossy(&output.stdout)))
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that the run failed with `code` and exactly one sentence for the user that holds every part of `parts`.
pub(crate) fn assert_failed(output: &Output, code: i32, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "one sentence is wanted: {text}");
    for part in parts {
        assert!(errors[0].contains(part), "\"{part}\" is missing in: {}", errors[0]);
    }
}

/// A data folder in which `anser demo --no-serve` has run, and what it printed. Made once; tests only read it.
pub(crate) fn demo() -> (&'static Path, &'static Value) {
    static DEMO: OnceLock<(TempDir, Value)> = OnceLock::new();
    let (folder, report) = DEMO.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let report = json(folder.path(), ["demo", "--no-serve"]);
        (folder, report)
    });
    (folder.path(), report)
}

/// A data folder of one's own with what [`demo`] made, to serve: a folder is served by one server at a time.
pub(crate) fn demo_copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(demo().0, folder.path());
    folder
}

/// Copies what lies below a folder. A write-ahead log that vanishes meanwhile held nothing.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else if let Err(e) = std::fs::copy(&path, &target) {
            assert_eq!(e.kind(), std::io::ErrorKind::NotFound, "{}: {e}", path.display());
        }
    }
}

/// Asks again and again until there is an answer.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < limit, "{what} did not happen within {limit:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    /// Starts a server on a free port and waits until it is ready.
    pub(crate) fn start(data: &Path) -> Self {
        Self::spawn(anser(data))
    }

    /// Starts a server by a command that lacks only its arguments, and waits until it is ready.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the server starts");
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        let url = loop {
            assert_ne!(output.read_line(&mut text).unwrap(), 0, "the server ended early: {text}");
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                break value["listening"].as_str().unwrap().to_owned();
            }
        };
        let server = Self { child, url };
        let started = Instant::now();
        while !matches!(server.get("/readyz"), (200, _)) {
            assert!(started.elapsed() < START_LIMIT, "the server is not ready: {:?}", server.get("/readyz"));
            thread::sleep(Duration::from_millis(200));
        }
        server
    }

    /// Status and JSON (or text) of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        read(agent().get(format!("{}{path}", self.url)).call())
    }

    /// Status and JSON of a POST of JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        read(agent().post(format!("{}{path}", self.url)).send_json(body))
    }

    /// Status and JSON of a POST of anything.
    pub(crate) fn post_bytes(&self, path: &str, content_type: &str, body: &[u8]) -> (u16, Value) {
        read(agent().post(format!("{}{path}", self.url)).content_type(content_type).send(body))
    }

    /// Status and JSON of a DELETE.
    pub(crate) fn delete(&self, path: &str) -> (u16, Value) {
        read(agent().delete(format!("{}{path}", self.url)).call())
    }

    /// Uploads a file for fine-tuning: status and JSON.
    pub(crate) fn upload(&self, name: &str, bytes: &[u8]) -> (u16, Value) {
        let boundary = "boundary-of-a-form-7MA4YWxk";
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n--{boundary}\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(bytes);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        self.post_bytes("/v1/files", &format!("multipart/form-data; boundary={boundary}"), &body)
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn read(reply: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut reply = reply.expect("the server replies");
    let text = reply.body_mut().read_to_string().unwrap();
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (reply.status().as_u16(), value)
}

/// A tool that `make test` prepares. `None`, said loudly, when it is missing; a failure under CI.
pub(crate) fn tool(variable: &str, fallback: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::split_paths(&std::env::var_os("PATH")?).map(|p| p.join(fallback)).find(|p| p.is_file()));
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "CI needs {fallback} ({variable})");
    if found.is_none() {
        eprintln!("\n*** SKIPPED: {fallback} was not found; `make test` prepares it ({variable}) ***\n");
    }
    found
}

/// Runs a client against `server` and expects it to end with "ok".
pub(crate) fn run_client(mut command: Command, server: &Server) {
    let output = command.env("ANSER_URL", &server.url).stdin(Stdio::null()).output().expect("the client starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.trim_end().ends_with("ok"), "{text}\n{}", stderr(&output));
}
