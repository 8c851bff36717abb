//! The client of one chain and one escrow; every other module sends its requests through it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::address::Address;
use ethers::abi::{AbiDecode, AbiEncode};
use ethers::providers::{Middleware, Provider, ProviderError};
use ethers::types::transaction::eip2718::TypedTransaction;
use ethers::types::{BlockId, BlockNumber, Bytes, Eip1559TransactionRequest};
use secrecy::SecretString;

use crate::convert::{to_block_id, to_h160};
use crate::hash::BlockHash;
use crate::transport::{Transport, TransportError, means_unknown_block};

/// The RPC endpoints, with the limits of one request.
pub struct RpcConfig {
    pub urls: Vec<SecretString>,
    /// Limit for one request to one endpoint.
    pub timeout: Duration,
    pub max_response_bytes: usize,
}

impl RpcConfig {
    /// The logs of a full block, the largest answer that we request, fit into this.
    pub const DEFAULT_MAX_RESPONSE_BYTES: usize = 32 * 1024 * 1024;

    pub fn new(urls: Vec<SecretString>, timeout: Duration) -> Self {
        Self {
            urls,
            timeout,
            max_response_bytes: Self::DEFAULT_MAX_RESPONSE_BYTES,
        }
    }
}

/// The block whose state a call reads. Decisions about money name a block by its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockRef {
    Latest,
    /// The block that the chain itself reports as final.
    Finalized,
    Number(u64),
    Hash(BlockHash),
}

impl BlockRef {
    pub(crate) fn block_id(self) -> BlockId {
        match self {
            Self::Latest => BlockId::Number(BlockNumber::Latest),
            Self::Finalized => BlockId::Number(BlockNumber::Finalized),
            Self::Number(number) => BlockId::Number(number.into()),
            Self::Hash(hash) => to_block_id(hash),
        }
    }
}

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
        use ethers::providers::RpcError;
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

/// Clones share connections and the health of the endpoints.
#[derive(Clone)]
pub struct ChainClient {
    transport: Transport,
    provider: Arc<Provider<Transport>>,
    escrow: Address,
}

impl fmt::Debug for ChainClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("escrow", &self.escrow)
            .finish_non_exhaustive()
    }
}

impl ChainClient {
    /// Opens no connection; the first request does.
    pub fn new(config: &RpcConfig, escrow: Address) -> Result<Self, ChainError> {
        let transport = Transport::new(&config.urls, config.timeout, config.max_response_bytes)
            .map_err(|error: TransportError| ChainError::Setup(error.to_string()))?;
        Ok(Self::with_transport(transport, escrow))
    }

    pub(crate) fn with_transport(transport: Transport, escrow: Address) -> Self {
        let provider = Arc::new(Provider::new(transport.clone()));
        Self {
            transport,
            provider,
            escrow,
        }
    }

    /// A client of the same chain that sends every request to one endpoint, for answers that must fit together.
    #[must_use]
    pub fn pinned(&self) -> Self {
        Self::with_transport(self.transport.pinned(), self.escrow)
    }

    pub fn escrow(&self) -> Address {
        self.escrow
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn provider(&self) -> &Provider<Transport> {
        &self.provider
    }

    pub(crate) async fn call_raw(
        &self,
        to: &Address,
        data: Vec<u8>,
        at: BlockRef,
    ) -> Result<Bytes, ChainError> {
        let request = Eip1559TransactionRequest::new().to(to_h160(to)).data(data);
        self.provider
            .call(&TypedTransaction::Eip1559(request), Some(at.block_id()))
            .await
            .map_err(|error| ChainError::from_provider("eth_call", &error))
    }

    /// A view call, decoded.
    pub(crate) async fn view<R: AbiDecode>(
        &self,
        to: &Address,
        call: impl AbiEncode,
        at: BlockRef,
    ) -> Result<R, ChainError> {
        let answer = self.call_raw(to, call.encode(), at).await?;
        R::decode(answer).map_err(|error| ChainError::bad_answer("eth_call", error))
    }
}
