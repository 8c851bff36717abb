//! Who may use the signer: a lease on the database's clock. A second executor waits for it.

use runtime::Stop;
use storage::executor::signers::{self, Lease};
use tokio::time::Instant;

use crate::context::{Context, WorkError};
use crate::observe;

/// Wins, keeps and finally gives back the lease. Work runs only while it is held.
pub async fn run(ctx: Context, stop: Stop) {
    let mut sure = Instant::now();
    loop {
        let wait = match keep(&ctx).await {
            Ok(()) => {
                sure = Instant::now();
                ctx.tuning.lease / 4
            }
            Err(error) => {
                tracing::warn!(error = %runtime::chain(&error), "the signer's lease cannot be kept");
                // Not heard of for so long, it may be another's already; until then every write checks it.
                if sure.elapsed() > ctx.tuning.lease {
                    ctx.lost_lease();
                }
                ctx.tuning.lease / 8
            }
        };
        if !stop.sleep(wait).await {
            break;
        }
    }
    give_back(&ctx).await;
}

async fn keep(ctx: &Context) -> Result<(), WorkError> {
    if ctx.problem.borrow().is_some() {
        ctx.lost_lease();
        return Ok(());
    }
    let client = ctx.pool.get().await?;
    if let Some(lease) = ctx.lease_now() {
        if signers::renew(&client, &lease, ctx.tuning.lease).await? {
            return Ok(());
        }
        observe::lease_lost();
        ctx.lost_lease();
    }
    if let Some(lease) = acquire(ctx).await? {
        observe::lease_won(&lease);
        ctx.lease.send_replace(Some(lease));
        ctx.work.notify_one();
    }
    Ok(())
}

/// Takes the lease if it is free. The signer's next nonce is then the greater of its row's and the chain's count: a row
/// may be missing, or come from a backup that is older than transactions the chain has.
pub async fn acquire(ctx: &Context) -> Result<Option<Lease>, WorkError> {
    let signer = ctx.signer_bytes();
    let counted = ctx.chain.nonce(&ctx.signer.address(), chain::At::Latest).await?;
    let mut client = ctx.pool.get().await?;
    signers::ensure(&client, &signer, ctx.tuning.shard, counted).await?;
    let tx = client.begin().await?;
    let won = signers::acquire(&tx, &signer, ctx.instance, ctx.tuning.lease).await?;
    if won.is_some() {
        signers::raise_nonce(&tx, &signer, counted).await?;
    }
    tx.commit().await?;
    Ok(won)
}

async fn give_back(ctx: &Context) {
    let Some(lease) = ctx.lease_now() else { return };
    ctx.lost_lease();
    let released = async { signers::release(&ctx.pool.get().await?, &lease).await };
    if let Err(error) = released.await {
        tracing::warn!(error = %runtime::chain(&error), "the lease was not given back; it ends by itself");
    }
}
