//! Follows the chain: once per block it gathers facts, decides, and applies the result in one transaction.

mod apply;
pub(crate) mod effects;
mod follow;
mod gather;
pub mod head_watcher;
pub mod nonces;
pub mod reorg;
pub mod replace;
pub mod resend;

use std::time::Duration;

use runtime::Stop;

pub(crate) use apply::write_effects;
pub use follow::Follower;
use head_watcher::HeadWatcher;

use crate::context::{Context, ExecutorProblem, WorkError};
use crate::observe;

const STANDBY_POLL: Duration = Duration::from_millis(100);
const AFTER_FAILURE: Duration = Duration::from_millis(300);
/// How often a chain without our blocks is checked for them again.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Until the stop, follows the chain while this process holds the follower's lease, and otherwise watches what the
/// follower ingested.
pub async fn run(ctx: Context, stop: Stop) {
    let mut follower = Follower::default();
    let mut watcher = HeadWatcher::default();
    loop {
        if ctx.is_on_other_chain() {
            recheck_chain(&ctx).await;
            if !stop.sleep(RECHECK_INTERVAL).await {
                return;
            }
            continue;
        }
        let wait = match ctx.current_follower_lease() {
            None => {
                follower = Follower::default();
                if ctx.signers.iter().any(|signer| signer.current_lease().is_some()) {
                    match watcher.poll(&ctx).await {
                        Ok(()) => node_answered(&ctx),
                        Err(error) => failed(&ctx, &error),
                    }
                }
                ctx.tuning.poll.max(STANDBY_POLL)
            }
            Some(held) => {
                watcher = HeadWatcher::default();
                match follower.poll(&ctx, &held).await {
                    Ok(()) => {
                        ctx.breakers.rpc.success();
                        follower.wait(ctx.tuning.poll)
                    }
                    Err(error) => {
                        if matches!(error, WorkError::NoLease) {
                            ctx.drop_follower_lease_if(&held);
                        }
                        failed(&ctx, &error);
                        follower.reset();
                        AFTER_FAILURE
                    }
                }
            }
        };
        if !stop.sleep(wait).await {
            return;
        }
    }
}

/// An endpoint on another chain may have been recognised or repaired since; then work resumes.
async fn recheck_chain(ctx: &Context) {
    match reorg::has_our_blocks(ctx).await {
        Ok(true) => {
            tracing::warn!("the chain has our blocks again: work resumes");
            ctx.problem.send_replace(None);
        }
        Ok(false) => {}
        Err(error) => observe::round_failed("confirm", &error),
    }
}

/// The node of an executor that does not follow is there again.
fn node_answered(ctx: &Context) {
    ctx.breakers.rpc.success();
}

fn failed(ctx: &Context, error: &WorkError) {
    observe::round_failed("confirm", error);
    match error {
        WorkError::Chain(_) => ctx.breakers.rpc.failure("the chain does not answer"),
        WorkError::ReorgTooDeep(_) => {
            ctx.problem
                .send_replace(Some(ExecutorProblem::OtherChain(error.to_string())));
        }
        _ => {}
    }
}
