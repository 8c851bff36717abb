//! Who may use a key, and who takes in blocks: leases on the database's clock. A second executor waits for them.

use std::sync::Arc;
use std::time::Duration;

use runtime::Stop;
use storage::executor::signers::{self, Lease};
use storage::executor::{blocks, follower, heartbeat};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::context::{Context, WorkError};
use crate::key::Key;
use crate::observe;

/// Leases for which a follower may take in nothing while another executor sees more.
const STANDS_STILL: u32 = 3;

/// Wins, keeps and finally gives back the lease of a key. The key works only while it is held.
pub async fn run(ctx: Context, key: Arc<Key>, stop: Stop) {
    observe::lease_missing(&key.address());
    let keep = || keep(&ctx, &key, Instant::now());
    hold(&ctx, &stop, keep, || key.lost_lease()).await;
    let Some(lease) = key.lease_now() else { return };
    key.lost_lease();
    let released = async { signers::release(&ctx.pool.get().await?, &lease).await };
    if let Err(error) = released.await {
        tracing::warn!(error = %runtime::chain(&error), "the lease was not given back; it ends by itself");
    }
}

/// The same for the right to take in blocks.
pub async fn follow(ctx: Context, stop: Stop) {
    let turn = Mutex::new(Turn::new(Instant::now()));
    let keep = async || keep_following(&ctx, &mut *turn.lock().await, Instant::now()).await;
    hold(&ctx, &stop, keep, || ctx.lost_following()).await;
    let Some(lease) = ctx.following_now() else { return };
    ctx.lost_following();
    let released = async { follower::release(&ctx.pool.get().await?, &lease).await };
    if let Err(error) = released.await {
        tracing::warn!(error = %runtime::chain(&error), "the lease was not given back; it ends by itself");
    }
}

async fn hold<F>(ctx: &Context, stop: &Stop, keep: impl Fn() -> F, lose: impl Fn())
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
                tracing::warn!(error = %runtime::chain(&error), "a lease cannot be kept");
                // Not heard of for so long, it may be another's already; until then every write checks it.
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

/// A token that is gone from us, or hangs, may sign for another executor: a key that gave no signature for so long as a
/// lease lasts is given back, and not taken again before it gives one (its breaker asks for it).
pub async fn keep(ctx: &Context, key: &Key, now: Instant) -> Result<(), WorkError> {
    let mute = key.mute_for(now);
    if let Some(lease) = key.lease_now() {
        let client = ctx.pool.get().await?;
        if mute.is_some_and(|mute| mute >= ctx.tuning.lease) {
            // Ours no more before it can be another's; a lease that cannot be given back ends by itself.
            key.lost_lease();
            observe::key_given_back(&key.address());
            signers::release(&client, &lease).await?;
            return Ok(());
        }
        if signers::renew(&client, &lease, ctx.tuning.lease).await? {
            return Ok(());
        }
        observe::lease_lost(&key.address());
        key.lost_lease();
    }
    if mute.is_some() {
        return Ok(());
    }
    if let Some(lease) = acquire(ctx, key).await? {
        observe::lease_won(&key.address(), &lease);
        key.lease.send_replace(Some(lease));
        key.work.notify_one();
    }
    Ok(())
}

/// How the one who takes in blocks gets on.
#[derive(Debug)]
pub struct Turn {
    /// The last block taken in, and since when it is the last.
    tip: Option<u64>,
    since: Instant,
    /// Until then it is the others' turn.
    aside: Instant,
}

impl Turn {
    pub fn new(now: Instant) -> Self {
        Self {
            tip: None,
            since: now,
            aside: now,
        }
    }

    /// Whether nothing was taken in for so long.
    fn stands_still(&mut self, tip: Option<u64>, now: Instant, patience: Duration) -> bool {
        if self.tip != tip {
            (self.tip, self.since) = (tip, now);
        }
        now - self.since >= patience
    }
}

/// A node that is dead or frozen must not hold up every key: when another executor's node goes on without ours, it is
/// that executor's turn.
pub async fn keep_following(ctx: &Context, turn: &mut Turn, now: Instant) -> Result<(), WorkError> {
    let (client, hold) = (ctx.pool.get().await?, ctx.tuning.lease);
    if let Some(lease) = ctx.following_now() {
        let tip = blocks::recent(&client, 1).await?.pop().map(|tip| tip.number);
        if turn.stands_still(tip, now, hold * STANDS_STILL)
            && heartbeat::another_sees_past(&client, ctx.instance, tip.unwrap_or_default()).await?
        {
            tracing::error!(
                tip,
                "our node stands still and another's does not: we take in no blocks for now"
            );
            *turn = Turn::new(now + hold);
            follower::release(&client, &lease).await?;
            ctx.lost_following();
            return Ok(());
        }
        if follower::renew(&client, &lease, hold).await? {
            return Ok(());
        }
        ctx.lost_following();
    }
    if now < turn.aside {
        return Ok(());
    }
    if let Some(lease) = follower::acquire(&client, ctx.instance, hold).await? {
        tracing::info!(fencing_token = lease.fencing_token, "we take in the blocks");
        *turn = Turn::new(now);
        ctx.following.send_replace(Some(lease));
    }
    Ok(())
}

/// Takes the lease if it is free. The signer's next nonce is then the greater of its row's and the chain's count: a row
/// may be missing, or come from a backup that is older than transactions the chain has.
pub async fn acquire(ctx: &Context, key: &Key) -> Result<Option<Lease>, WorkError> {
    let signer = key.bytes();
    // A standby asks its node nothing until it is its turn.
    if signers::is_taken(&ctx.pool.get().await?, &signer, ctx.instance).await? {
        return Ok(None);
    }
    let counted = ctx.chain.nonce(&key.address(), chain::At::Latest).await?;
    let mut client = ctx.pool.get().await?;
    signers::ensure(&client, &signer, counted).await?;
    let tx = client.begin().await?;
    let won = signers::acquire(&tx, &signer, ctx.instance, ctx.tuning.lease).await?;
    if won.is_some() {
        signers::raise_nonce(&tx, &signer, counted).await?;
    }
    tx.commit().await?;
    Ok(won)
}
