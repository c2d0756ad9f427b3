//! A vector to search for, from a file or standard input.

use std::io::Read;
use std::path::Path;

use crate::failure::Failure;

/// Longest text of a vector, in bytes: enough for the longest vector that collections take.
const MAX_BYTES: u64 = 4 << 20;

/// Reads a JSON array of numbers; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<f32>, Failure> {
    let named = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |reason: String| Failure::usage(format!("the vector in {named} cannot be read: {reason}"));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
    };
    read.map_err(|e| failed(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| failed(format!("it is not a JSON array of numbers ({e})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_an_array_of_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.json");
        std::fs::write(&path, "[0.5, -1, 2e-3]\n").unwrap();
        assert_eq!(read(&path).unwrap(), [0.5, -1.0, 0.002]);
        for bad in ["", "0.5 1", "{}", "[\"a\"]", "[1, 2"] {
            std::fs::write(&path, bad).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains("v.json"), "{bad}");
        }
        assert!(read(&dir.path().join("none.json")).is_err());
    }
}
