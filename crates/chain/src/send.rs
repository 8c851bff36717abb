//! Handing signed bytes to the network. Called only with bytes that are stored already.

use ethers::providers::{Middleware, RpcError};
use ethers::types::Bytes;

use crate::classify::{Refusal, Rejection, classify};
use crate::client::Chain;
use crate::hash::TxHash;

/// What a node said about raw bytes. None of these says that a transaction failed: only the chain can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// In the node's pool.
    Accepted,
    /// It was there before.
    AlreadyKnown,
    /// This node does not want it now.
    Rejected(Rejection),
    /// No answer, or one we do not understand: it may be anywhere.
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

impl Chain {
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
                Some(Some(Refusal::AlreadyKnown)) => SendOutcome::AlreadyKnown,
                Some(Some(Refusal::Rejected(rejection))) => SendOutcome::Rejected(rejection),
                _ => SendOutcome::Unknown(error.to_string().chars().take(300).collect()),
            },
        }
    }
}
