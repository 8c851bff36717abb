//! Reads blocks, logs, receipts, balances and the escrow's records. Decisions about money name a block by its hash.

use domain::address::Address;
use domain::ids::IntentId;
use domain::money::BaseUnits;
use domain::policy::{ChainPolicy, FinalityRule};
pub use domain::settlement::IntentStatus;
use ethers::providers::Middleware;
use ethers::types as eth;

use crate::bindings::mint_escrow::{GetIntentsCall, Intent};
use crate::client::{BlockRef, ChainClient};
use crate::convert::{amount, block_hash, from_h160, to_h160, to_u64};
use crate::error::ChainError;
use crate::events::{self, EscrowLog};
use crate::hash::{BlockHash, TxHash};

/// Nodes limit the gas of a call: geth to 50 million, anvil to a block's. One record costs about 13,000.
const MAX_RECORDS_PER_CALL: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    pub number: u64,
    pub hash: BlockHash,
    pub parent: BlockHash,
    /// Unix seconds, the chain's own time.
    pub timestamp: u64,
    /// Wei per gas; 0 on a chain without EIP-1559.
    pub base_fee: u128,
    pub gas_limit: u64,
}

/// The escrow's record of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentOnChain {
    pub user: Address,
    pub depositor: Address,
    pub amount: BaseUnits,
    pub status: IntentStatus,
    /// Unix seconds.
    pub expires_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionReceipt {
    pub tx_hash: TxHash,
    pub block_number: u64,
    pub block_hash: BlockHash,
    pub succeeded: bool,
    pub gas_used: u64,
}

impl ChainClient {
    /// The head of the endpoint that answers.
    pub async fn latest_header(&self) -> Result<BlockHeader, ChainError> {
        let header = self.header_at(BlockRef::Latest).await?;
        header.ok_or_else(|| ChainError::bad_answer("eth_getBlockByNumber", "there is no latest block"))
    }

    /// The block that the chain reports as final; `None` while there is none.
    pub async fn finalized_header(&self) -> Result<Option<BlockHeader>, ChainError> {
        self.header_at(BlockRef::Finalized).await
    }

    /// The last block that is final under the policy, seen from that head; `None` while there is none.
    pub async fn final_block_number(
        &self,
        policy: &ChainPolicy,
        head: u64,
    ) -> Result<Option<u64>, ChainError> {
        match policy.finality {
            FinalityRule::Confirmations => Ok(head.checked_sub(policy.confirmations)),
            FinalityRule::FinalizedTag => Ok(self.finalized_header().await?.map(|header| header.number)),
        }
    }

    /// `None` past the head.
    pub async fn header(&self, number: u64) -> Result<Option<BlockHeader>, ChainError> {
        let header = self.header_at(BlockRef::Number(number)).await?;
        match header {
            Some(header) if header.number != number => Err(ChainError::bad_answer(
                "eth_getBlockByNumber",
                "another block than asked for",
            )),
            other => Ok(other),
        }
    }

    async fn header_at(&self, at: BlockRef) -> Result<Option<BlockHeader>, ChainError> {
        let method = "eth_getBlockByNumber";
        let answer = self.provider().get_block(at.block_id()).await;
        let block = match answer {
            Ok(block) => block,
            Err(error) => match ChainError::from_provider(method, &error) {
                ChainError::UnknownBlock => None,
                other => return Err(other),
            },
        };
        block
            .map(|block| {
                read_header(&block).ok_or_else(|| ChainError::bad_answer(method, "a field is missing"))
            })
            .transpose()
    }

    /// All logs of the escrow in one block, in block order, with one request whoever caused them.
    pub async fn escrow_logs(&self, block: BlockHash) -> Result<Vec<EscrowLog>, ChainError> {
        let mut first = None;
        for one in self.each_endpoint() {
            match one.escrow_logs_from_endpoint(block).await {
                Ok(logs) => return Ok(logs),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| ChainError::Unavailable("no endpoint was asked".to_owned())))
    }

