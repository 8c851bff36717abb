//! The lease of a signer, on the database's clock. A second executor waits for it.

use std::sync::Arc;
use std::time::Duration;

use chain::ChainClient;
use runtime::Stop;
use storage::Pool;
use storage::executor::signers::{self, SignerLease};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::WorkError;
use crate::observe;
use crate::state::{LeaseKeeper, SignerHandle};

pub struct SignerLeaseHolder {
    pub pool: Pool,
    pub chain: ChainClient,
    /// Identifies this process among others with the same keys.
    pub instance: Uuid,
    pub signer: Arc<SignerHandle>,
    pub keeper: LeaseKeeper,
}

impl SignerLeaseHolder {
    /// Acquires, renews and finally releases the lease of a signer, which works only while the lease is held.
    pub async fn run(self, stop: Stop) {
        observe::lease_missing(&self.signer.address());
        let keep = || self.renew_or_acquire(Instant::now());
        self.keeper.run(&stop, keep, || self.signer.drop_lease()).await;
        let Some(lease) = self.signer.current_lease() else {
            return;
        };
        self.signer.drop_lease();
        let released = async { signers::release(&self.pool.get().await?, &lease).await };
        if let Err(error) = released.await {
            tracing::warn!(error = %domain::error_chain(&error), "the lease was not given back; it ends by itself");
        }
    }

    /// A token that is gone or hangs here may sign for another executor. So a signer without a signature for a whole lease
    /// period loses its lease, and acquires it again only after it signed (its breaker probes for that).
    pub async fn renew_or_acquire(&self, now: Instant) -> Result<(), WorkError> {
        let (signer, hold) = (&self.signer, self.keeper.lease);
        let unresponsive_for = signer.unresponsive_for(now);
        if let Some(lease) = signer.current_lease() {
            let client = self.pool.get().await?;
            if outlasts(unresponsive_for, hold) {
                // Drop the lease before another executor can hold it; if the release fails, the lease ends by itself.
                signer.drop_lease();
                observe::unresponsive_signer_released(&signer.address());
                signers::release(&client, &lease).await?;
                return Ok(());
            }
            if signers::renew(&client, &lease, hold).await? {
                return Ok(());
            }
            observe::lease_lost(&signer.address());
            signer.drop_lease();
        }
        if is_unresponsive(unresponsive_for) {
            return Ok(());
        }
        if let Some(lease) = self.acquire().await? {
            observe::lease_won(&signer.address(), &lease);
            signer.hold_lease(lease);
            signer.wake();
        }
        Ok(())
    }

    /// Acquires the lease if it is free. The next nonce becomes the greater of the row's and the chain's count: the row may
    /// be missing, or come from a backup that is older than mined transactions.
    pub async fn acquire(&self) -> Result<Option<SignerLease>, WorkError> {
        let address = self.signer.address_bytes();
        // A standby sends its node no request until the lease is free.
        if signers::is_taken(&self.pool.get().await?, &address, self.instance).await? {
            return Ok(None);
        }
        let counted = self
            .chain
            .nonce(&self.signer.address(), chain::BlockRef::Latest)
            .await?;
        let mut client = self.pool.get().await?;
        signers::ensure(&client, &address, counted).await?;
        let tx = client.begin().await?;
        let won = signers::acquire(&tx, &address, self.instance, self.keeper.lease).await?;
        if won.is_some() {
            signers::raise_nonce(&tx, &address, counted).await?;
        }
        tx.commit().await?;
        Ok(won)
    }
}

/// The key gave no signature for as long as a lease lasts.
fn outlasts(unresponsive_for: Option<Duration>, lease: Duration) -> bool {
    unresponsive_for.is_some_and(|unresponsive_for| unresponsive_for >= lease)
}

/// The last question to the key's signer brought no signature.
const fn is_unresponsive(unresponsive_for: Option<Duration>) -> bool {
    unresponsive_for.is_some()
}
