//! Attributes that are set after a document was stored, without touching its text, chunks or vectors.

use anser_core::{AttributeValue, Attributes, DocumentId};
use rusqlite::{Connection, OptionalExtension, params};

use super::changes::log;
use super::{ChangeOp, Database};
use crate::{IndexError, Result};

impl Database {
    /// Sets or, for `None`, removes attributes in one durable transaction, and counts the documents of which one changed.
    /// Documents that are gone are left out. Chunks stay as they are. The fingerprint stays, too: the same row ingested
    /// again leaves the document and these attributes alone.
    pub(crate) fn set_attributes(&self, changes: &[(DocumentId, &str, Option<AttributeValue>)]) -> Result<usize> {
        for (id, name, value) in changes {
            if matches!(value, Some(AttributeValue::Float(v)) if !v.is_finite()) {
                return Err(IndexError::invalid_param(
                    format!("the attribute \"{name}\" of document \"{id}\" is not a finite number; leave it out"),
                    "attributes",
                ));
            }
        }
        let changed = self.transact(|connection| {
            let mut changed = 0;
            for (id, name, value) in changes {
                changed += usize::from(self.set_attribute(connection, id, name, value.as_ref())?);
            }
            Ok(changed)
        })?;
        if changed > 0 {
            self.erase_log();
        }
        Ok(changed)
    }

    fn set_attribute(
        &self,
        connection: &Connection,
        id: &DocumentId,
        name: &str,
        value: Option<&AttributeValue>,
    ) -> Result<bool> {
        let stored: Option<(i64, String)> = connection
            .prepare_cached("SELECT key, attributes FROM documents WHERE id = ?1")
            .and_then(|mut select| select.query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional())
            .map_err(self.failed("read"))?;
        let Some((key, stored)) = stored else { return Ok(false) };
        let unreadable = |e: serde_json::Error| {
            IndexError::internal(format!("the attributes of document \"{id}\" cannot be read or stored: {e}"))
        };
        let mut attributes: Attributes = serde_json::from_str(&stored).map_err(unreadable)?;
        let before = match value {
            Some(value) => attributes.insert((*name).to_owned(), value.clone()),
            None => attributes.remove(name),
        };
        if before.as_ref() == value {
            return Ok(false);
        }
        let attributes = serde_json::to_string(&attributes).map_err(unreadable)?;
        connection
            .prepare_cached("UPDATE documents SET attributes = ?2 WHERE key = ?1")
            .and_then(|mut update| update.execute(params![key, attributes]))
            .and_then(|_| log(connection, ChangeOp::DocumentStored, key))
            .map_err(self.failed("write to"))?;
        Ok(true)
    }
}