    /// Sends the request to a single endpoint.
    async fn escrow_logs_from_endpoint(&self, block: BlockHash) -> Result<Vec<EscrowLog>, ChainError> {
        let method = "eth_getLogs";
        let filter = eth::Filter::new()
            .address(to_h160(&self.escrow()))
            .at_block_hash(eth::H256(*block.as_bytes()));
        let logs = self
            .provider()
            .get_logs(&filter)
            .await
            .map_err(|e| ChainError::from_provider(method, &e))?;
        // Some nodes return an empty list for a block that they do not know, so the same node must know the block.
        if logs.is_empty() && self.header_at(BlockRef::Hash(block)).await?.is_none() {
            return Err(ChainError::UnknownBlock);
        }
        let wanted = to_h160(&self.escrow());
        let mut read = logs
            .into_iter()
            .map(|log| {
                let ours = log.address == wanted && log.block_hash.map(block_hash) == Some(block);
                let log = if ours { events::decode_log(log) } else { None };
                log.ok_or_else(|| ChainError::bad_answer(method, "a log of another block or contract"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        read.sort_by_key(|log| log.log_index);
        Ok(read)
    }

    /// The account's count of mined transactions, which is its next nonce.
    pub async fn nonce(&self, account: &Address, at: BlockRef) -> Result<u64, ChainError> {
        let method = "eth_getTransactionCount";
        let count = self
            .provider()
            .get_transaction_count(to_h160(account), Some(at.block_id()))
            .await;
        let count = count.map_err(|error| ChainError::from_provider(method, &error))?;
        to_u64(count).ok_or_else(|| ChainError::bad_answer(method, "a count past 2^64"))
    }

    /// Native balance, wei.
    pub async fn balance(&self, account: &Address, at: BlockRef) -> Result<u128, ChainError> {
        let method = "eth_getBalance";
        let balance = self
            .provider()
            .get_balance(to_h160(account), Some(at.block_id()))
            .await;
        amount(
            method,
            balance.map_err(|error| ChainError::from_provider(method, &error))?,
        )
    }

    /// `None` while the transaction is not mined.
    pub async fn receipt(&self, hash: TxHash) -> Result<Option<TransactionReceipt>, ChainError> {
        let method = "eth_getTransactionReceipt";
        let receipt = self
            .provider()
            .get_transaction_receipt(eth::H256(*hash.as_bytes()))
            .await;
        let receipt = receipt.map_err(|error| ChainError::from_provider(method, &error))?;
        receipt
            .map(|r| read_receipt(&r).ok_or_else(|| ChainError::bad_answer(method, "a field is missing")))
            .transpose()
    }

    /// The escrow's record of one intent; `None` when there is none.
    pub async fn intent(&self, id: IntentId, at: BlockRef) -> Result<Option<IntentOnChain>, ChainError> {
        Ok(self.intents(&[id], at).await?.pop().flatten())
    }

    /// The escrow's records in the order of the ids; `None` for an intent without one. Many ids take several calls, which
    /// read one state only if `at` names a block.
    pub async fn intents(
        &self,
        ids: &[IntentId],
        at: BlockRef,
    ) -> Result<Vec<Option<IntentOnChain>>, ChainError> {
        let mut records = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MAX_RECORDS_PER_CALL) {
            records.extend(self.intents_of_one_call(ids, at).await?);
        }
        Ok(records)
    }

    async fn intents_of_one_call(
        &self,
        ids: &[IntentId],
        at: BlockRef,
    ) -> Result<Vec<Option<IntentOnChain>>, ChainError> {
        let call = GetIntentsCall {
            intent_ids: ids.iter().map(|id| *id.as_bytes()).collect(),
        };
        let found: Vec<Intent> = self.view(&self.escrow(), call, at).await?;
        if found.len() != ids.len() {
            return Err(ChainError::bad_answer("getIntents", "another number of records"));
        }
        found.iter().map(read_intent).collect()
    }
}

fn read_header(block: &eth::Block<eth::H256>) -> Option<BlockHeader> {
    Some(BlockHeader {
        number: block.number?.as_u64(),
        hash: block_hash(block.hash?),
        parent: block_hash(block.parent_hash),
        timestamp: to_u64(block.timestamp)?,
        base_fee: crate::convert::to_u128(block.base_fee_per_gas.unwrap_or_default())?,
        gas_limit: to_u64(block.gas_limit)?,
    })
}

fn read_receipt(receipt: &eth::TransactionReceipt) -> Option<TransactionReceipt> {
    Some(TransactionReceipt {
        tx_hash: crate::convert::tx_hash(receipt.transaction_hash),
        block_number: receipt.block_number?.as_u64(),
        block_hash: block_hash(receipt.block_hash?),
        succeeded: receipt.status? == eth::U64::one(),
        gas_used: to_u64(receipt.gas_used?)?,
    })
}

fn read_intent(intent: &Intent) -> Result<Option<IntentOnChain>, ChainError> {
    if intent.deposited_at == 0 {
        return Ok(None);
    }
    let method = "getIntents";
    let status = match intent.status {
        0 => IntentStatus::Pending,
        1 => IntentStatus::Executed,
        2 => IntentStatus::Refunded,
        3 => IntentStatus::Failed,
        _ => return Err(ChainError::bad_answer(method, "an unknown status")),
    };
    let nobody = || ChainError::bad_answer(method, "a deposit of nobody");
    Ok(Some(IntentOnChain {
        user: from_h160(intent.user).ok_or_else(nobody)?,
        depositor: from_h160(intent.depositor).ok_or_else(nobody)?,
        amount: BaseUnits::new(amount(method, intent.amount)?),
        status,
        expires_at: intent.expires_at,
    }))
}
