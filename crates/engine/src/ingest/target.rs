//! The collection that an ingest fills: there already or still to be made, for an embedder's vectors or for those that
//! rows bring along.

use std::path::Path;
use std::sync::Arc;

use anser_core::{Embedder, EmbedderInfo, Error, ErrorKind, excerpt};
use anser_index::Collection;

use super::brought::RawVector;
use super::mapping::{Mapping, Role};
use super::source::{Piece, Placed};
use super::{ExternalVectors, IngestOptions, Ingester};
use crate::EngineError;
use crate::embedding_cache::Reused;
use crate::engine::{MAX_DIMENSION, collection_for_embedder};

/// Names of collections and vectors in messages are cut to this many characters.
const SHOWN: usize = 60;

/// What is filled.
pub(super) enum Target {
    /// A collection for the vectors of the engine's embedder, which may be missing yet.
    Embedded,
    /// A collection for vectors that rows bring along.
    External(Arc<Collection>),
    /// The same, still to be made.
    NewExternal(ExternalVectors),
}

/// A collection, and the embedder, where one makes its vectors, with the number of texts that it did not have to embed.
type Opened = (Arc<Collection>, Option<(Arc<dyn Embedder>, Reused)>);

impl Target {
    /// What the collection called `name` is or becomes. `Conflict` when it holds other vectors than the options say.
    pub(super) fn find(ingester: &Ingester<'_>, name: &str, options: &IngestOptions) -> Result<Self, EngineError> {
        let existing = match ingester.store.get(name) {
            Ok(collection) => Some(collection),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        match (existing, &options.external) {
            (Some(collection), wanted) if collection.embedder().is_external() => {
                if let Some(wanted) = wanted {
                    same_vectors(&collection, wanted)?;
                }
                Ok(Self::External(collection))
            }
            (None, Some(wanted)) if wanted.name.trim().is_empty() => {
                Err(EngineError::invalid("vectors", "the name of the vectors is empty; say what made them"))
            }
            (None, Some(wanted)) => {
                let name = wanted.name.trim().to_owned();
                Ok(Self::NewExternal(ExternalVectors { name, dimension: wanted.dimension }))
            }
            (Some(collection), Some(wanted)) => Err(conflict(format!(
                "the collection \"{}\" holds vectors that {} makes of texts, not vectors of \"{}\"; ingest into another collection",
                collection.name(),
                collection.embedder().model,
                excerpt(&wanted.name, SHOWN)
            ))),
            (_, None) if options.fields.embedding.is_some() => Err(EngineError::invalid(
                "embedding_field",
                format!(
                    "the vectors of \"{name}\" are made here from the texts; leave embedding_field out, or ingest into a \
                     collection that was made for your own vectors"
                ),
            )),
            (_, None) => Ok(Self::Embedded),
        }
    }

    /// Whether rows bring their vectors along.
    pub(super) fn is_external(&self) -> bool {
        !matches!(self, Self::Embedded)
    }

    /// The collection, which is made when it is missing, and the embedder, where one makes its vectors. `first_dimension`
    /// is how many numbers the first vector of the source has.
    pub(super) fn open(
        self,
        ingester: &Ingester<'_>,
        name: &str,
        first_dimension: Option<usize>,
        source: &Path,
    ) -> Result<Opened, EngineError> {
        let wanted = match self {
            Self::External(collection) => return Ok((collection, None)),
            Self::Embedded => {
                let (embedder, reused) = ingester.models.embedder_for(name)?;
                let existing = || collection_for_embedder(ingester.store, ingester.models, name);
                let collection = match existing() {
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        created(ingester, name, embedder.info(), existing)?
                    }
                    found => found?,
                };
                return Ok((collection, Some((embedder, reused))));
            }
            Self::NewExternal(wanted) => wanted,
        };
        let Some(dimension) = wanted.dimension.or(first_dimension) else {
            let message = "its first rows hold no vectors, so that their dimension is not known; name the column that holds \
                           them, or say the dimension";
            return Err(EngineError::BadFile { path: source.to_path_buf(), message: message.to_owned() });
        };
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            let message =
                format!("the vectors have {dimension} dimensions, but must have between 1 and {MAX_DIMENSION}");
            return Err(EngineError::invalid("vectors", message));
        }
        let owner = EmbedderInfo::external(wanted.name.clone(), dimension);
        let existing = || {
            let collection = ingester.store.get(name)?;
            same_vectors(&collection, &wanted)?;
            Ok(collection)
        };
        Ok((created(ingester, name, &owner, existing)?, None))
    }
}

/// A new collection, or the one that somebody else created in between.
fn created(
    ingester: &Ingester<'_>,
    name: &str,
    embedder: &EmbedderInfo,
    existing: impl FnOnce() -> Result<Arc<Collection>, EngineError>,
) -> Result<Arc<Collection>, EngineError> {
    match ingester.store.create(name, embedder) {
        Err(error) if error.kind() == ErrorKind::Conflict => existing(),
        created => Ok(created?),
    }
}

/// `Conflict` unless the collection is for the vectors that are wanted.
fn same_vectors(collection: &Collection, wanted: &ExternalVectors) -> Result<(), EngineError> {
    let stored = collection.embedder();
    let dimension = wanted.dimension.unwrap_or(stored.dimension);
    if stored.fingerprint == EmbedderInfo::external(wanted.name.trim(), dimension).fingerprint {
        return Ok(());
    }
    Err(conflict(format!(
        "the collection \"{}\" holds vectors of \"{}\" with {} dimensions, not of \"{}\" with {dimension}; ingest into another \
         collection",
        collection.name(),
        excerpt(&stored.model, SHOWN),
        stored.dimension,
        excerpt(&wanted.name, SHOWN)
    )))
}

fn conflict(message: String) -> EngineError {
    EngineError::Core(Error::new(ErrorKind::Conflict, message).with_param("vectors"))
}

/// How many numbers the first vector among the sampled rows has.
pub(super) fn first_dimension(sample: &[Placed], mapping: &Mapping) -> Option<usize> {
    sample.iter().find_map(|placed| {
        let Piece::Row(row) = &placed.piece else { return None };
        let cells = row.cells.iter().filter(|(name, _)| mapping.roles.get(name) == Some(&Role::Embedding));
        cells.filter_map(|(_, value)| RawVector::of(value.clone())?.dimension()).find(|dimension| *dimension > 0)
    })
}
