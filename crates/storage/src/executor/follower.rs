//! Who takes in blocks: one executor at a time, for all signing keys. The lease runs on the database's clock; every
//! writer of blocks checks it inside its own transaction.

use std::time::Duration;

use uuid::Uuid;

use crate::error::StorageError;
use crate::pool::Transaction;
use crate::session::{Session, execute, query_opt};

statements! {
    ACQUIRE =
        "update block_follower_lease set lease_holder = $1, lease_until = clock_timestamp() + $2::float8 * interval '1 second', \
         fencing_token = fencing_token + 1 \
         where lease_until is null or lease_until < clock_timestamp() or lease_holder = $1 returning fencing_token";
    RENEW =
        "update block_follower_lease set lease_until = clock_timestamp() + $3::float8 * interval '1 second' \
         where lease_holder = $1 and fencing_token = $2 and lease_until >= clock_timestamp()";
    RELEASE = "update block_follower_lease set lease_until = null where lease_holder = $1 and fencing_token = $2";
    CHECK =
        "select from block_follower_lease where lease_holder = $1 and fencing_token = $2 and lease_until >= clock_timestamp() \
         for update";
    // Nobody signs while a block is taken in: both move the same items and legs.
    STAND_STILL = "select from signers order by address for update";
}

/// The right to take in blocks, as long as the row says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerLease {
    pub holder: Uuid,
    pub fencing_token: i64,
}

/// Takes the lease if nobody else holds it.
pub async fn acquire(
    session: &impl Session,
    holder: Uuid,
    hold: Duration,
) -> Result<Option<FollowerLease>, StorageError> {
    let row = query_opt(session, ACQUIRE, &[&holder, &hold.as_secs_f64()]).await?;
    row.map(|row| {
        Ok(FollowerLease {
            holder,
            fencing_token: row.try_get("fencing_token")?,
        })
    })
    .transpose()
}

/// False when it is lost.
pub async fn renew(
    session: &impl Session,
    lease: &FollowerLease,
    hold: Duration,
) -> Result<bool, StorageError> {
    let touched = execute(
        session,
        RENEW,
        &[&lease.holder, &lease.fencing_token, &hold.as_secs_f64()],
    )
    .await?;
    Ok(touched == 1)
}

pub async fn release(session: &impl Session, lease: &FollowerLease) -> Result<(), StorageError> {
    execute(session, RELEASE, &[&lease.holder, &lease.fencing_token]).await?;
    Ok(())
}

/// Locks the lease and every signer until the transaction ends; false when the lease is not ours (any more).
pub async fn check(tx: &Transaction<'_>, lease: &FollowerLease) -> Result<bool, StorageError> {
    let found = query_opt(tx, CHECK, &[&lease.holder, &lease.fencing_token]).await?;
    execute(tx, STAND_STILL, &[]).await?;
    Ok(found.is_some())
}
