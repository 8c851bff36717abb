//! The client of one chain and one escrow; every other module sends its requests through it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::address::Address;
use ethers::abi::{AbiDecode, AbiEncode};
use ethers::providers::{Middleware, Provider};
use ethers::types::transaction::eip2718::TypedTransaction;
use ethers::types::{BlockId, BlockNumber, Bytes, Eip1559TransactionRequest};
use secrecy::SecretString;

use crate::convert::{to_block_id, to_h160};
use crate::error::ChainError;
use crate::hash::BlockHash;
use crate::transport::{Transport, TransportError};

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
