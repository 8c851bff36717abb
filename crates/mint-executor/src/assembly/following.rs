//! What follows the chain.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Assembly;
use crate::following::follow::Position;
use crate::following::resend::Sends;
use crate::following::{
    Applier, Follower, FollowerLeaseHolder, FollowerTenure, FollowingTask, Gatherer, HeadWatcher,
    OutcomeRedrive, Receipts, Resender, Rewinder,
};

impl Assembly {
    pub fn following_task(&self) -> FollowingTask {
        FollowingTask {
            follower: self.follower(),
            watcher: self.head_watcher(),
            rewinder: self.rewinder(),
            view: self.view.clone(),
            gates: self.gates.clone(),
            signers: self.signers.clone(),
            poll: self.tuning.poll,
        }
    }

    pub fn follower(&self) -> Follower {
        let chain_rules = &self.policy.chain;
        Follower {
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            clock: self.clock.clone(),
            view: self.view.clone(),
            signers: self.signers.clone(),
            gatherer: Gatherer {
                pool: self.pool.clone(),
                chain: self.chain.clone(),
                receipts: Receipts {
                    pool: self.pool.clone(),
                    chain: self.chain.clone(),
                },
                final_blocks: self.final_blocks(),
            },
            applier: Applier {
                pool: self.pool.clone(),
                outcomes: self.outcomes.clone(),
                gates: self.gates.clone(),
                opener: self.verifier.opener.clone(),
                clock: self.clock.clone(),
                watch_blocks_past_final: chain_rules.watch_blocks_past_final,
            },
            rewinder: self.rewinder(),
            resender: Resender {
                pool: self.pool.clone(),
                broadcaster: self.broadcaster(),
                sends: Sends::default(),
            },
            start_depth: chain_rules.confirmations + chain_rules.watch_blocks_past_final,
            position: Position::default(),
        }
    }

    pub fn rewinder(&self) -> Rewinder {
        Rewinder {
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            confirmations: self.policy.chain.confirmations,
        }
    }

    pub fn head_watcher(&self) -> HeadWatcher {
        HeadWatcher {
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            view: self.view.clone(),
            gates: self.gates.clone(),
            signers: self.signers.clone(),
            refusals_read_to: None,
        }
    }

    pub fn follower_lease(&self) -> FollowerLeaseHolder {
        FollowerLeaseHolder {
            pool: self.pool.clone(),
            instance: self.instance,
            view: self.view.clone(),
            keeper: self.lease_keeper(),
            tenure: Mutex::new(FollowerTenure::new(Instant::now())),
        }
    }

    pub fn outcome_redrive(&self) -> OutcomeRedrive {
        OutcomeRedrive {
            pool: self.pool.clone(),
            view: self.view.clone(),
            outcomes: self.outcomes.clone(),
            unacknowledged_for: Duration::from_secs(self.policy.windows.redrive_seconds),
        }
    }
}
