//! One page of a table, in the order in which its rows came.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params_from_iter};

use crate::{EngineError, Page, PageRequest};

/// What is listed. The parts are written here in the code, never by a user.
pub(crate) struct Listing<'a> {
    /// The table; it has the columns `key` and `id`.
    pub(crate) table: &'static str,
    /// What is read of each row.
    pub(crate) columns: &'static str,
    /// Condition on the rows, with `?` for each of `values`.
    pub(crate) condition: &'a str,
    /// What the condition compares with.
    pub(crate) values: &'a [&'a dyn ToSql],
}

/// One page. An unknown `after` is `InvalidInput`.
pub(crate) fn list<T>(
    connection: &Connection,
    listing: &Listing<'_>,
    page: &PageRequest,
    read: impl FnMut(&Row<'_>) -> Result<T, EngineError>,
) -> Result<Page<T>, EngineError> {
    let Listing { table, columns, condition, values } = listing;
    let limit = page.checked_limit()?;
    let (compare, order) = if page.ascending { (">", "ASC") } else { ("<", "DESC") };
    let begin: i64 = match &page.after {
        None if page.ascending => i64::MIN,
        None => i64::MAX,
        Some(after) => {
            let sql = format!("SELECT key FROM {table} WHERE id = ?1");
            let key = connection.query_row(&sql, [after], |row| row.get(0)).optional()?;
            key.ok_or_else(|| {
                EngineError::invalid("after", format!("nothing with the id \"{after}\" can be listed after"))
            })?
        }
    };
    let sql =
        format!("SELECT {columns} FROM {table} WHERE ({condition}) AND key {compare} ? ORDER BY key {order} LIMIT ?");
    let fetched = limit as i64 + 1;
    let mut bound: Vec<&dyn ToSql> = values.to_vec();
    bound.extend([&begin as &dyn ToSql, &fetched]);
    let mut statement = connection.prepare_cached(&sql)?;
    let items = statement.query_and_then(params_from_iter(bound), read)?.collect::<Result<Vec<T>, EngineError>>()?;
    Ok(Page::cut(items, limit))
}
