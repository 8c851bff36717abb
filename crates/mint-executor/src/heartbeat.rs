//! Publishes what this executor sees of the chain, in its heartbeat row and its metrics.

use std::time::Duration;

use chain::inspect::SignerStatus;
use runtime::Stop;
use storage::executor::attempts::{self, OpenAttempts};
use storage::executor::heartbeat::{self, ExecutorHeartbeat};
use storage::executor::items;
use tokio::time::Instant;

use crate::context::{Context, ExecutorProblem, NodeAnswer};
use crate::observe;
use crate::signer_handle::{self, SignerHandle};

/// Balances are read once in this many heartbeats.
const BALANCES_EVERY: u32 = 15;
/// Age up to which a node's answer still counts.
const ANSWER_VALID_FOR: Duration = Duration::from_secs(4);
const NODE_TIMEOUT: Duration = Duration::from_secs(3);

pub async fn run(ctx: Context, stop: Stop) {
    let mut beats = 0_u32;
    loop {
        let beat = current_heartbeat(&ctx).await;
        observe::beat(&beat);
        let written = async { heartbeat::record(&ctx.pool.get().await?, ctx.instance, &beat).await };
        if let Err(error) = written.await {
            tracing::warn!(error = %domain::error_chain(&error), "the heartbeat was not written");
        }
        if beats.is_multiple_of(BALANCES_EVERY) {
            record_gauges(&ctx).await;
        }
        beats = beats.wrapping_add(1);
        if !stop.sleep(ctx.tuning.heartbeat).await {
            break;
        }
    }
    let left = async { heartbeat::remove(&ctx.pool.get().await?, ctx.instance).await };
    if let Err(error) = left.await {
        tracing::debug!(error = %domain::error_chain(&error), "the heartbeat row stays until it is swept");
    }
}

/// Uses the follower's last answer. A standby asks its node itself, because nothing else tells it that its node is back.
async fn current_heartbeat(ctx: &Context) -> ExecutorHeartbeat {
    let last = *ctx.node_answer.borrow();
    let seen = match last.filter(|seen| seen.at.elapsed() < ANSWER_VALID_FOR) {
        Some(seen) => Some(seen),
        None => ask_node(ctx).await.inspect(|_| {
            if ctx.current_follower_lease().is_none() {
                ctx.breakers.rpc.success();
            }
        }),
    };
    ExecutorHeartbeat {
        rpc_connected: seen.is_some(),
        rpc_latency_ms: seen.and_then(|seen| u32::try_from(seen.latency.as_millis()).ok()),
        head: seen.map(|seen| seen.head),
        blocked_reason: published_problem(ctx.problem.borrow().as_ref()),
    }
}

/// The gateway accepts nothing while it reads a problem here, so one that ends by itself is left out: a restart of the
/// executor, or a node that is away, must not stop the gateway.
fn published_problem(problem: Option<&ExecutorProblem>) -> Option<String> {
    match problem? {
        ExecutorProblem::NotChecked(_) => None,
        ExecutorProblem::WrongDeployment(what) | ExecutorProblem::OtherChain(what) => Some(what.clone()),
    }
}

async fn ask_node(ctx: &Context) -> Option<NodeAnswer> {
    let started = Instant::now();
    let answer = tokio::time::timeout(NODE_TIMEOUT, ctx.chain.latest_header()).await;
    let head = answer.ok()?.ok()?.number;
    Some(NodeAnswer {
        at: Instant::now(),
        latency: started.elapsed(),
        head,
    })
}

/// Sets the gauges of balances, nonce gaps and backlog, and opens a signer's breaker before a command fails.
async fn record_gauges(ctx: &Context) {
    if let Some(deployment) = ctx.breakers.deployment() {
        match ctx.chain.escrow_status(&deployment).await {
            Ok(condition) => observe::escrow_status(&condition),
            Err(error) => {
                tracing::debug!(error = %domain::error_chain(&error), "the condition cannot be read");
            }
        }
    }
    for signer in &ctx.signers {
        match ctx.chain.signer_status(&signer.address()).await {
            Ok(status) => check_signer(ctx, signer, &status),
            Err(error) => {
                tracing::debug!(error = %domain::error_chain(&error), "a signer's standing cannot be read");
            }
        }
    }
    let counted = async {
        let client = ctx.pool.get().await?;
        let open = attempts::open_summary(&client).await?;
        // A signer without a row has nothing open, and its series exists from the start.
        let fresh = ctx.signers.iter().map(|signer| signer.address_bytes());
        let fresh = fresh.filter(|signer| open.iter().all(|attempts| attempts.signer != *signer));
        for attempts in open.iter().copied().chain(fresh.map(OpenAttempts::none)) {
            observe::in_flight(&attempts);
        }
        items::open_counts(&client).await
    };
    match counted.await {
        Ok(items) => observe::backlog(&items),
        Err(error) => tracing::debug!(error = %domain::error_chain(&error), "the backlog cannot be counted"),
    }
}

fn check_signer(ctx: &Context, signer: &SignerHandle, status: &SignerStatus) {
    observe::signer_balance(&signer.address(), status.balance, ctx.tuning.min_signer_balance);
    if let Err(why) = signer_handle::can_sign(status, ctx.tuning.min_signer_balance) {
        signer.role_and_balance.trip(&why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_problem_that_needs_a_person_is_published() {
        assert_eq!(published_problem(None), None);
        assert_eq!(
            published_problem(Some(&ExecutorProblem::NotChecked("no answer".into()))),
            None
        );
        let wrong = ExecutorProblem::WrongDeployment("the treasury is another".into());
        assert_eq!(
            published_problem(Some(&wrong)).as_deref(),
            Some("the treasury is another")
        );
    }
}
