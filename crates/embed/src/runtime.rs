//! The ONNX Runtime library: loaded once per process, before anything else touches it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use ort::environment::Environment;
use parking_lot::Mutex;

use crate::EmbedError;
use crate::panics::caught;

/// The library in use. It stays loaded until the process ends, because ONNX Runtime cannot be started twice.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

struct Loaded {
    path: PathBuf,
    environment: Environment,
}

/// Where the ONNX Runtime library comes from, for whoever may not need it. A path stands for itself.
pub trait RuntimeLibrary {
    /// Where the library lies; fetches it first when it is not here.
    fn obtain(&self) -> Result<PathBuf, EmbedError>;

    /// Whether it is here already.
    fn is_here(&self) -> bool;
}

impl RuntimeLibrary for PathBuf {
    fn obtain(&self) -> Result<PathBuf, EmbedError> {
        Ok(self.clone())
    }

    fn is_here(&self) -> bool {
        self.is_file()
    }
}

/// Loads the ONNX Runtime library at `library`, unless it is loaded already, and returns what it says about its build.
///
/// A missing file or one that is no such library is `Unavailable`, and another path may be tried after it. Once a library
/// is loaded, a different one is `Conflict`.
pub fn load_runtime(library: &Path) -> Result<&'static str, EmbedError> {
    environment(library)?;
    caught(ort::info).map_err(|reason| EmbedError::RuntimeUnusable { path: library.to_path_buf(), reason })
}

/// The process's one environment, under which every session is made.
pub(crate) fn environment(library: &Path) -> Result<Environment, EmbedError> {
    // The loader would look for a relative path beside the executable and then along the system's search path.
    let path = fs::canonicalize(library).map_err(|_| EmbedError::RuntimeMissing { path: library.to_path_buf() })?;
    if !path.is_file() {
        return Err(EmbedError::RuntimeMissing { path });
    }
    let mut loaded = LOADED.lock();
    if let Some(loaded) = loaded.as_ref() {
        return if loaded.path == path {
            Ok(loaded.environment.clone())
        } else {
            Err(EmbedError::RuntimeLoaded { loaded: loaded.path.clone(), wanted: path })
        };
    }
    let environment = caught(|| {
        let builder = ort::init_from(&path).map_err(|e| why(&e))?;
        builder.with_name("anser").with_telemetry(false).build().map_err(|e| e.to_string())
    })
    .and_then(|built| built)
    .map_err(|reason| EmbedError::RuntimeUnusable { path: path.clone(), reason })?;
    tracing::debug!(library = %path.display(), "loaded ONNX Runtime");
    *loaded = Some(Loaded { path, environment: environment.clone() });
    Ok(environment)
}

/// The loader's message with what the operating system said, which it keeps out of its own sentence.
fn why(error: &ort::LoadDynamicError) -> String {
    let cause = match error {
        ort::LoadDynamicError::Dlopen { error, .. } => error.source().map(ToString::to_string),
        _ => None,
    };
    cause.unwrap_or_else(|| error.to_string())
}
