//! Stored answers (`idempotency_keys`): the row is both the claim of a key and the answer to its request.

use bytes::Bytes;
use domain::idempotency::{Fingerprint, IdempotencyKey};
use domain::ids::IntegratorId;
use domain::signature::{KeyId, Mac};

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query};

statements! {
    CLAIM_BATCH = "\
insert into idempotency_keys as k
    (integrator, idempotency_key, fingerprint, status, location, body, mac_key_id, mac)
select * from unnest($1::text[], $2::text[], $3::bytea[], $4::smallint[], $5::text[], $6::bytea[], $7::text[], $8::bytea[])
on conflict (integrator, idempotency_key) do update
set fingerprint = excluded.fingerprint, status = excluded.status, location = excluded.location,
    body = excluded.body, mac_key_id = excluded.mac_key_id, mac = excluded.mac, created_at = now()
where k.created_at <= now() - make_interval(secs => $9::float8)
returning k.integrator, k.idempotency_key";

    READ_BATCH = "\
select k.integrator, k.idempotency_key, k.fingerprint, k.status, k.location, k.body, k.mac_key_id, k.mac
from unnest($1::text[], $2::text[]) as wanted (integrator, idempotency_key)
join idempotency_keys k using (integrator, idempotency_key)";

    REPLACE = "\
update idempotency_keys
set fingerprint = $3, status = $4, location = $5, body = $6, mac_key_id = $7, mac = $8
where integrator = $1 and idempotency_key = $2";

    RELEASE_BATCH = "\
delete from idempotency_keys k
using unnest($1::text[], $2::text[]) as gone (integrator, idempotency_key)
where k.integrator = gone.integrator and k.idempotency_key = gone.idempotency_key";

    PURGE = "\
delete from idempotency_keys
where (integrator, idempotency_key) in (
    select integrator, idempotency_key from idempotency_keys
    where created_at < now() - make_interval(secs => $1::float8)
    order by created_at limit $2)";
}

/// One stored answer with its MAC. It must not be served before the MAC is verified.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    pub integrator: IntegratorId,
    pub key: IdempotencyKey,
    pub fingerprint: Fingerprint,
    pub status: u16,
    pub location: Option<String>,
    pub body: Bytes,
    pub mac_key_id: KeyId,
    pub mac: Mac,
}

/// Integrator and idempotency key: the primary key of a row.
pub type IdempotencyScope<'a> = (&'a IntegratorId, &'a IdempotencyKey);

/// Claims every free (or expired) key with its answer and returns the claimed ones. Give the answers in key order:
/// rows are locked in that order.
pub async fn claim_batch(
    session: &impl DbSession,
    answers: &[&StoredAnswer],
    window_seconds: f64,
) -> Result<Vec<(String, String)>, StorageError> {
    let statuses = answers
        .iter()
        .map(|a| status_to_sql(a.status))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = query(
        session,
        CLAIM_BATCH,
        &[
            &column(answers, |a| a.integrator.as_str()),
            &column(answers, |a| a.key.as_str()),
            &column(answers, |a| a.fingerprint.as_bytes().as_slice()),
            &statuses,
            &column(answers, |a| a.location.as_deref()),
            &column(answers, |a| a.body.as_ref()),
            &column(answers, |a| a.mac_key_id.as_str()),
            &column(answers, |a| a.mac.as_bytes().as_slice()),
            &window_seconds,
        ],
    )
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// The stored answers of these keys, in any order; missing ones are left out.
pub async fn read_batch(
    session: &impl DbSession,
    scopes: &[IdempotencyScope<'_>],
) -> Result<Vec<Result<StoredAnswer, StorageError>>, StorageError> {
    let rows = query(
        session,
        READ_BATCH,
        &[
            &column(scopes, |s| s.0.as_str()),
            &column(scopes, |s| s.1.as_str()),
        ],
    )
    .await?;
    Ok(rows.iter().map(read_one).collect())
}

fn read_one(row: &tokio_postgres::Row) -> Result<StoredAnswer, StorageError> {
    let key: &str = row.try_get("idempotency_key")?;
    let reader = RowReader::new(row, "idempotency_keys", key);
    let status: i16 = reader.get("status")?;
    Ok(StoredAnswer {
        integrator: reader.parse("integrator")?,
        key: reader.parse("idempotency_key")?,
        fingerprint: Fingerprint::from_bytes(reader.bytes("fingerprint")?),
        status: u16::try_from(status).map_err(|e| reader.corrupt("status", &e))?,
        location: reader.get("location")?,
        body: Bytes::from(reader.get::<Vec<u8>>("body")?),
        mac_key_id: reader.parse("mac_key_id")?,
        mac: Mac::from_bytes(reader.bytes("mac")?),
    })
}

/// Replaces the answer of a key that this transaction claimed.
pub async fn replace(session: &impl DbSession, answer: &StoredAnswer) -> Result<(), StorageError> {
    crate::session::execute_one(
        session,
        REPLACE,
        &[
            &answer.integrator.as_str(),
            &answer.key.as_str(),
            &answer.fingerprint.as_bytes().as_slice(),
            &status_to_sql(answer.status)?,
            &answer.location,
            &answer.body.as_ref(),
            &answer.mac_key_id.as_str(),
            &answer.mac.as_bytes().as_slice(),
        ],
        "a claimed idempotency key",
    )
    .await
}

/// Releases keys that this transaction claimed.
pub async fn release_batch(
    session: &impl DbSession,
    scopes: &[IdempotencyScope<'_>],
) -> Result<u64, StorageError> {
    execute(
        session,
        RELEASE_BATCH,
        &[
            &column(scopes, |s| s.0.as_str()),
            &column(scopes, |s| s.1.as_str()),
        ],
    )
    .await
}

/// Deletes at most `limit` answers that are older than `seconds`.
pub async fn purge(session: &impl DbSession, seconds: f64, limit: i64) -> Result<u64, StorageError> {
    execute(session, PURGE, &[&seconds, &limit]).await
}

fn status_to_sql(status: u16) -> Result<i16, StorageError> {
    i16::try_from(status).map_err(|_| StorageError::bug("an HTTP status has three digits"))
}

/// One column of a batch.
pub(super) fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
