//! Statements in few words. Each is prepared once a connection to the file and kept.

use rusqlite::{Connection, Error, Params, Row};

use crate::database::DatabaseError;
use crate::store::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            // What lies in the file is not of the type that this version puts there.
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..) => Self::Unusable("the file has a row that cannot be read".to_owned()),
            error => DatabaseError::from(error).into(),
        }
    }
}

/// Changes something; tells how many rows.
pub(super) fn run(file: &Connection, sql: &str, params: impl Params) -> Result<usize, StoreError> {
    Ok(file.prepare_cached(sql)?.execute(params)?)
}

/// The first row, if there is one.
pub(super) fn one<T>(
    file: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = file.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// All rows.
pub(super) fn all<T>(
    file: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = file.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

/// A count that the statement always gives.
pub(super) fn count(file: &Connection, sql: &str, params: impl Params) -> Result<u64, StoreError> {
    let count: i64 = file.prepare_cached(sql)?.query_row(params, |row| row.get(0))?;
    Ok(count.unsigned_abs())
}
