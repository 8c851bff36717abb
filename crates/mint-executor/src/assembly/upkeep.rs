//! What looks after the process.

use std::time::Duration;

use domain::address::Address;

use super::Assembly;
use crate::upkeep::{DeploymentCheck, EndpointComparison, Heartbeat, InboxPurge, Probes};

impl Assembly {
    pub fn deployment_check(&self, treasury: Address) -> DeploymentCheck {
        DeploymentCheck {
            chain: self.chain.clone(),
            view: self.view.clone(),
            gates: self.gates.clone(),
            signers: self.signers.clone(),
            policy: self.policy.clone(),
            treasury,
            min_signer_balance: self.tuning.min_signer_balance,
        }
    }

    pub fn endpoint_comparison(&self) -> EndpointComparison {
        EndpointComparison {
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            chain_id: self.policy.chain.chain_id,
            confirmations: self.policy.chain.confirmations,
            block_time: Duration::from_millis(self.policy.chain.block_time_ms),
        }
    }

    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            instance: self.instance,
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            view: self.view.clone(),
            gates: self.gates.clone(),
            signers: self.signers.clone(),
            min_signer_balance: self.tuning.min_signer_balance,
            every: self.tuning.heartbeat,
        }
    }

    pub fn inbox_purge(&self) -> InboxPurge {
        InboxPurge {
            pool: self.pool.clone(),
        }
    }

    pub fn probes(&self) -> Probes {
        Probes {
            chain: self.chain.clone(),
            view: self.view.clone(),
            gates: self.gates.clone(),
            signers: self.signers.clone(),
            min_signer_balance: self.tuning.min_signer_balance,
        }
    }
}
