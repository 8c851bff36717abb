//! One row per signing key: its next nonce, and the executor that may use it now. The lease expires by the database's
//! clock; every writer checks it inside its own transaction. Keys with a lease that no operator drains share the work:
//! each works on its share of the intents (ADR 0009).

use std::collections::HashSet;
use std::time::Duration;

use const_format::concatcp;
use uuid::Uuid;

use super::legs::to_bigint;
use super::sharing::{MINED_OR_SIGNED, SHARES_WORK};
use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_opt};

/// The lease is still this holder's, under this token.
const HOLDS_LEASE: &str = "lease_holder = $2 and fencing_token = $3 and lease_until >= clock_timestamp()";
/// No operator has retired the key.
const NOT_RETIRED: &str =
    "not exists (select from published.signer_admin_states o where o.address = $1 and o.state = 'retired')";
/// The lease is still this holder's, and stays it until the transaction ends.
const LOCKS_LEASE: &str = concatcp!(HOLDS_LEASE, " for update");
/// The key has signed what is in no block yet.
const HAS_UNMINED: &str = "exists (select from attempts t where t.signer = $1 and t.state = 'signed')";
/// The attempt `t` can still be mined, or mined again after a fork.
const NOT_FINAL: &str = concatcp!("t.state in ", MINED_OR_SIGNED);
statements! {
    ENSURE = "insert into signers (address, next_nonce) values ($1, $2) on conflict (address) do nothing";
    ACQUIRE = concatcp!(
        "update signers set lease_holder = $2, lease_until = clock_timestamp() + $3::float8 * interval '1 second', \
         fencing_token = fencing_token + 1 \
         where address = $1 and (lease_until is null or lease_until < clock_timestamp() or lease_holder = $2) \
         and (", NOT_RETIRED, " or ", HAS_UNMINED, ") returning fencing_token"
    );
    IS_TAKEN =
        "select exists (select from signers where address = $1 and lease_holder <> $2 \
         and lease_until >= clock_timestamp()) taken";
    RENEW = concatcp!(
        "update signers set lease_until = clock_timestamp() + $4::float8 * interval '1 second' \
         where address = $1 and ", HOLDS_LEASE
    );
    RELEASE =
        "update signers set lease_until = null where address = $1 and lease_holder = $2 and fencing_token = $3";
    CHECK = concatcp!("select next_nonce from signers where address = $1 and ", LOCKS_LEASE);
    NEXT_NONCE = concatcp!("select next_nonce from signers where address = $1 and ", HOLDS_LEASE);
    SET_NONCE = "update signers set next_nonce = greatest(next_nonce, $2) where address = $1";
    // Keys that share no work, whose transactions are all final, so that none can be mined, or mined again after a fork.
    RELEASED = concatcp!(
        "select a.address from unnest($1::bytea[]) as a(address) \
         where not exists (select from signers s left join published.signer_admin_states o on o.address = s.address \
                           where s.address = a.address and ", SHARES_WORK, ") \
         and not exists (select from attempts t where t.signer = a.address and ", NOT_FINAL, ")"
    );
}

/// The right to use one signing key, as long as the row says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerLease {
    pub signer: [u8; 20],
    pub holder: Uuid,
    /// Grows with every new holder, so that the write of a former holder is refused.
    pub fencing_token: i64,
}

/// Inserts the signer's row if it is missing; the nonce of an existing row is kept.
pub async fn ensure(session: &impl DbSession, signer: &[u8; 20], nonce: u64) -> Result<(), StorageError> {
    execute(session, ENSURE, &[&signer.as_slice(), &to_bigint(nonce)?]).await?;
    Ok(())
}

/// Acquires the lease if no other executor holds it. A retired key is leased only to finish its open transactions; it is
/// not among the keys that share the work.
pub async fn acquire(
    session: &impl DbSession,
    signer: &[u8; 20],
    holder: Uuid,
    lease_for: Duration,
) -> Result<Option<SignerLease>, StorageError> {
    let row = query_opt(
        session,
        ACQUIRE,
        &[&signer.as_slice(), &holder, &lease_for.as_secs_f64()],
    )
    .await?;
    row.map(|row| {
        Ok(SignerLease {
            signer: *signer,
            holder,
            fencing_token: row.try_get("fencing_token")?,
        })
    })
    .transpose()
}

/// Whether another executor holds the lease now.
pub async fn is_taken(
    session: &impl DbSession,
    signer: &[u8; 20],
    holder: Uuid,
) -> Result<bool, StorageError> {
    let row = query_opt(session, IS_TAKEN, &[&signer.as_slice(), &holder]).await?;
    row.map_or(Ok(false), |row| Ok(row.try_get("taken")?))
}

/// False when it is lost.
pub async fn renew(
    session: &impl DbSession,
    lease: &SignerLease,
    lease_for: Duration,
) -> Result<bool, StorageError> {
    let touched = execute(
        session,
        RENEW,
        &[
            &lease.signer.as_slice(),
            &lease.holder,
            &lease.fencing_token,
            &lease_for.as_secs_f64(),
        ],
    )
    .await?;
    Ok(touched == 1)
}

pub async fn release(session: &impl DbSession, lease: &SignerLease) -> Result<(), StorageError> {
    execute(
        session,
        RELEASE,
        &[&lease.signer.as_slice(), &lease.holder, &lease.fencing_token],
    )
    .await?;
    Ok(())
}

/// Locks the signer's row and gives its next nonce; `None` when the lease is not ours (any more).
pub async fn check(tx: &DbTransaction<'_>, lease: &SignerLease) -> Result<Option<u64>, StorageError> {
    nonce_of(tx, CHECK, lease).await
}

/// The same without the lock: it may be another one already.
pub async fn next_nonce(session: &impl DbSession, lease: &SignerLease) -> Result<Option<u64>, StorageError> {
    nonce_of(session, NEXT_NONCE, lease).await
}

async fn nonce_of(
    session: &impl DbSession,
    sql: &str,
    lease: &SignerLease,
) -> Result<Option<u64>, StorageError> {
    let row = query_opt(
        session,
        sql,
        &[&lease.signer.as_slice(), &lease.holder, &lease.fencing_token],
    )
    .await?;
    row.map(|row| RowReader::new(&row, "signers", hex_of(&lease.signer)).unsigned("next_nonce"))
        .transpose()
}

/// Those keys whose intents another key may take over: they sign nothing new, and their nonces are final.
pub async fn released(
    session: &impl DbSession,
    signers: &[[u8; 20]],
) -> Result<HashSet<[u8; 20]>, StorageError> {
    if signers.is_empty() {
        return Ok(HashSet::new());
    }
    let addresses: Vec<&[u8]> = signers.iter().map(<[u8; 20]>::as_slice).collect();
    query(session, RELEASED, &[&addresses])
        .await?
        .iter()
        .map(|row| RowReader::new(row, "signers", "released").bytes("address"))
        .collect()
}

/// Raises the next nonce; never lowers it.
pub async fn raise_nonce(tx: &DbTransaction<'_>, signer: &[u8; 20], next: u64) -> Result<(), StorageError> {
    execute(tx, SET_NONCE, &[&signer.as_slice(), &to_bigint(next)?]).await?;
    Ok(())
}

fn hex_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::from("0x"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
