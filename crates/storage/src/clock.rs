//! The database's clock, which measures windows and leases.

use time::OffsetDateTime;

use crate::error::StorageError;
use crate::session::{DbSession, query_one};

statements! {
    NOW = "select clock_timestamp() as now";
}

/// The database's time of day.
pub async fn now(session: &impl DbSession) -> Result<OffsetDateTime, StorageError> {
    Ok(query_one(session, NOW, &[]).await?.try_get("now")?)
}
