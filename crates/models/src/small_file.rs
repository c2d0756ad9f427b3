//! Reading configuration files whole, up to a size no honest one has.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::ModelsError;

/// Longest configuration file that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// The bytes of the file at `path`, or an error when there are more than a configuration can have.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>, ModelsError> {
    let file = File::open(path).map_err(ModelsError::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(ModelsError::io("read", path))?;
    if bytes.len() as u64 > LONGEST {
        let reason = format!("has more than {} MiB, which no configuration has", LONGEST >> 20);
        return Err(ModelsError::BadModelFile { path: path.to_owned(), reason });
    }
    Ok(bytes)
}
