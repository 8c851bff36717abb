//! The chain as this process sees it: the block that work is built on, the node's last answer, the right to take in
//! blocks, and the deployment that the check at the start found.

use std::sync::Arc;
use std::time::Duration;

use chain::inspect::Deployment;
use chain::query::BlockHeader;
use parking_lot::Mutex;
use storage::executor::follower::FollowerLease;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::WorkError;

/// When the node answered, how fast, and with which head.
#[derive(Clone, Copy, Debug)]
pub struct NodeAnswer {
    pub at: Instant,
    pub latency: Duration,
    pub head: u64,
}

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ChainView(Arc<SharedView>);

#[derive(Debug, Default)]
struct SharedView {
    /// The last ingested block, by this or another executor; `None` while the follower catches up.
    head: watch::Sender<Option<BlockHeader>>,
    node_answer: watch::Sender<Option<NodeAnswer>>,
    /// `None` while another executor follows the chain.
    follower_lease: watch::Sender<Option<FollowerLease>>,
    deployment: Mutex<Option<Deployment>>,
}

impl ChainView {
    pub fn head(&self) -> Option<BlockHeader> {
        *self.0.head.borrow()
    }

    /// The head that work is built on; an error while the follower catches up.
    pub fn known_head(&self) -> Result<BlockHeader, WorkError> {
        self.head().ok_or(WorkError::NoHead)
    }

    pub fn heads(&self) -> watch::Receiver<Option<BlockHeader>> {
        self.0.head.subscribe()
    }

    /// Work is built on this block from now on.
    pub fn set_head(&self, head: BlockHeader) {
        self.0.head.send_replace(Some(head));
    }

    /// Nothing is built on a block that the chain may have left.
    pub fn forget_head(&self) {
        self.0.head.send_replace(None);
    }

    /// Sets the head unless it is that block already; true when it changed.
    pub fn change_head(&self, head: Option<BlockHeader>) -> bool {
        self.0.head.send_if_modified(|known| {
            let changed = hash_of(*known) != hash_of(head);
            *known = head;
            changed
        })
    }

    /// The node's last answer.
    pub fn node_answer(&self) -> Option<NodeAnswer> {
        *self.0.node_answer.borrow()
    }

    pub fn node_answers(&self) -> watch::Receiver<Option<NodeAnswer>> {
        self.0.node_answer.subscribe()
    }

    /// Records that the node named this head, `asked` being the time of the question.
    pub fn record_answer(&self, head: &BlockHeader, asked: Instant) {
        self.0.node_answer.send_replace(Some(NodeAnswer {
            at: Instant::now(),
            latency: asked.elapsed(),
            head: head.number,
        }));
    }

    /// The follower's lease as last renewed; every writing transaction checks it again.
    pub fn follower_lease(&self) -> Option<FollowerLease> {
        *self.0.follower_lease.borrow()
    }

    pub fn hold_follower_lease(&self, lease: FollowerLease) {
        self.0.follower_lease.send_replace(Some(lease));
    }

    /// Another executor may follow the chain now, so our view of the chain may be old.
    pub fn drop_follower_lease(&self) {
        self.forget_head();
        self.0
            .follower_lease
            .send_if_modified(|lease| lease.take().is_some());
    }

    /// A write under that lease was refused. A lease acquired since then stays.
    pub fn drop_follower_lease_if(&self, old: &FollowerLease) {
        if self.follower_lease() == Some(*old) {
            self.drop_follower_lease();
        }
    }

    /// The deployment that the check at the start found, for the probes.
    pub fn deployment(&self) -> Option<Deployment> {
        self.0.deployment.lock().clone()
    }

    pub fn set_deployment(&self, deployment: Deployment) {
        *self.0.deployment.lock() = Some(deployment);
    }
}

fn hash_of(header: Option<BlockHeader>) -> Option<chain::BlockHash> {
    header.map(|header| header.hash)
}
