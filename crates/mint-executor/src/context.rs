//! The state and the services that all modules of the executor share.

use std::sync::Arc;
use std::time::Duration;

use chain::ChainClient;
use chain::query::BlockHeader;
use domain::clock::{Clock, IdSource};
use domain::command::Command;
use domain::item_result::BreakerCause;
use domain::policy::Policy;
use messaging::{Publisher, Sealer};
use runtime::relay::RelayNotifier;
use storage::executor::follower::FollowerLease;
use storage::{Pool, StorageError};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::breakers::Breakers;
use crate::settings::Tuning;
use crate::signer_handle::SignerHandle;
use crate::verify::Verifier;

#[derive(Clone)]
pub struct Context(Arc<ContextParts>);

pub struct ContextParts {
    /// Identifies this process among others with the same keys.
    pub instance: Uuid,
    pub pool: Pool,
    pub chain: ChainClient,
    /// At least one; each signer works on its share of the intents.
    pub signers: Vec<Arc<SignerHandle>>,
    pub policy: Policy,
    pub tuning: Tuning,
    pub verifier: Verifier,
    pub sealer: Sealer,
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub breakers: Breakers,
    /// Wakes the outbox relay.
    pub relay: RelayNotifier,
    /// `None` while another executor follows the chain.
    pub follower_lease: watch::Sender<Option<FollowerLease>>,
    /// The last ingested block, by this or another executor; `None` while the follower catches up.
    pub head: watch::Sender<Option<BlockHeader>>,
    /// The node's last answer.
    pub node_answer: watch::Sender<Option<NodeAnswer>>,
    /// Why this executor does no work, if it does none.
    pub problem: watch::Sender<Option<ExecutorProblem>>,
}

/// Why an executor does no work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorProblem {
    /// The deployment is not checked yet, or the node does not answer. This ends by itself; work accepted meanwhile waits.
    #[error("{0}")]
    NotChecked(String),
    /// The deployment differs from the policy. A person must act: work accepted now could not be done.
    #[error("{0}")]
    WrongDeployment(String),
    /// The chain has none of the blocks that we ingested. The endpoint may be on another chain, so it is asked again.
    #[error("{0}")]
    OtherChain(String),
}

/// When the node answered, how fast, and with which head.
#[derive(Clone, Copy, Debug)]
pub struct NodeAnswer {
    pub at: Instant,
    pub latency: Duration,
    pub head: u64,
}

impl Context {
    pub fn new(shared: ContextParts) -> Self {
        Self(Arc::new(shared))
    }

    /// A signer of this process.
    pub fn signer(&self, address: &[u8; 20]) -> Option<&Arc<SignerHandle>> {
        self.signers
            .iter()
            .find(|signer| signer.address_bytes() == *address)
    }

    /// Wakes every signer, because an item may be ready.
    pub fn wake(&self) {
        self.signers
            .iter()
            .for_each(|signer| signer.work_available.notify_one());
    }

    /// True after a reorganisation below the oldest block that we keep.
    pub fn is_on_other_chain(&self) -> bool {
        matches!(*self.problem.borrow(), Some(ExecutorProblem::OtherChain(_)))
    }

    /// Nothing is built on a block that the chain may have left.
    pub fn forget_head(&self) {
        self.head.send_replace(None);
    }

    /// The follower's lease as last renewed; every writing transaction checks it again.
    pub fn current_follower_lease(&self) -> Option<FollowerLease> {
        *self.follower_lease.borrow()
    }

    /// Another executor may follow the chain now, so our view of the chain may be old.
    pub fn drop_follower_lease(&self) {
        self.head.send_replace(None);
        self.follower_lease
            .send_if_modified(|lease| lease.take().is_some());
    }

    /// A write under that lease was refused. A lease acquired since then stays.
    pub fn drop_follower_lease_if(&self, old: &FollowerLease) {
        if self.current_follower_lease() == Some(*old) {
            self.drop_follower_lease();
        }
    }

    /// The chain refused a command of `signer` for now; `amount` is what one item of it needed.
    pub fn trip_breaker(&self, signer: &[u8; 20], (command, cause, amount): (Command, BreakerCause, u128)) {
        if !concerns_one_signer(cause) {
            self.breakers.trip(command, cause.name(), amount);
            return;
        }
        // Another executor learns of refusals of its signers from the rows (`confirm::head_watcher`).
        let Some(signer) = self.signer(signer) else { return };
        if cause == BreakerCause::Unauthorized {
            signer.role_and_balance.trip("the signer lacks EXECUTOR_ROLE");
        } else {
            signer.trip_mint_allowance(cause.name(), amount);
        }
    }
}

/// The refusal is about the signer, not about the command.
const fn concerns_one_signer(cause: BreakerCause) -> bool {
    matches!(cause, BreakerCause::Unauthorized | BreakerCause::RateLimited)
}

impl std::ops::Deref for Context {
    type Target = ContextParts;

    fn deref(&self) -> &ContextParts {
        &self.0
    }
}

/// Why a unit of work ended early.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Chain(#[from] chain::ChainError),
    #[error(transparent)]
    Signer(#[from] chain::SignerError),
    #[error("the lease is not ours")]
    NoLease,
    #[error("an outcome cannot be sealed: {0}")]
    Seal(#[from] messaging::SealError),
    #[error(transparent)]
    Transition(#[from] domain::intent::IllegalTransition),
    #[error("{0}")]
    FeeAboveCap(#[from] chain::fees::FeeAboveCap),
    /// The fork lies below the blocks that we keep: a person must act.
    #[error("a reorganisation goes deeper than block {0}, the oldest that we keep")]
    ReorgTooDeep(u64),
    /// A row names the zero address: somebody edited it.
    #[error("an attempt is signed by nobody")]
    NoSigner,
    #[error("the head is unknown yet")]
    NoHead,
}

impl WorkError {
    /// An endpoint gave no answer, or not a good one: asked again later, it may.
    pub const fn is_of_an_endpoint(&self) -> bool {
        matches!(self, Self::Chain(_))
    }

    /// The work waits until the market's fee is below the cap.
    pub const fn fee_above_cap(&self) -> Option<&chain::fees::FeeAboveCap> {
        match self {
            Self::FeeAboveCap(above) => Some(above),
            _ => None,
        }
    }
}
