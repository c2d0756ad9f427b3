//! Who serves a data folder: one process at a time. Other commands may use the folder beside it.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anser_core::storage::DataDir;

use crate::failure::Failure;

/// The file that is locked; it holds the process id of whoever locked it last.
const LOCK_FILE: &str = "serve.lock";

/// Proof that no other process serves a data folder. The system lets go of the lock when the process ends, however it
/// ends, so what a killed process wrote into the file does not count.
#[derive(Debug)]
pub(crate) struct Holder {
    _file: Option<File>,
}

impl Holder {
    /// Becomes the one who serves `data`.
    ///
    /// # Errors
    /// One sentence with the other's process id when somebody else does.
    pub(crate) fn take(data: &DataDir) -> Result<Self, Failure> {
        let path = data.root().join(LOCK_FILE);
        let cannot = |action: &str, e: &std::io::Error| {
            Failure::failed(format!(
                "cannot {action} {}: {e}; choose another folder with --data-dir or ANSER_DATA_DIR",
                path.display()
            ))
        };
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = file.map_err(|e| cannot("open", &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(data.root(), process(&mut file))),
            Err(TryLockError::Error(e)) => {
                tracing::warn!(path = %path.display(), error = %e, "this file system has no locks; another server is not noticed");
                return Ok(Self { _file: None });
            }
        }
        write_process(&mut file).map_err(|e| cannot("write", &e))?;
        Ok(Self { _file: Some(file) })
    }

    /// Who serves `folder` now, in words; `None` when nobody does.
    pub(crate) fn of(folder: &Path) -> Option<String> {
        let mut file = File::options().read(true).write(true).open(folder.join(LOCK_FILE)).ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Some(process(&mut file).map_or_else(|| "another process".to_owned(), |id| format!("process {id}")))
            }
            _ => None,
        }
    }
}

fn held(folder: &Path, process: Option<u32>) -> Failure {
    let who = process.map_or_else(String::new, |id| format!(" (process {id})"));
    Failure::failed(format!(
        "the data folder {} is served by another anser{who} already; stop that one or choose another folder with --data-dir",
        folder.display()
    ))
}

/// The process id that the file holds.
fn process(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_process(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_holds_a_folder_and_the_next_after_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        assert_eq!(Holder::of(data.root()), None);
        let first = Holder::take(&data).unwrap();
        // Locks belong to open files, so a second one of this process is refused like one of another.
        let refused = Holder::take(&data).unwrap_err();
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        assert_eq!(refused.exit_code(), 1);
        assert_eq!(Holder::of(data.root()), Some(format!("process {}", std::process::id())));
        drop(first);
        assert_eq!(Holder::of(data.root()), None);
        let path = data.root().join(LOCK_FILE);
        fs::write(&path, "4194000000 left by a killed one").unwrap();
        drop(Holder::take(&data).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_holder_that_does_not_say_who_it_is_is_told_without_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let _first = Holder::take(&data).unwrap();
        fs::write(data.root().join(LOCK_FILE), "what").unwrap();
        let refused = Holder::take(&data).unwrap_err().to_string();
        assert!(refused.contains("served by another anser already"), "{refused}");
    }
}
