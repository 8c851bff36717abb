//! What looks after the process.

use domain::address::Address;

use super::Assembly;
use crate::upkeep::{DeploymentCheck, EndpointComparison, Heartbeat, Probes};

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
            beats: 0,
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
