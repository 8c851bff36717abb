//! What all rooms of the executor share.

use std::sync::Arc;
use std::time::Duration;

use chain::Chain;
use chain::watch::Header;
use domain::clock::{Clock, IdSource};
use domain::policy::Policy;
use messaging::{Publisher, Sealer};
use runtime::relay::Wake;
use storage::executor::follower::Following;
use storage::executor::items::WorkCommand;
use storage::{Pool, StorageError};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::breakers::Breakers;
use crate::key::Key;
use crate::settings::Tuning;
use crate::verify::Verifier;

/// Refusals that concern one key; all others concern the command.
const FORBIDDEN: &str = crate::decide::Ending::Forbidden.name();
const RATE_LIMITED: &str = chain::ItemOutcome::RateLimited.name();

#[derive(Clone)]
pub struct Context(Arc<Shared>);

pub struct Shared {
    /// This process among others on the same keys.
    pub instance: Uuid,
    pub pool: Pool,
    pub chain: Chain,
    /// At least one; each works on its share of the intents.
    pub keys: Vec<Arc<Key>>,
    pub policy: Policy,
    pub tuning: Tuning,
    pub verifier: Verifier,
    pub sealer: Sealer,
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub breakers: Breakers,
    /// Wakes the outbox relay.
    pub relay: Wake,
    /// `None` while another executor takes in the blocks.
    pub following: watch::Sender<Option<Following>>,
    /// The last block taken in, here or by another executor; `None` while somebody catches up.
    pub head: watch::Sender<Option<Header>>,
    /// The last answer of the node.
    pub seen: watch::Sender<Option<Seen>>,
    /// Why this executor does not work.
    pub problem: watch::Sender<Option<Problem>>,
}

/// Why an executor does nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not looked at yet, or the node does not answer. It passes: what is accepted meanwhile waits.
    #[error("{0}")]
    Unknown(String),
    /// This is not what we were set up for. It needs a person: what were accepted now could not be served.
    #[error("{0}")]
    Wrong(String),
    /// No block that we took in is on the chain any more. It may be the endpoint that is on another, so it is asked again.
    #[error("{0}")]
    OtherChain(String),
}

/// When the node last answered, how fast, and with which head.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub at: Instant,
    pub latency: Duration,
    pub head: u64,
}

impl Context {
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// A key of this process.
    pub fn key(&self, address: &[u8; 20]) -> Option<&Arc<Key>> {
        self.keys.iter().find(|key| key.bytes() == *address)
    }

    /// Something may be ready.
    pub fn wake(&self) {
        self.keys.iter().for_each(|key| key.work.notify_one());
    }

    /// A fork went deeper than all that we keep.
    pub fn lost_the_chain(&self) -> bool {
        matches!(*self.problem.borrow(), Some(Problem::OtherChain(_)))
    }

    /// The right to take in blocks, as last heard of; every writing transaction checks it again.
    pub fn following_now(&self) -> Option<Following> {
        *self.following.borrow()
    }

    /// Another executor takes in the blocks (or nobody knows): what we hold of the chain may be old.
    pub fn lost_following(&self) {
        self.head.send_replace(None);
        self.following.send_if_modified(|lease| lease.take().is_some());
    }

    /// Blocks could not be taken in under that lease. One won since stays.
    pub fn lost_following_of(&self, old: &Following) {
        if self.following_now() == Some(*old) {
            self.lost_following();
        }
    }

    /// The chain refused a command of `signer` for now; `amount` is what one item of it needed.
    pub fn refused(&self, signer: &[u8; 20], (command, why, amount): (WorkCommand, &'static str, u128)) {
        match why {
            FORBIDDEN | RATE_LIMITED => {
                // Another executor's key hears of it there (`confirm::watch`).
                let Some(key) = self.key(signer) else { return };
                if why == FORBIDDEN {
                    key.breaker.trip("the signer lacks EXECUTOR_ROLE");
                } else {
                    key.rationed(why, amount);
                }
            }
            _ => self.breakers.trip(command, why, amount),
        }
    }
}

impl std::ops::Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Why a round of work ended early.
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
    TooDear(#[from] chain::fees::TooDear),
    /// Deeper than the blocks we keep: a person must look.
    #[error("a reorganisation goes deeper than block {0}, the oldest we watch")]
    TooDeep(u64),
    /// A row names the zero address: somebody edited it.
    #[error("an attempt is signed by nobody")]
    NoSigner,
    #[error("the head is unknown yet")]
    NoHead,
}
