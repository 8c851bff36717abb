//! What all rooms of the executor share.

use std::sync::Arc;
use std::time::Duration;

use chain::watch::Header;
use chain::{Chain, Signer};
use domain::clock::{Clock, IdSource};
use domain::policy::Policy;
use messaging::{Publisher, Sealer};
use runtime::relay::Wake;
use storage::executor::signers::Lease;
use storage::{Pool, StorageError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::breakers::Breakers;
use crate::settings::Tuning;
use crate::verify::Verifier;

#[derive(Clone)]
pub struct Context(Arc<Shared>);

pub struct Shared {
    /// This process among others on the same key.
    pub instance: Uuid,
    pub pool: Pool,
    pub chain: Chain,
    pub signer: Arc<dyn Signer>,
    pub policy: Policy,
    pub tuning: Tuning,
    pub verifier: Verifier,
    pub sealer: Sealer,
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub breakers: Breakers,
    /// Wakes the submitter: something may be ready.
    pub work: Notify,
    /// Wakes the outbox relay.
    pub relay: Wake,
    /// `None` while another executor holds the signer.
    pub lease: watch::Sender<Option<Lease>>,
    /// The last block taken in.
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

    pub fn signer_bytes(&self) -> [u8; 20] {
        *self.signer.address().as_bytes()
    }

    /// The lease, as last heard of; every writing transaction checks it again.
    pub fn lease_now(&self) -> Option<Lease> {
        *self.lease.borrow()
    }

    /// The lease turned out to be lost: stop working until it is won again.
    pub fn lost_lease(&self) {
        self.head.send_replace(None);
        self.lease.send_if_modified(|lease| lease.take().is_some());
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
    #[error("the signer's lease is not ours")]
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
    #[error("the head is unknown yet")]
    NoHead,
}
