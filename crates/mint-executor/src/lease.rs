//! The leases of the signers and of the follower, on the database's clock. A second executor waits for them.

use std::sync::Arc;
use std::time::Duration;

use runtime::Stop;
use storage::executor::signers::{self, SignerLease};
use storage::executor::{blocks, follower, heartbeat};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::context::{Context, WorkError};
use crate::observe;
use crate::signer_handle::SignerHandle;

/// A follower yields after it ingested nothing for this many lease periods while another executor saw later blocks.
const STALLED_AFTER_LEASES: u32 = 3;

/// Acquires, renews and finally releases the lease of a signer, which works only while the lease is held.
pub async fn run_signer_lease(ctx: Context, signer: Arc<SignerHandle>, stop: Stop) {
    observe::lease_missing(&signer.address());
    let keep = || renew_or_acquire(&ctx, &signer, Instant::now());
    keep_lease(&ctx, &stop, keep, || signer.drop_lease()).await;
    let Some(lease) = signer.current_lease() else {
        return;
    };
    signer.drop_lease();
    let released = async { signers::release(&ctx.pool.get().await?, &lease).await };
    if let Err(error) = released.await {
        tracing::warn!(error = %domain::error_chain(&error), "the lease was not given back; it ends by itself");
    }
}

/// The same for the follower's lease.
pub async fn run_follower_lease(ctx: Context, stop: Stop) {
    let turn = Mutex::new(FollowerTenure::new(Instant::now()));
    let keep = async || renew_or_acquire_follower(&ctx, &mut *turn.lock().await, Instant::now()).await;
    keep_lease(&ctx, &stop, keep, || ctx.drop_follower_lease()).await;
    let Some(lease) = ctx.current_follower_lease() else {
        return;
    };
    ctx.drop_follower_lease();
    let released = async { follower::release(&ctx.pool.get().await?, &lease).await };
    if let Err(error) = released.await {
        tracing::warn!(error = %domain::error_chain(&error), "the lease was not given back; it ends by itself");
    }
}

async fn keep_lease<F>(ctx: &Context, stop: &Stop, keep: impl Fn() -> F, lose: impl Fn())
where
    F: Future<Output = Result<(), WorkError>>,
{
    let mut sure = Instant::now();
    loop {
        let kept = if ctx.problem.borrow().is_some() {
            lose();
            Ok(())
        } else {
            keep().await
        };
        let wait = match kept {
            Ok(()) => {
                sure = Instant::now();
                ctx.tuning.lease / 4
            }
            Err(error) => {
                tracing::warn!(error = %domain::error_chain(&error), "a lease cannot be kept");
                // An unrenewed lease may belong to another executor by now; until then every write checks it.
                if sure.elapsed() > ctx.tuning.lease {
                    lose();
                }
                ctx.tuning.lease / 8
            }
        };
        if !stop.sleep(wait).await {
            return;
        }
    }
}

/// A token that is gone or hangs here may sign for another executor. So a signer without a signature for a whole lease
/// period loses its lease, and acquires it again only after it signed (its breaker probes for that).
pub async fn renew_or_acquire(ctx: &Context, signer: &SignerHandle, now: Instant) -> Result<(), WorkError> {
    let mute = signer.unresponsive_for(now);
    if let Some(lease) = signer.current_lease() {
        let client = ctx.pool.get().await?;
        if outlasts(mute, ctx.tuning.lease) {
            // Drop the lease before another executor can hold it; if the release fails, the lease ends by itself.
            signer.drop_lease();
            observe::unresponsive_signer_released(&signer.address());
            signers::release(&client, &lease).await?;
            return Ok(());
        }
        if signers::renew(&client, &lease, ctx.tuning.lease).await? {
            return Ok(());
        }
        observe::lease_lost(&signer.address());
        signer.drop_lease();
    }
    if is_unresponsive(mute) {
        return Ok(());
    }
    if let Some(lease) = acquire(ctx, signer).await? {
        observe::lease_won(&signer.address(), &lease);
        signer.lease.send_replace(Some(lease));
        signer.work_available.notify_one();
    }
    Ok(())
}

/// The key gave no signature for as long as a lease lasts.
fn outlasts(unresponsive_for: Option<Duration>, lease: Duration) -> bool {
    unresponsive_for.is_some_and(|unresponsive_for| unresponsive_for >= lease)
}

/// The last question to the key's signer brought no signature.
const fn is_unresponsive(unresponsive_for: Option<Duration>) -> bool {
    unresponsive_for.is_some()
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

/// A dead or frozen node must not stop every signer: when another executor's node advances and ours does not, the
/// follower yields its lease.
pub async fn renew_or_acquire_follower(
    ctx: &Context,
    turn: &mut FollowerTenure,
    now: Instant,
) -> Result<(), WorkError> {
    let (client, hold) = (ctx.pool.get().await?, ctx.tuning.lease);
    if let Some(lease) = ctx.current_follower_lease() {
        let tip = blocks::recent(&client, 1).await?.pop().map(|tip| tip.number);
        if turn.is_stalled(tip, now, hold * STALLED_AFTER_LEASES)
            && heartbeat::another_knows_block_after(&client, ctx.instance, tip.unwrap_or_default()).await?
        {
            tracing::error!(
                tip,
                "our node is stalled and another executor's is not: this executor stops following the chain for now"
            );
            *turn = FollowerTenure::new(now + hold);
            follower::release(&client, &lease).await?;
            ctx.drop_follower_lease();
            return Ok(());
        }
        if follower::renew(&client, &lease, hold).await? {
            return Ok(());
        }
        ctx.drop_follower_lease();
    }
    if now < turn.not_before {
        return Ok(());
    }
    if let Some(lease) = follower::acquire(&client, ctx.instance, hold).await? {
        tracing::info!(
            fencing_token = lease.fencing_token,
            "this executor follows the chain"
        );
        *turn = FollowerTenure::new(now);
        ctx.follower_lease.send_replace(Some(lease));
    }
    Ok(())
}

/// Acquires the lease if it is free. The next nonce becomes the greater of the row's and the chain's count: the row may
/// be missing, or come from a backup that is older than mined transactions.
pub async fn acquire(ctx: &Context, signer: &SignerHandle) -> Result<Option<SignerLease>, WorkError> {
    let address = signer.address_bytes();
    // A standby sends its node no request until the lease is free.
    if signers::is_taken(&ctx.pool.get().await?, &address, ctx.instance).await? {
        return Ok(None);
    }
    let counted = ctx
        .chain
        .nonce(&signer.address(), chain::BlockRef::Latest)
        .await?;
    let mut client = ctx.pool.get().await?;
    signers::ensure(&client, &address, counted).await?;
    let tx = client.begin().await?;
    let won = signers::acquire(&tx, &address, ctx.instance, ctx.tuning.lease).await?;
    if won.is_some() {
        signers::raise_nonce(&tx, &address, counted).await?;
    }
    tx.commit().await?;
    Ok(won)
}
