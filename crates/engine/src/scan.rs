//! Reading every document of a collection at one moment.

use anser_index::{Collection, Filter, IndexError, ScannedDocument};

use crate::EngineError;

/// Shows `visit` each document that `filter` lets through, in order of id, until it fails; its error is then the result.
pub(crate) fn scan(
    collection: &Collection,
    filter: Option<&Filter>,
    mut visit: impl FnMut(ScannedDocument) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mut failure = None;
    let scanned = collection.scan(filter, &mut |document| {
        visit(document).map_err(|error| {
            failure = Some(error);
            IndexError::internal("the scan was ended by its reader")
        })
    });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(scanned?),
    }
}
