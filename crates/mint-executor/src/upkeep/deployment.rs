//! Compares the deployment on chain with the policy before anything is sent. On a difference the executor stays up,
//! reports the problem in its heartbeat, and does no work.

use std::time::Duration;

use chain::{BlockRef, ChainClient, ChainError};
use domain::address::Address;
use domain::policy::Policy;
use runtime::Stop;

use crate::rules::conditions::can_sign;
use crate::rules::deployment::differences;
use crate::state::{ChainView, ExecutorProblem, Gates, SignerHandles};

const RETRY_INTERVAL: Duration = Duration::from_secs(3);

pub struct DeploymentCheck {
    pub chain: ChainClient,
    pub view: ChainView,
    pub gates: Gates,
    pub signers: SignerHandles,
    pub policy: Policy,
    pub treasury: Address,
    /// Below this a signer counts as out of gas, wei.
    pub min_signer_balance: u128,
}

impl DeploymentCheck {
    /// Checks until the deployment is correct; true once it is, false at the stop.
    pub async fn wait_until_correct(&self, stop: &Stop) -> bool {
        loop {
            let problem = match self.find_problems().await {
                Ok(problems) if problems.is_empty() => None,
                Ok(problems) => Some(ExecutorProblem::WrongDeployment(problems.join("; "))),
                Err(error) => Some(ExecutorProblem::NotChecked(format!(
                    "the deployment cannot be read: {error}"
                ))),
            };
            let changed = self.gates.set_problem(problem.as_ref());
            match problem {
                None => return true,
                Some(problem) if changed => tracing::error!(%problem, "refusing to work"),
                Some(_) => {}
            }
            if !stop.sleep(RETRY_INTERVAL).await {
                return false;
            }
        }
    }

    async fn find_problems(&self) -> Result<Vec<String>, ChainError> {
        let chain_id = self.chain.chain_id().await?;
        if chain_id != self.policy.chain.chain_id {
            return Ok(vec![format!(
                "the node's chain id is {chain_id}, the policy's {}",
                self.policy.chain.chain_id
            )]);
        }
        if !self
            .chain
            .has_code(&self.chain.escrow(), BlockRef::Latest)
            .await?
        {
            return Ok(vec![format!(
                "there is no contract at ESCROW_ADDRESS {}",
                self.chain.escrow()
            )]);
        }
        let found = match self.chain.deployment().await {
            Ok(found) => found,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                return Ok(vec![format!(
                    "the contract at ESCROW_ADDRESS is no escrow of ours: {error}"
                )]);
            }
        };
        let problems = differences(&self.policy, self.treasury, &found);
        self.view.set_deployment(found);
        // A signer without the role or without gas blocks its own share only.
        for signer in self.signers.iter() {
            let status = self.chain.signer_status(&signer.address()).await?;
            if let Err(why) = can_sign(&status, self.min_signer_balance) {
                tracing::error!(signer = %signer.address(), why, "a signing key cannot work");
                signer.role_and_balance().trip(&why);
            }
        }
        Ok(problems)
    }
}
