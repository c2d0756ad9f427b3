//! Finding damage in segments that are searched already, and putting sound rows in their place.

use std::sync::Arc;

use anser_core::CancelToken;

use super::Upkeep;
use crate::ann::{Damage, Part};
use crate::cache::SealLock;
use crate::{IndexError, Result};

impl Upkeep {
    /// Reads the segments that were opened without, and replaces those that are damaged.
    pub(super) fn verify(&self) -> Result<()> {
        let snapshot = self.vectors.snapshot();
        if snapshot.segments().iter().all(|p| p.segment.is_verified()) {
            return Ok(());
        }
        let _sealing = self.sealing.lock();
        let sound = self.check(snapshot.segments(), &self.closing, None)?;
        if !sound {
            tracing::info!("damaged vector segments were replaced");
        } else if self.vectors.snapshot().segments().iter().any(|p| !p.segment.is_verified()) {
            // Its files are gone because something newer was made of it.
            self.adopt_newer(None)?;
        }
        Ok(())
    }

    /// Verifies `parts`; what is damaged is replaced in the current snapshot, and false returned. `lock` for a caller who
    /// has it.
    pub(super) fn check<'a>(
        &self,
        parts: impl IntoIterator<Item = &'a Part>,
        cancel: &CancelToken,
        lock: Option<&SealLock>,
    ) -> Result<bool> {
        let (mut lost, mut without_graph) = (Vec::new(), Vec::new());
        for part in parts {
            let Err(damage) = part.segment.verify(self.cache.folder(), cancel) else { continue };
            cancel.check()?;
            let (Damage::Vectors(error) | Damage::Index(error)) = &damage;
            let folder = part.segment.files.folder.as_str();
            if is_missing(error) && self.was_replaced(folder) {
                // Another process made something newer of it, and it is mapped here as it was.
                continue;
            }
            tracing::warn!(error = %error, "a vector segment is damaged; replacing it");
            match damage {
                Damage::Vectors(_) => lost.push(folder.to_owned()),
                Damage::Index(_) => without_graph.push(folder.to_owned()),
            }
        }
        if lost.is_empty() && without_graph.is_empty() {
            return Ok(true);
        }
        let base = self.vectors.snapshot().with_segments(|segment| {
            let named = |folders: &[String]| folders.contains(&segment.files.folder);
            if named(&lost) {
                None
            } else if named(&without_graph) {
                Some(Arc::new(segment.stripped()))
            } else {
                Some(Arc::clone(segment))
            }
        });
        let base = if lost.is_empty() { base } else { self.refill(&base, lock)? };
        self.install(&base, lock)?;
        Ok(false)
    }

    /// Whether the manifest on disk no longer names the segment in `folder`.
    fn was_replaced(&self, folder: &str) -> bool {
        self.cache.manifest().ok().flatten().is_some_and(|manifest| !manifest.names(folder))
    }
}

fn is_missing(error: &IndexError) -> bool {
    matches!(error, IndexError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}
