//! Broadcasts signed bytes. Callers store the bytes first.

use ethers::providers::{Middleware, RpcError};
use ethers::types::Bytes;

use crate::classify::{Rejection, SendErrorKind, classify};
use crate::client::ChainClient;
use crate::hash::TxHash;

/// A node's answer to raw bytes. None of these means that the transaction failed: only the chain decides that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The node's pool took it.
    Accepted,
    /// The node's pool held it already.
    AlreadyKnown,
    /// This node rejects it now.
    Rejected(Rejection),
    /// No answer, or an unknown one: the bytes may be in any pool.
    Unknown(String),
}

impl SendOutcome {
    /// Metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::AlreadyKnown => "already_known",
            Self::Rejected(rejection) => rejection.kind(),
            Self::Unknown(_) => "unknown",
        }
    }
}

impl ChainClient {
    /// Broadcasts raw bytes whose hash is `hash`. Safe to repeat.
    pub async fn send_raw(&self, raw: &[u8], hash: TxHash) -> SendOutcome {
        match self
            .provider()
            .send_raw_transaction(Bytes::from(raw.to_vec()))
            .await
        {
            Ok(pending) if pending.tx_hash().0 == *hash.as_bytes() => SendOutcome::Accepted,
            Ok(pending) => SendOutcome::Unknown(format!(
                "the node speaks of another hash, {:?}",
                pending.tx_hash()
            )),
            Err(error) => match error.as_error_response().map(|answer| classify(&answer.message)) {
                Some(Some(SendErrorKind::AlreadyKnown)) => SendOutcome::AlreadyKnown,
                Some(Some(SendErrorKind::Rejected(rejection))) => SendOutcome::Rejected(rejection),
                _ => SendOutcome::Unknown(error.to_string().chars().take(300).collect()),
            },
        }
    }
}
