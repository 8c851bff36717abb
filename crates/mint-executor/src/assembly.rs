//! Puts the executor's rooms together: each gets what it uses, and nothing else.

mod following;
mod signing;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use chain::{ChainClient, Signer};
use domain::clock::{Clock, IdSource};
use domain::policy::Policy;
use messaging::{Opener, Publisher, Sealer};
use runtime::KeyDirectory;
use runtime::halts::Halts;
use runtime::relay::RelayNotifier;
use storage::Pool;
use uuid::Uuid;

use crate::attempts::Broadcaster;
use crate::commands::{DeadLetterPublisher, Intake};
use crate::settings::Tuning;
use crate::settling::{FinalBlocks, Outcomes};
use crate::state::{ChainView, ExecutorProblem, Gates, LeaseKeeper, SignerHandles};
use crate::work_items::Verifier;

/// What an executor is made from.
pub struct ExecutorParts {
    /// Identifies this process among others with the same keys.
    pub instance: Uuid,
    pub pool: Pool,
    pub chain: ChainClient,
    /// At least one.
    pub signers: Vec<Arc<dyn Signer>>,
    pub policy: Policy,
    pub tuning: Tuning,
    pub keys: KeyDirectory,
    pub opener: Opener,
    pub sealer: Sealer,
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    /// Wakes the outbox relay.
    pub relay: RelayNotifier,
    pub halts: Arc<Halts>,
    /// Why the executor does no work at first, if it does none.
    pub problem: Option<ExecutorProblem>,
}

/// Builds the rooms over one state.
pub struct Assembly {
    pub instance: Uuid,
    pub pool: Pool,
    pub chain: ChainClient,
    pub policy: Policy,
    pub tuning: Tuning,
    pub view: ChainView,
    pub gates: Gates,
    pub signers: SignerHandles,
    pub halts: Arc<Halts>,
    verifier: Verifier,
    outcomes: Outcomes,
    publisher: Publisher,
    clock: Arc<dyn Clock>,
}

impl Assembly {
    pub fn new(parts: ExecutorParts) -> Self {
        let signers = SignerHandles::new(parts.signers);
        let verifier = Verifier {
            opener: parts.opener,
            keys: parts.keys,
            chain_id: parts.policy.chain.chain_id,
            escrow: parts.chain.escrow(),
        };
        let outcomes = Outcomes {
            sealer: parts.sealer,
            clock: parts.clock.clone(),
            ids: parts.ids,
            relay: parts.relay,
        };
        Self {
            instance: parts.instance,
            pool: parts.pool,
            chain: parts.chain,
            policy: parts.policy,
            tuning: parts.tuning,
            view: ChainView::default(),
            gates: Gates::new(signers.clone(), parts.problem),
            signers,
            halts: parts.halts,
            verifier,
            outcomes,
            publisher: parts.publisher,
            clock: parts.clock,
        }
    }

    pub fn intake(&self) -> Intake {
        Intake {
            pool: self.pool.clone(),
            verifier: self.verifier.clone(),
            gates: self.gates.clone(),
            signers: self.signers.clone(),
        }
    }

    pub fn dead_letters(&self) -> DeadLetterPublisher {
        DeadLetterPublisher {
            pool: self.pool.clone(),
            view: self.view.clone(),
            publisher: self.publisher.clone(),
            clock: self.clock.clone(),
        }
    }

    fn final_blocks(&self) -> FinalBlocks {
        FinalBlocks {
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            rule: self.policy.chain.finality,
            confirmations: self.policy.chain.confirmations,
        }
    }

    pub fn broadcaster(&self) -> Broadcaster {
        Broadcaster {
            pool: self.pool.clone(),
            chain: self.chain.clone(),
            gates: self.gates.clone(),
            signers: self.signers.clone(),
        }
    }

    /// Time between two comparisons of the endpoints.
    pub fn comparison_period(&self) -> Duration {
        let block_time = Duration::from_millis(self.policy.chain.block_time_ms);
        block_time.clamp(Duration::from_secs(1), Duration::from_secs(5))
    }

    fn lease_keeper(&self) -> LeaseKeeper {
        LeaseKeeper {
            gates: self.gates.clone(),
            lease: self.tuning.lease,
        }
    }

    /// Time between two rounds of what is sent again.
    pub fn redrive_period(&self) -> Duration {
        let unacknowledged_for = Duration::from_secs(self.policy.windows.redrive_seconds);
        (unacknowledged_for / 4).clamp(Duration::from_millis(500), Duration::from_secs(30))
    }
}
