//! Settings that the user changed while the program ran: one JSON value each.

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::EngineError;

/// The value of `key`, if it was ever set.
pub(crate) fn setting<T: DeserializeOwned>(connection: &Connection, key: &str) -> Result<Option<T>, EngineError> {
    let sql = "SELECT value FROM settings WHERE key = ?1";
    let text: Option<String> = connection.query_row(sql, [key], |row| row.get(0)).optional()?;
    text.map(|text| EngineError::parse_stored(&text, "setting", key)).transpose()
}

/// Sets `key`.
pub(crate) fn write_setting(connection: &Connection, key: &str, value: &impl Serialize) -> Result<(), EngineError> {
    let text = EngineError::store_json(value)?;
    connection
        .execute("INSERT INTO settings VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2", [key, &text])?;
    Ok(())
}

/// Takes `key` back; nothing happens when it was not set.
pub(crate) fn delete_setting(connection: &Connection, key: &str) -> Result<(), EngineError> {
    connection.execute("DELETE FROM settings WHERE key = ?1", [key])?;
    Ok(())
}
