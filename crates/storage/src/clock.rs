//! The database's clock: windows and leases are counted by it.

use time::OffsetDateTime;

use crate::error::StorageError;
use crate::session::{Session, query_one};

statements! {
    NOW = "select clock_timestamp() as now";
}

/// The database's time of day.
pub async fn now(session: &impl Session) -> Result<OffsetDateTime, StorageError> {
    Ok(query_one(session, NOW, &[]).await?.try_get("now")?)
}
