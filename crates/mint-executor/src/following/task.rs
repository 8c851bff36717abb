//! What this process does with the chain: it follows it while it holds the follower's lease, and otherwise watches what
//! the follower ingested.

use std::time::Duration;

use runtime::Stop;
use storage::executor::follower::FollowerLease;

use super::follow::Follower;
use super::head_watcher::HeadWatcher;
use super::reorg::Rewinder;
use crate::error::WorkError;
use crate::observe;
use crate::state::{ChainView, ExecutorProblem, Gates, SignerHandles};

const STANDBY_POLL: Duration = Duration::from_millis(100);
const AFTER_FAILURE: Duration = Duration::from_millis(300);
/// How often a chain without our blocks is checked for them again.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3);

pub struct FollowingTask {
    pub follower: Follower,
    pub watcher: HeadWatcher,
    pub rewinder: Rewinder,
    pub view: ChainView,
    pub gates: Gates,
    pub signers: SignerHandles,
    /// Maximum time between two polls of the head.
    pub poll: Duration,
}

impl FollowingTask {
    /// Until the stop.
    pub async fn run(mut self, stop: Stop) {
        loop {
            let wait = self.once().await;
            if !stop.sleep(wait).await {
                return;
            }
        }
    }

    /// Returns how long to wait until the next time.
    async fn once(&mut self) -> Duration {
        if self.gates.is_on_other_chain() {
            self.recheck_chain().await;
            return RECHECK_INTERVAL;
        }
        match self.view.follower_lease() {
            None => self.watch().await,
            Some(lease) => self.follow(&lease).await,
        }
    }

    async fn watch(&mut self) -> Duration {
        self.follower.restart();
        if self.signers.any_lease().is_some() {
            match self.watcher.poll().await {
                Ok(()) => self.node_answered(),
                Err(error) => self.failed(&error),
            }
        }
        self.poll.max(STANDBY_POLL)
    }

    async fn follow(&mut self, lease: &FollowerLease) -> Duration {
        self.watcher.restart();
        match self.follower.poll(lease).await {
            Ok(()) => {
                self.gates.node().success();
                self.follower.wait(self.poll)
            }
            Err(error) => {
                if matches!(error, WorkError::NoLease) {
                    self.view.drop_follower_lease_if(lease);
                }
                self.failed(&error);
                self.follower.reset();
                AFTER_FAILURE
            }
        }
    }

    /// An endpoint on another chain may have been recognised or repaired since; then work resumes.
    async fn recheck_chain(&self) {
        match self.rewinder.has_our_blocks().await {
            Ok(true) => {
                tracing::warn!("the chain has our blocks again: work resumes");
                self.gates.set_problem(None);
            }
            Ok(false) => {}
            Err(error) => observe::round_failed("confirm", &error),
        }
    }

    /// The node of an executor that does not follow is there again.
    fn node_answered(&self) {
        self.gates.node().success();
    }

    fn failed(&self, error: &WorkError) {
        observe::round_failed("confirm", error);
        match error {
            WorkError::Chain(_) => self.gates.node().failure("the chain does not answer"),
            WorkError::ReorgTooDeep(_) => {
                let problem = ExecutorProblem::OtherChain(error.to_string());
                self.gates.set_problem(Some(&problem));
            }
            _ => {}
        }
    }
}
