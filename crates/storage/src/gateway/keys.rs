//! Metadata of keys: restrictions by operators (`api_keys`, `tx_ref_prefixes`), and when the gateway last used each key
//! (`api_key_usage`).

use domain::ids::IntegratorId;
use domain::key_state::KeyState;
use domain::signature::KeyId;
use time::OffsetDateTime;

use super::idempotency::column;
use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query};

statements! {
    RESTRICTIONS = "select key_id, purpose, owner, not_before, not_after, state from published.api_keys";

    PREFIXES = "select prefix, owner from published.tx_ref_prefixes";

    RECORD_USES = "\
insert into api_key_usage as u (key_id, last_used_at)
select * from unnest($1::text[], $2::timestamptz[])
on conflict (key_id) do update set last_used_at = greatest(u.last_used_at, excluded.last_used_at)";
}

/// One row of `api_keys`: it can only restrict what the mounted key file allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRestriction {
    pub key_id: KeyId,
    pub not_before: Option<OffsetDateTime>,
    pub not_after: Option<OffsetDateTime>,
    pub state: KeyState,
}

/// A registered prefix of txRefs and the integrator it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxRefPrefix {
    pub prefix: String,
    pub owner: IntegratorId,
}

pub async fn key_restrictions(session: &impl DbSession) -> Result<Vec<KeyRestriction>, StorageError> {
    let rows = query(session, RESTRICTIONS, &[]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "api_keys", row.try_get::<_, &str>("key_id")?);
            Ok(KeyRestriction {
                key_id: reader.parse("key_id")?,
                not_before: reader.get("not_before")?,
                not_after: reader.get("not_after")?,
                state: reader.parse("state")?,
            })
        })
        .collect()
}

pub async fn prefixes(session: &impl DbSession) -> Result<Vec<TxRefPrefix>, StorageError> {
    let rows = query(session, PREFIXES, &[]).await?;
    rows.iter()
        .map(|row| {
            let prefix: String = row.try_get("prefix")?;
            let owner = RowReader::new(row, "tx_ref_prefixes", &prefix).parse("owner")?;
            Ok(TxRefPrefix { prefix, owner })
        })
        .collect()
}

/// Records when each key was last used. Give the keys in order.
pub async fn record_uses(
    session: &impl DbSession,
    uses: &[(KeyId, OffsetDateTime)],
) -> Result<u64, StorageError> {
    execute(
        session,
        RECORD_USES,
        &[&column(uses, |u| u.0.as_str()), &column(uses, |u| u.1)],
    )
    .await
}
