//! The ways in which a request ends without a result.

use ethers::providers::{JsonRpcError, ProviderError, RpcError};

/// One endpoint gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointFailure {
    #[error("no connection")]
    Connect,
    #[error("no answer in time")]
    Timeout,
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("the answer is too large")]
    TooLarge,
    #[error("the answer is not JSON-RPC, or answers another question")]
    Malformed,
    #[error("the connection broke off")]
    Broken,
    #[error("the endpoint limits our rate")]
    RateLimited,
}

impl EndpointFailure {
    /// Metric label.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status(_) => "http_status",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Broken => "broken",
            Self::RateLimited => "rate_limited",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the RPC transport cannot be set up: {0}")]
    Setup(String),
    #[error("no RPC endpoint answers: {0}")]
    Unavailable(EndpointFailure),
    #[error("the node answered with an error: {0}")]
    Node(JsonRpcError),
    #[error("the node's answer has another shape than expected")]
    Decode(#[source] serde_json::Error),
}

impl RpcError for TransportError {
    fn as_error_response(&self) -> Option<&JsonRpcError> {
        match self {
            Self::Node(error) => Some(error),
            _ => None,
        }
    }

    fn as_serde_error(&self) -> Option<&serde_json::Error> {
        match self {
            Self::Decode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TransportError> for ProviderError {
    fn from(error: TransportError) -> Self {
        Self::JsonRpcClientError(Box::new(error))
    }
}
