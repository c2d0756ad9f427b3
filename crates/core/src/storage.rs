//! Every path below the data folder, and the one way files are replaced.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result};

/// Longest accepted collection name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The data folder and where each thing lies in it.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Opens `root`, creating it when missing, and proves by writing that it can be written to.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(|e| Error::io("create the data folder", &root, e))?;
        tempfile::tempfile_in(&root).map_err(|e| {
            Error::new(
                ErrorKind::Io,
                format!(
                    "cannot write to the data folder {}: {e}; choose another with --data-dir or ANSER_DATA_DIR",
                    root.display()
                ),
            )
            .with_source(e)
        })?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where downloaded models lie.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Where collections lie, one folder each.
    pub fn collections(&self) -> PathBuf {
        self.root.join("collections")
    }

    /// The control database: files, jobs and tuned models.
    pub fn control_database(&self) -> PathBuf {
        self.root.join("control.sqlite")
    }

    /// Vectors of texts that were embedded before: a cache that may be deleted.
    pub fn embedding_cache(&self) -> PathBuf {
        self.root.join("embedding-cache.sqlite")
    }

    /// Where uploaded files and the results of jobs lie, one file each, named by id.
    pub fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// The bytes of one uploaded file. The id is checked, so it cannot lead elsewhere.
    pub fn file(&self, id: &str) -> Result<PathBuf> {
        check_name("file", id)?;
        Ok(self.files().join(id))
    }

    /// The working folder of one job. The id is checked, so it cannot lead elsewhere.
    pub fn job(&self, id: &str) -> Result<PathBuf> {
        check_name("job", id)?;
        Ok(self.root.join("jobs").join(id))
    }

    /// The folder of what one job made. The id is checked, so it cannot lead elsewhere.
    pub fn job_results(&self, id: &str) -> Result<PathBuf> {
        check_name("job", id)?;
        Ok(self.root.join("results").join(id))
    }

    /// The folder of one tuned model, by the name of its folder rather than its id, which holds colons. The name is
    /// checked, so it cannot lead elsewhere.
    pub fn tuned_model(&self, folder: &str) -> Result<PathBuf> {
        check_name("tuned model", folder)?;
        Ok(self.root.join("tuned").join(folder))
    }

    /// The folder of one collection. The name is checked, so it cannot lead elsewhere.
    pub fn collection(&self, name: &str) -> Result<PathBuf> {
        check_name("collection", name)?;
        Ok(self.collections().join(name))
    }
}

/// Accepts names of 1 to 64 ASCII letters, digits, `-`, `_` and `.` that begin with a letter or digit, and so can
/// safely become a file name.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let ok = name.len() <= MAX_NAME_BYTES
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if ok {
        return Ok(());
    }
    let shown: String = name.chars().take(70).flat_map(char::escape_default).collect();
    Err(Error::invalid(format!(
        "\"{shown}\" is not a {what} name; use 1 to 64 letters, digits, '-', '_' or '.', beginning with a letter or digit"
    ))
    .with_param("name"))
}

/// Replaces `path` by `bytes` so that a crash leaves either the old file or the new one: written beside it, synced, renamed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default; this one becomes the user's, so it follows the umask like any other.
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(|e| Error::io("create a file in", folder, e))?;
    file.write_all(bytes).map_err(|e| Error::io("write", path, e))?;
    file.as_file().sync_all().map_err(|e| Error::io("sync", path, e))?;
    file.persist(path).map_err(|e| Error::io("replace", path, e.error))?;
    sync_folder(folder)
}

/// The folder that `path` lies in; a bare file name lies in the current one.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes renames and creations in `folder` durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync the folder", folder, e))?;
    Ok(())
}

/// SHA-256 of a file's bytes, lower-case hexadecimal.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(|e| Error::io("read", path, e))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    Ok(hex(&hasher.finalize()))
}

/// SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of bytes, lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}
