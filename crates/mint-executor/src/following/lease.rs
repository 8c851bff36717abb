//! The right to take in blocks, on the database's clock. A second executor waits for it.

use std::time::Duration;

use runtime::Stop;
use storage::Pool;
use storage::executor::{blocks, follower, heartbeat};
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::WorkError;
use crate::state::{ChainView, LeaseKeeper};

/// A follower yields after it ingested nothing for this many lease periods while another executor saw later blocks.
const STALLED_AFTER_LEASES: u32 = 3;

pub struct FollowerLeaseHolder {
    pub pool: Pool,
    /// Identifies this process among others that could follow.
    pub instance: Uuid,
    pub view: ChainView,
    pub keeper: LeaseKeeper,
    pub tenure: Mutex<FollowerTenure>,
}

/// The follower's progress since it acquired its lease.
#[derive(Debug)]
pub struct FollowerTenure {
    /// The last ingested block, and since when it is the last.
    tip: Option<u64>,
    since: Instant,
    /// The lease is not acquired again before this, so that another executor can take it.
    not_before: Instant,
}

impl FollowerTenure {
    pub fn new(now: Instant) -> Self {
        Self {
            tip: None,
            since: now,
            not_before: now,
        }
    }

    /// Whether no block was ingested for that long.
    fn is_stalled(&mut self, tip: Option<u64>, now: Instant, patience: Duration) -> bool {
        if self.tip != tip {
            (self.tip, self.since) = (tip, now);
        }
        now - self.since >= patience
    }
}

impl FollowerLeaseHolder {
    /// Acquires, renews and finally releases the lease.
    pub async fn run(self, stop: Stop) {
        let keep = || self.renew_or_acquire(Instant::now());
        let lose = || self.view.drop_follower_lease();
        self.keeper.run(&stop, keep, lose).await;
        let Some(lease) = self.view.follower_lease() else {
            return;
        };
        self.view.drop_follower_lease();
        let released = async { follower::release(&self.pool.get().await?, &lease).await };
        if let Err(error) = released.await {
            tracing::warn!(error = %domain::error_chain(&error), "the lease was not given back; it ends by itself");
        }
    }

    /// A dead or frozen node must not stop every signer: when another executor's node advances and ours does not, the
    /// follower yields its lease.
    pub async fn renew_or_acquire(&self, now: Instant) -> Result<(), WorkError> {
        let mut tenure = self.tenure.lock().await;
        let (client, hold) = (self.pool.get().await?, self.keeper.lease);
        if let Some(lease) = self.view.follower_lease() {
            let tip = blocks::recent(&client, 1).await?.pop().map(|tip| tip.number);
            if tenure.is_stalled(tip, now, hold * STALLED_AFTER_LEASES)
                && heartbeat::another_knows_block_after(&client, self.instance, tip.unwrap_or_default())
                    .await?
            {
                tracing::error!(
                    tip,
                    "our node is stalled and another executor's is not: this executor stops following the chain for now"
                );
                *tenure = FollowerTenure::new(now + hold);
                follower::release(&client, &lease).await?;
                self.view.drop_follower_lease();
                return Ok(());
            }
            if follower::renew(&client, &lease, hold).await? {
                return Ok(());
            }
            self.view.drop_follower_lease();
        }
        if now < tenure.not_before {
            return Ok(());
        }
        if let Some(lease) = follower::acquire(&client, self.instance, hold).await? {
            tracing::info!(
                fencing_token = lease.fencing_token,
                "this executor follows the chain"
            );
            *tenure = FollowerTenure::new(now);
            self.view.hold_follower_lease(lease);
        }
        Ok(())
    }
}
