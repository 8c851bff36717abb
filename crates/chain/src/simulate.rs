//! Simulates a batch with `eth_call` before anything is signed: nothing is sent, and no gas is paid.

use domain::address::Address;
use domain::item_result::ItemOutcome;
use ethers::abi::AbiDecode;
use ethers::providers::Middleware;
use ethers::types::Eip1559TransactionRequest;
use ethers::types::transaction::eip2718::TypedTransaction;

use crate::bindings::mint_escrow::ExecuteMintsReturn;
use crate::client::{BlockRef, ChainClient};
use crate::convert::to_h160;
use crate::error::ChainError;

const METHOD: &str = "eth_call";

impl ChainClient {
    /// The outcome of each item, had `signer` sent this call with that gas limit in the next block.
    pub async fn simulate_batch(
        &self,
        signer: &Address,
        data: Vec<u8>,
        gas_limit: u64,
        items: usize,
        at: BlockRef,
    ) -> Result<Vec<ItemOutcome>, ChainError> {
        let request = Eip1559TransactionRequest::new()
            .from(to_h160(signer))
            .to(to_h160(&self.escrow()))
            .gas(gas_limit)
            .data(data);
        let answer = self
            .provider()
            .call(&TypedTransaction::Eip1559(request), Some(at.block_id()))
            .await
            .map_err(|error| ChainError::from_provider(METHOD, &error))?;
        // The three batch commands answer alike.
        let answer =
            ExecuteMintsReturn::decode(answer).map_err(|error| ChainError::bad_answer(METHOD, error))?;
        if answer.outcomes.len() != items {
            return Err(ChainError::bad_answer(METHOD, "another number of outcomes"));
        }
        Ok(answer.outcomes.into_iter().map(ItemOutcome::from_code).collect())
    }
}
