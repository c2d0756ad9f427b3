//! Which file a path leads to.

use std::path::Path;

/// Device and number of a file: another file of the same name has others while this one is open.
pub(crate) type FileIdentity = (u64, u64);

/// Which file `path` is; `None` when there is none.
#[cfg(unix)]
pub(crate) fn file_identity(path: &Path) -> Option<FileIdentity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Elsewhere an open file cannot be replaced, so being there is enough.
#[cfg(not(unix))]
pub(crate) fn file_identity(path: &Path) -> Option<FileIdentity> {
    path.is_file().then_some((0, 0))
}
