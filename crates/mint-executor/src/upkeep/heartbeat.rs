//! Publishes what this executor sees of the chain, in its heartbeat row and its metrics.

use std::time::Duration;

use chain::ChainClient;
use chain::inspect::SignerStatus;
use runtime::Periodic;
use storage::executor::attempts::{self, OpenAttempts};
use storage::executor::heartbeat::{self, ExecutorHeartbeat};
use storage::executor::items;
use storage::{Pool, StorageError};
use tokio::time::Instant;
use uuid::Uuid;

use crate::observe;
use crate::rules::conditions::can_sign;
use crate::state::{ChainView, ExecutorProblem, Gates, NodeAnswer, SignerHandle, SignerHandles};

/// Balances are read once in this many heartbeats.
const BALANCES_EVERY: u32 = 15;
/// Age up to which a node's answer still counts.
const ANSWER_VALID_FOR: Duration = Duration::from_secs(4);
const NODE_TIMEOUT: Duration = Duration::from_secs(3);

pub struct Heartbeat {
    /// Identifies this process.
    pub instance: Uuid,
    pub pool: Pool,
    pub chain: ChainClient,
    pub view: ChainView,
    pub gates: Gates,
    pub signers: SignerHandles,
    /// Below this a signer counts as out of gas, wei.
    pub min_signer_balance: u128,
    /// Number of heartbeats so far.
    pub beats: u32,
}

impl Periodic for Heartbeat {
    type Error = StorageError;

    async fn run(&mut self) -> Result<(), StorageError> {
        let beat = self.current().await;
        observe::beat(&beat);
        let written = async { heartbeat::record(&self.pool.get().await?, self.instance, &beat).await };
        let written = written.await;
        if self.beats.is_multiple_of(BALANCES_EVERY) {
            self.record_gauges().await;
        }
        self.beats = self.beats.wrapping_add(1);
        written
    }

    async fn end(&mut self) {
        let left = async { heartbeat::remove(&self.pool.get().await?, self.instance).await };
        if let Err(error) = left.await {
            tracing::debug!(error = %domain::error_chain(&error), "the heartbeat row stays until it is swept");
        }
    }
}

impl Heartbeat {
    /// Uses the follower's last answer. A standby asks its node itself, because nothing else tells it that its node is back.
    async fn current(&self) -> ExecutorHeartbeat {
        let last = self.view.node_answer();
        let seen = match last.filter(|seen| seen.at.elapsed() < ANSWER_VALID_FOR) {
            Some(seen) => Some(seen),
            None => self.ask_node().await.inspect(|_| {
                if self.view.follower_lease().is_none() {
                    self.gates.node().success();
                }
            }),
        };
        ExecutorHeartbeat {
            rpc_connected: seen.is_some(),
            rpc_latency_ms: seen.and_then(|seen| u32::try_from(seen.latency.as_millis()).ok()),
            head: seen.map(|seen| seen.head),
            blocked_reason: published_problem(self.gates.problem().as_ref()),
        }
    }

    async fn ask_node(&self) -> Option<NodeAnswer> {
        let started = Instant::now();
        let answer = tokio::time::timeout(NODE_TIMEOUT, self.chain.latest_header()).await;
        let head = answer.ok()?.ok()?.number;
        Some(NodeAnswer {
            at: Instant::now(),
            latency: started.elapsed(),
            head,
        })
    }

    /// Sets the gauges of balances, nonce gaps and backlog, and opens a signer's breaker before a command fails.
    async fn record_gauges(&self) {
        if let Some(deployment) = self.view.deployment() {
            match self.chain.escrow_status(&deployment).await {
                Ok(condition) => observe::escrow_status(&condition),
                Err(error) => {
                    tracing::debug!(error = %domain::error_chain(&error), "the condition cannot be read");
                }
            }
        }
        for signer in self.signers.iter() {
            match self.chain.signer_status(&signer.address()).await {
                Ok(status) => self.check_signer(signer, &status),
                Err(error) => {
                    tracing::debug!(error = %domain::error_chain(&error), "a signer's standing cannot be read");
                }
            }
        }
        let counted = async {
            let client = self.pool.get().await?;
            let open = attempts::open_summary(&client).await?;
            // A signer without a row has nothing open, and its series exists from the start.
            let fresh = self.signers.addresses().into_iter();
            let fresh = fresh.filter(|signer| open.iter().all(|attempts| attempts.signer != *signer));
            for attempts in open.iter().copied().chain(fresh.map(OpenAttempts::none)) {
                observe::in_flight(&attempts);
            }
            items::open_counts(&client).await
        };
        match counted.await {
            Ok(items) => observe::backlog(&items),
            Err(error) => {
                tracing::debug!(error = %domain::error_chain(&error), "the backlog cannot be counted");
            }
        }
    }

    fn check_signer(&self, signer: &SignerHandle, status: &SignerStatus) {
        observe::signer_balance(&signer.address(), status.balance, self.min_signer_balance);
        if let Err(why) = can_sign(status, self.min_signer_balance) {
            signer.role_and_balance().trip(&why);
        }
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
