//! Files for people: written whole or not at all.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anser_core::storage::{folder_of, sync_folder};

use crate::EngineError;

/// Replaces `path` by what `write` writes: into a file beside it, synced, renamed.
pub fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), EngineError> {
    let folder = folder_of(path);
    let mut builder = tempfile::Builder::new();
    // A temporary file is private by default; this one becomes an ordinary file of the user, subject to their umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder).map_err(|e| EngineError::io("create a file in", folder, e))?;
    let (file, temporary) = file.into_parts();
    let mut out = BufWriter::new(file);
    write(&mut out).map_err(|e| EngineError::io("write", path, e))?;
    let file = out.into_inner().map_err(|e| EngineError::io("write", path, e.into_error()))?;
    file.sync_all().map_err(|e| EngineError::io("sync", path, e))?;
    temporary.persist(path).map_err(|e| EngineError::io("replace", path, e.error))?;
    Ok(sync_folder(folder)?)
}
