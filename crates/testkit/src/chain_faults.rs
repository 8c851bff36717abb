//! Faults of the chain: forks, dropped transactions, expensive blocks, and another sender with the same key.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::anvil::Mining;
use crate::{Anvil, evm, wait::eventually};

impl Anvil {
    /// Replaces the last `depth` blocks by as many empty ones; returns the number of transactions that were lost.
    pub async fn reorg(&self, depth: u64) -> Result<usize> {
        // A block that the clock mines meanwhile would leave the node without the blocks between.
        let pace = match self.mining() {
            Mining::Every(seconds) => Some(Duration::from_secs_f64(seconds).as_secs().max(1)),
            Mining::Automine | Mining::Manual => None,
        };
        let mine_every = async |seconds: u64| self.rpc("evm_setIntervalMining", json!([seconds])).await;
        if pace.is_some() {
            mine_every(0).await?;
        }
        let undone = self.in_last_blocks(depth).await;
        let done = self.rpc("anvil_reorg", json!([depth, []])).await;
        if let Some(seconds) = pace {
            mine_every(seconds).await?;
        }
        done?;
        self.is_whole(depth).await?;
        undone
    }

    /// Transactions in the last `depth` blocks.
    pub async fn in_last_blocks(&self, depth: u64) -> Result<usize> {
        let head = evm::block_number(&self.url()).await?;
        let mut count = 0;
        for number in head.saturating_sub(depth) + 1..=head {
            let at = json!([format!("{number:#x}"), false]);
            let block = self.rpc("eth_getBlockByNumber", at).await?;
            count += block["transactions"].as_array().map_or(0, Vec::len);
        }
        Ok(count)
    }

    /// Fails if the node lost blocks, because the test would blame the follower for it.
    async fn is_whole(&self, depth: u64) -> Result<()> {
        let head = evm::block_number(&self.url()).await?;
        for number in head.saturating_sub(depth + 2)..=head {
            let at = json!([format!("{number:#x}"), false]);
            let block = self.rpc("eth_getBlockByNumber", at).await?;
            ensure!(!block.is_null(), "the node of the test lost its block {number}");
        }
        Ok(())
    }

    /// Hashes of this sender's transactions that are not mined.
    pub async fn waiting(&self, sender: &str) -> Result<Vec<String>> {
        let pool = self.rpc("txpool_content", json!([])).await?;
        let of = |part: &str| -> Vec<String> {
            let by_sender = pool[part].as_object().into_iter().flatten();
            by_sender
                .filter(|(from, _)| from.eq_ignore_ascii_case(sender))
                .flat_map(|(_, by_nonce)| by_nonce.as_object().into_iter().flatten())
                .filter_map(|(_, transaction)| transaction["hash"].as_str().map(str::to_owned))
                .collect()
        };
        Ok([of("pending"), of("queued")].concat())
    }

    /// Drops this sender's unmined transactions from the pool and returns their number.
    pub async fn forget_waiting(&self, sender: &str) -> Result<usize> {
        let mut forgotten = 0;
        for hash in self.waiting(sender).await? {
            // Null, or an error: one may have found its block meanwhile.
            let answer = self.rpc("anvil_dropTransaction", json!([hash])).await;
            forgotten += usize::from(answer.is_ok_and(|dropped| !dropped.is_null()));
        }
        Ok(forgotten)
    }

    /// Sets the base fee of the next block; it falls by an eighth with every empty block after that.
    pub async fn base_fee(&self, gwei: u64) -> Result<()> {
        let wei = u128::from(gwei) * 1_000_000_000;
        self.rpc("anvil_setNextBlockBaseFeePerGas", json!([format!("0x{wei:x}")]))
            .await
            .map(drop)
    }

    /// Somebody else with the signer's key uses its next nonce for an empty transfer, and pays more than we would.
    pub async fn steal_nonce(&self, signer: &str) -> Result<u64> {
        // The owner may use the nonce between the query and the theft: then the next one is stolen.
        let timeout = Duration::from_secs(30);
        let nonce = eventually(timeout, "a nonce that is free to steal", async || {
            let nonce = evm::nonce(&self.url(), signer).await?;
            let transfer = json!([{
                "from": signer, "to": signer, "value": "0x0", "gas": "0x5208", "nonce": format!("0x{nonce:x}"),
                "maxFeePerGas": "0xe8d4a51000", "maxPriorityFeePerGas": "0x174876e800",
            }]);
            self.rpc("eth_sendTransaction", transfer).await.map(|_| Some(nonce))
        })
        .await?;
        eventually(timeout, "the thief's transaction is mined", async || {
            Ok((evm::nonce(&self.url(), signer).await? > nonce).then_some(nonce))
        })
        .await
    }

    /// Sends from an account whose key anvil does not hold, such as a contract's.
    pub async fn send_as(&self, from: &str, to: &str, data: &str) -> Result<()> {
        self.rpc("anvil_impersonateAccount", json!([from])).await?;
        self.rpc("anvil_setBalance", json!([from, "0xde0b6b3a7640000"]))
            .await?;
        evm::send(&self.url(), from, to, data).await?;
        self.rpc("anvil_stopImpersonatingAccount", json!([from]))
            .await
            .map(drop)
    }
}
