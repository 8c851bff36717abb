//! Reads rows. The error for a value that cannot be read names its table, column and row.

use std::fmt::Display;
use std::str::FromStr;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::error::StorageError;

/// A row together with the names for its errors.
pub(crate) struct RowReader<'a> {
    row: &'a Row,
    table: &'static str,
    id: String,
}

impl<'a> RowReader<'a> {
    pub(crate) fn new(row: &'a Row, table: &'static str, id: impl Display) -> Self {
        Self {
            row,
            table,
            id: id.to_string(),
        }
    }

    /// A column as its SQL type.
    pub(crate) fn get<T: FromSql<'a>>(&self, column: &'static str) -> Result<T, StorageError> {
        self.row
            .try_get(column)
            .map_err(|error| self.corrupt(column, &error))
    }

    /// A text column that must parse.
    pub(crate) fn parse<T>(&self, column: &'static str) -> Result<T, StorageError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text: &str = self.get(column)?;
        text.parse().map_err(|error: T::Err| self.corrupt(column, &error))
    }

    /// A nullable text column that must parse.
    pub(crate) fn parse_opt<T>(&self, column: &'static str) -> Result<Option<T>, StorageError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text: Option<&str> = self.get(column)?;
        text.map(|text| text.parse().map_err(|error: T::Err| self.corrupt(column, &error)))
            .transpose()
    }

    /// A column of exactly `N` bytes.
    pub(crate) fn bytes<const N: usize>(&self, column: &'static str) -> Result<[u8; N], StorageError> {
        let bytes: &[u8] = self.get(column)?;
        bytes
            .try_into()
            .map_err(|_| self.corrupt(column, &format!("{} bytes, not {N}", bytes.len())))
    }

    /// A number that must not be negative.
    pub(crate) fn unsigned(&self, column: &'static str) -> Result<u64, StorageError> {
        let value: i64 = self.get(column)?;
        u64::try_from(value).map_err(|error| self.corrupt(column, &error))
    }

    /// A sum that SQL returns as text. One that exceeds `u64` becomes `u64::MAX`.
    pub(crate) fn sum(&self, column: &'static str) -> Result<u64, StorageError> {
        let sum: u128 = self.parse(column)?;
        Ok(u64::try_from(sum).unwrap_or(u64::MAX))
    }

    pub(crate) fn corrupt(&self, column: &'static str, problem: &dyn Display) -> StorageError {
        StorageError::Corrupt {
            table: self.table,
            column,
            id: self.id.clone(),
            problem: problem.to_string(),
        }
    }
}
