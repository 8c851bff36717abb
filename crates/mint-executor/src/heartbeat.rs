//! Publishes what this executor sees of the chain, in its heartbeat row and its metrics.

use std::time::Duration;

use chain::inspect::SignerStatus;
use runtime::Stop;
use storage::executor::attempts::{self, OpenAttempts};
use storage::executor::heartbeat::{self, ExecutorHeartbeat};
use storage::executor::items;
use tokio::time::Instant;

use crate::context::{Context, ExecutorProblem, NodeAnswer};
use crate::key::{self, SignerHandle};
use crate::observe;

/// Balances are read once in this many heartbeats.
const LOOK_EVERY: u32 = 15;
/// Age up to which a node's answer still counts.
const RECENT: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(3);

pub async fn run(ctx: Context, stop: Stop) {
    let mut beats = 0_u32;
    loop {
        let beat = see(&ctx).await;
        observe::beat(&beat);
        let written = async { heartbeat::record(&ctx.pool.get().await?, ctx.instance, &beat).await };
        if let Err(error) = written.await {
            tracing::warn!(error = %runtime::chain(&error), "the heartbeat was not written");
        }
        if beats.is_multiple_of(LOOK_EVERY) {
            measure(&ctx).await;
        }
        beats = beats.wrapping_add(1);
        if !stop.sleep(ctx.tuning.heartbeat).await {
            break;
        }
    }
    let left = async { heartbeat::remove(&ctx.pool.get().await?, ctx.instance).await };
    if let Err(error) = left.await {
        tracing::debug!(error = %runtime::chain(&error), "the heartbeat row stays until it is swept");
    }
}

/// Uses the follower's last answer. A standby asks its node itself, because nothing else tells it that its node is back.
async fn see(ctx: &Context) -> ExecutorHeartbeat {
    let last = *ctx.seen.borrow();
    let seen = match last.filter(|seen| seen.at.elapsed() < RECENT) {
        Some(seen) => Some(seen),
        None => ask(ctx).await.inspect(|_| {
            if ctx.following_now().is_none() {
                ctx.breakers.rpc.success();
            }
        }),
    };
    ExecutorHeartbeat {
        rpc_connected: seen.is_some(),
        rpc_latency_ms: seen.and_then(|seen| u32::try_from(seen.latency.as_millis()).ok()),
        head: seen.map(|seen| seen.head),
        blocked_reason: told(ctx.problem.borrow().as_ref()),
    }
}

/// The gateway accepts nothing while it reads a problem here, so one that ends by itself is left out: a restart of the
/// executor, or a node that is away, must not stop the gateway.
fn told(problem: Option<&ExecutorProblem>) -> Option<String> {
    match problem? {
        ExecutorProblem::NotChecked(_) => None,
        ExecutorProblem::WrongDeployment(what) | ExecutorProblem::OtherChain(what) => Some(what.clone()),
    }
}

async fn ask(ctx: &Context) -> Option<NodeAnswer> {
    let started = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, ctx.chain.latest_header()).await;
    let head = answer.ok()?.ok()?.number;
    Some(NodeAnswer {
        at: Instant::now(),
        latency: started.elapsed(),
        head,
    })
}

/// Sets the gauges of balances, nonce gaps and backlog, and opens a signer's breaker before a command fails.
async fn measure(ctx: &Context) {
    if let Some(deployment) = ctx.breakers.deployment() {
        match ctx.chain.escrow_status(&deployment).await {
            Ok(condition) => observe::condition(&condition),
            Err(error) => tracing::debug!(error = %runtime::chain(&error), "the condition cannot be read"),
        }
    }
    for key in &ctx.keys {
        match ctx.chain.signer_status(&key.address()).await {
            Ok(status) => foresee(ctx, key, &status),
            Err(error) => {
                tracing::debug!(error = %runtime::chain(&error), "a signer's standing cannot be read");
            }
        }
    }
    let counted = async {
        let client = ctx.pool.get().await?;
        let open = attempts::open_summary(&client).await?;
        // A signer without a row has nothing open, and its series exists from the start.
        let fresh = ctx.keys.iter().map(|key| key.bytes());
        let fresh = fresh.filter(|key| open.iter().all(|one| one.signer != *key));
        for one in open.iter().copied().chain(fresh.map(OpenAttempts::none)) {
            observe::in_flight(&one);
        }
        items::open_counts(&client).await
    };
    match counted.await {
        Ok(items) => observe::backlog(&items),
        Err(error) => tracing::debug!(error = %runtime::chain(&error), "the backlog cannot be counted"),
    }
}

fn foresee(ctx: &Context, key: &SignerHandle, status: &SignerStatus) {
    observe::signer_balance(&key.address(), status.balance, ctx.tuning.min_signer_balance);
    if let Err(why) = key::judge(status, ctx.tuning.min_signer_balance) {
        key.breaker.trip(&why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_problem_that_needs_a_person_is_published() {
        assert_eq!(told(None), None);
        assert_eq!(told(Some(&ExecutorProblem::NotChecked("no answer".into()))), None);
        let wrong = ExecutorProblem::WrongDeployment("the treasury is another".into());
        assert_eq!(told(Some(&wrong)).as_deref(), Some("the treasury is another"));
    }
}
