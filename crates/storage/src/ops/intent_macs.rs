//! `renewed_intent_macs`: the MACs of stored intents that an operator renewed. Intents are paged in the order of their ids, so
//! that no statement reads more than a page.

use domain::ids::{IntegratorId, IntentId};
use domain::signature::{KeyId, Mac};
use time::OffsetDateTime;

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query};

/// The MAC of one intent and the fields it covers.
#[derive(Clone, Debug)]
pub struct IntentMacRow {
    pub intent_id: IntentId,
    pub integrator: IntegratorId,
    pub created_at: OffsetDateTime,
    pub key_id: KeyId,
    pub mac: Mac,
}

statements! {
    PAGE = "\
select i.intent_id, i.integrator, i.created_at,
       coalesce(m.mac_key_id, i.mac_key_id) as mac_key_id, coalesce(m.mac, i.mac) as mac
from mint_intents i left join renewed_intent_macs m using (intent_id)
where i.intent_id > $1 order by i.intent_id limit $2";
    RENEW = "\
insert into renewed_intent_macs as m (intent_id, mac_key_id, mac)
select n.intent_id, $2, n.mac from unnest($3::bytea[], $4::bytea[]) as n (intent_id, mac)
on conflict (intent_id) do update set mac_key_id = excluded.mac_key_id, mac = excluded.mac where m.mac_key_id = $1";
}

/// Up to `limit` intents after `after`, in the order of their ids. A row that cannot be read has its own error.
pub async fn page(
    session: &impl DbSession,
    after: &[u8],
    limit: i64,
) -> Result<Vec<(IntentId, Result<IntentMacRow, StorageError>)>, StorageError> {
    let rows = query(session, PAGE, &[&after, &limit]).await?;
    rows.iter()
        .map(|row| {
            let bytes: &[u8] = row.try_get("intent_id")?;
            let intent_id = IntentId::from_slice(bytes).map_err(|e| StorageError::bug(e.to_string()))?;
            let reader = RowReader::new(row, "mint_intents", intent_id);
            let read = || {
                Ok(IntentMacRow {
                    intent_id,
                    integrator: reader.parse("integrator")?,
                    created_at: reader.get("created_at")?,
                    key_id: reader.parse("mac_key_id")?,
                    mac: Mac::from_bytes(reader.bytes("mac")?),
                })
            };
            Ok((intent_id, read()))
        })
        .collect()
}

/// Stores new MACs for intents whose present MAC is still under the key `from`.
pub async fn renew(
    session: &impl DbSession,
    from: &KeyId,
    to: &KeyId,
    macs: &[(IntentId, Mac)],
) -> Result<u64, StorageError> {
    if macs.is_empty() {
        return Ok(0);
    }
    let ids: Vec<&[u8]> = macs.iter().map(|(id, _)| id.as_bytes().as_slice()).collect();
    let bytes: Vec<&[u8]> = macs.iter().map(|(_, mac)| mac.as_bytes().as_slice()).collect();
    execute(session, RENEW, &[&from.as_str(), &to.as_str(), &ids, &bytes]).await
}
