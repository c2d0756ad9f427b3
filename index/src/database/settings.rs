//! What a collection says about how it is searched.

use rusqlite::{Connection, OptionalExtension};

use super::Database;
use crate::{IndexError, Result, SearchSettings};

const KEY: &str = "search_settings";

impl Database {
    /// How the collection is searched unless a request says otherwise.
    pub(crate) fn search_settings(&self, connection: &Connection) -> Result<SearchSettings> {
        let stored: Option<String> = connection
            .prepare_cached("SELECT value FROM meta WHERE key = ?1")
            .and_then(|mut select| select.query_row([KEY], |row| row.get(0)).optional())
            .map_err(self.failed("read the settings of"))?;
        let Some(stored) = stored else { return Ok(SearchSettings::default()) };
        serde_json::from_str(&stored)
            .map_err(|e| IndexError::corrupt(format!("search settings of {}", self.path.display()), e))
    }

    /// Keeps `settings`, durably.
    pub(crate) fn set_search_settings(&self, settings: &SearchSettings) -> Result<()> {
        let json = serde_json::to_string(settings)
            .map_err(|e| IndexError::internal(format!("search settings cannot be written as JSON: {e}")))?;
        self.transact(|connection| {
            connection
                .execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", (KEY, json))
                .map_err(self.failed("write to"))?;
            Ok(())
        })
    }
}
