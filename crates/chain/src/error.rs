//! What went wrong with a request, said so that the caller knows what to do.

use std::fmt;

use ethers::providers::{ProviderError, RpcError};

use crate::transport::means_unknown_block;

/// Why a request got no usable answer; each variant says what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error("the RPC client cannot be set up: {0}")]
    Setup(String),
    /// The caller waits and tries again.
    #[error("no RPC endpoint answers: {0}")]
    Unavailable(String),
    /// The node does not know that block (yet, or any more): the caller asks about another one.
    #[error("the node has no such block")]
    UnknownBlock,
    /// The called contract refused.
    #[error("the call was reverted with 0x{}", hex::encode(.0))]
    Reverted(Vec<u8>),
    #[error("the node refused {method}: {message}")]
    Refused { method: &'static str, message: String },
    #[error("the answer to {method} makes no sense: {detail}")]
    BadAnswer { method: &'static str, detail: String },
}

impl ChainError {
    pub(crate) fn bad_answer(method: &'static str, detail: impl fmt::Display) -> Self {
        Self::BadAnswer {
            method,
            detail: detail.to_string(),
        }
    }

    pub(crate) fn from_provider(method: &'static str, error: &ProviderError) -> Self {
        if let Some(answer) = error.as_error_response() {
            let message = answer.message.to_lowercase();
            if let Some(data) = answer.as_revert_data().filter(|_| message.contains("revert")) {
                return Self::Reverted(data.to_vec());
            }
            if means_unknown_block(&message) {
                return Self::UnknownBlock;
            }
            return Self::Refused {
                method,
                message: answer.message.chars().take(300).collect(),
            };
        }
        if let ProviderError::JsonRpcClientError(inner) = error
            && inner.as_serde_error().is_none()
        {
            return Self::Unavailable(inner.to_string());
        }
        Self::bad_answer(method, error)
    }

    /// The request can be repeated later; the failure says nothing about the chain.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::UnknownBlock)
    }
}
