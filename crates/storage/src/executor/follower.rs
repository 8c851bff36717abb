//! The lease on ingesting blocks: one executor at a time has it, for all signing keys. It expires by the database's
//! clock; every writer of blocks checks it inside its own transaction.

use std::time::Duration;

use const_format::concatcp;
use uuid::Uuid;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::session::{DbSession, execute, query_opt};

/// The lease is still this holder's, under this token.
const HOLDS_LEASE: &str = "lease_holder = $1 and fencing_token = $2 and lease_until >= clock_timestamp()";
/// The lease is still this holder's, and stays it until the transaction ends.
const LOCKS_LEASE: &str = concatcp!(HOLDS_LEASE, " for update");

statements! {
    ACQUIRE =
        "update block_follower_lease set lease_holder = $1, lease_until = clock_timestamp() + $2::float8 * interval '1 second', \
         fencing_token = fencing_token + 1 \
         where lease_until is null or lease_until < clock_timestamp() or lease_holder = $1 returning fencing_token";
    RENEW = concatcp!(
        "update block_follower_lease set lease_until = clock_timestamp() + $3::float8 * interval '1 second' where ",
        HOLDS_LEASE
    );
    RELEASE = "update block_follower_lease set lease_until = null where lease_holder = $1 and fencing_token = $2";
    CHECK = concatcp!("select from block_follower_lease where ", LOCKS_LEASE);
    // No transaction is signed while a block is ingested: both change the same items and legs.
    LOCK_SIGNERS = "select from signers order by address for update";
}

/// The right to ingest blocks, as long as the row says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerLease {
    pub holder: Uuid,
    pub fencing_token: i64,
}

/// Acquires the lease if no other executor holds it.
pub async fn acquire(
    session: &impl DbSession,
    holder: Uuid,
    lease_for: Duration,
) -> Result<Option<FollowerLease>, StorageError> {
    let row = query_opt(session, ACQUIRE, &[&holder, &lease_for.as_secs_f64()]).await?;
    row.map(|row| {
        Ok(FollowerLease {
            holder,
            fencing_token: row.try_get("fencing_token")?,
        })
    })
    .transpose()
}

/// False when the lease is lost.
pub async fn renew(
    session: &impl DbSession,
    lease: &FollowerLease,
    lease_for: Duration,
) -> Result<bool, StorageError> {
    let touched = execute(
        session,
        RENEW,
        &[&lease.holder, &lease.fencing_token, &lease_for.as_secs_f64()],
    )
    .await?;
    Ok(touched == 1)
}

pub async fn release(session: &impl DbSession, lease: &FollowerLease) -> Result<(), StorageError> {
    execute(session, RELEASE, &[&lease.holder, &lease.fencing_token]).await?;
    Ok(())
}

/// Locks the lease and every signer until the transaction ends; false when the lease is lost.
pub async fn check(tx: &DbTransaction<'_>, lease: &FollowerLease) -> Result<bool, StorageError> {
    let found = query_opt(tx, CHECK, &[&lease.holder, &lease.fencing_token]).await?;
    execute(tx, LOCK_SIGNERS, &[]).await?;
    Ok(found.is_some())
}
