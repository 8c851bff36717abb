//! What signs.

use std::sync::Arc;
use std::time::Duration;

use domain::command::Command;

use super::Assembly;
use crate::rules::lateness::WaitingSince;
use crate::signing::call::CallBuilder;
use crate::signing::draft::Drafter;
use crate::signing::refused::RefusalSettler;
use crate::signing::{
    BatchBuilder, BatchSigner, Canceller, CommandQueue, NonceManager, Planner, Replacer, SignerLeaseHolder,
    Simulator, StrandedIntents, Submitter,
};
use crate::state::SignerHandle;

impl Assembly {
    pub fn submitter(&self, signer: &Arc<SignerHandle>) -> Submitter {
        Submitter {
            signer: signer.clone(),
            linger: self.tuning.linger,
            queues: Command::ALL.map(|command| self.command_queue(signer, command)),
        }
    }

    pub fn command_queue(&self, signer: &Arc<SignerHandle>, command: Command) -> CommandQueue {
        CommandQueue {
            batches: Arc::new(self.batch_signer(signer)),
            command,
            gate: self.gates.signer_gate(signer, command, &self.halts),
            gates: self.gates.clone(),
            spacing: self.tuning.spacing,
            last_batch_at: None,
        }
    }

    pub fn batch_signer(&self, signer: &Arc<SignerHandle>) -> BatchSigner {
        BatchSigner {
            signer: signer.clone(),
            view: self.view.clone(),
            simulator: Simulator {
                pool: self.pool.clone(),
                chain: self.chain.clone(),
                signer: signer.clone(),
                planner: self.planner(signer),
                final_blocks: self.final_blocks(),
            },
            builder: self.batch_builder(signer),
            broadcaster: self.broadcaster(),
            canceller: self.canceller(),
        }
    }

    fn batch_builder(&self, signer: &Arc<SignerHandle>) -> BatchBuilder {
        let calls = CallBuilder {
            chain_id: self.policy.chain.chain_id,
            escrow: self.chain.escrow(),
            fees: self.tuning.fees(),
        };
        BatchBuilder {
            pool: self.pool.clone(),
            drafter: Drafter {
                pool: self.pool.clone(),
                signer: signer.clone(),
                planner: self.planner(signer),
                calls,
            },
            planner: self.planner(signer),
            calls,
            refusals: RefusalSettler {
                outcomes: self.outcomes.clone(),
                gates: self.gates.clone(),
            },
        }
    }

    fn planner(&self, signer: &Arc<SignerHandle>) -> Planner {
        Planner {
            signer: signer.clone(),
            verifier: self.verifier.clone(),
            limits: self.tuning.batch_limits(),
            fees: self.tuning.fees(),
            max_in_flight: self.tuning.max_in_flight,
            payment_window_seconds: self.policy.windows.payment_seconds,
        }
    }

    fn canceller(&self) -> Canceller {
        Canceller {
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            view: self.view.clone(),
            outcomes: self.outcomes.clone(),
        }
    }

    pub fn replacer(&self, signer: &Arc<SignerHandle>) -> Replacer {
        Replacer {
            pool: self.pool.clone(),
            signer: signer.clone(),
            chain_id: self.policy.chain.chain_id,
            fees: self.tuning.fees(),
        }
    }

    pub fn nonce_manager(&self, signer: &Arc<SignerHandle>) -> NonceManager {
        NonceManager {
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            signer: signer.clone(),
            replacer: self.replacer(signer),
            broadcaster: self.broadcaster(),
            max_in_flight: self.tuning.max_in_flight,
            replace_after: self.tuning.replace_after,
            waits: WaitingSince::default(),
            capped_nonce: None,
        }
    }

    pub fn signer_lease(&self, signer: &Arc<SignerHandle>) -> SignerLeaseHolder {
        SignerLeaseHolder {
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            instance: self.instance,
            signer: signer.clone(),
            keeper: self.lease_keeper(),
        }
    }

    pub fn stranded_intents(&self) -> StrandedIntents {
        StrandedIntents {
            pool: self.pool.clone(),
            signers: self.signers.clone(),
            canceller: self.canceller(),
            payment_window: Duration::from_secs(self.policy.windows.payment_seconds),
        }
    }
}
