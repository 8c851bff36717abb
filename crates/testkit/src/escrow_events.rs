//! The events of the escrow, read from the node by plain JSON-RPC and independent of the product's code.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{evm::block_number, http::rpc};

const SUBMITTED: &str = "0x72778c947f7cf0e138eb948573c4c577a94f29d5a8a54e1153cbb16d83122798";
const EXECUTED: &str = "0x9e5413da4c9712f53fd7402bcc0d01a3de57897ab75defc5fbc6e10608224b40";
const REFUNDED: &str = "0xb89f113bbf712a8ecbcbe7564208832acdfc4ef54e2dfc89ce6d6daff873f811";
/// Blocks per question: an answer stays within a few megabytes.
const SPAN: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EscrowEventKind {
    Submitted,
    Executed,
    Refunded,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscrowEvent {
    pub kind: EscrowEventKind,
    /// `0x` and lower hex, like every value here.
    pub intent_id: String,
    pub user: String,
    /// Base units.
    pub amount: u128,
    pub tx_hash: String,
    pub block: u64,
}

/// Every deposit, mint and refund up to the head, in order.
pub async fn read(rpc_url: &str, escrow: &str) -> Result<Vec<EscrowEvent>> {
    let head = block_number(rpc_url).await?;
    let mut found = Vec::new();
    let mut from = 0;
    while from <= head {
        let to = head.min(from + SPAN - 1);
        let filter = json!([{
            "address": escrow, "topics": [[SUBMITTED, EXECUTED, REFUNDED]],
            "fromBlock": format!("0x{from:x}"), "toBlock": format!("0x{to:x}"),
        }]);
        let logs = rpc(rpc_url, "eth_getLogs", filter).await?;
        for log in logs.as_array().context("logs are a list")? {
            found.push(event(log)?);
        }
        from = to + 1;
    }
    Ok(found)
}

fn event(log: &Value) -> Result<EscrowEvent> {
    let text = |value: &Value| {
        value
            .as_str()
            .map(str::to_owned)
            .context("a log of another shape")
    };
    let kind = match log["topics"][0].as_str() {
        Some(SUBMITTED) => EscrowEventKind::Submitted,
        Some(EXECUTED) => EscrowEventKind::Executed,
        Some(REFUNDED) => EscrowEventKind::Refunded,
        other => anyhow::bail!("nobody asked for {other:?}"),
    };
    let data = text(&log["data"])?;
    let amount = data.get(2..66).context("the amount is the first word")?;
    let user = text(&log["topics"][2])?;
    Ok(EscrowEvent {
        kind,
        intent_id: text(&log["topics"][1])?,
        user: format!("0x{}", user.get(26..).context("an address is 20 bytes")?),
        amount: u128::from_str_radix(amount, 16).context("an amount beyond 128 bits")?,
        tx_hash: text(&log["transactionHash"])?,
        block: u64::from_str_radix(text(&log["blockNumber"])?.trim_start_matches("0x"), 16)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mint_is_read_from_its_log() {
        let log = json!({
            "topics": [
                EXECUTED, format!("0x{}", "ab".repeat(32)), format!("0x{:0>64}", "cd".repeat(20)),
                format!("0x{}", "00".repeat(32)),
            ],
            "data": format!("0x{:064x}{:064x}", 5_u128 * 10_u128.pow(18), 0),
            "transactionHash": "0xfeed", "blockNumber": "0x1f",
        });
        let expected = EscrowEvent {
            kind: EscrowEventKind::Executed,
            intent_id: format!("0x{}", "ab".repeat(32)),
            user: format!("0x{}", "cd".repeat(20)),
            amount: 5 * 10_u128.pow(18),
            tx_hash: "0xfeed".into(),
            block: 31,
        };
        assert_eq!(event(&log).unwrap(), expected);
    }
}
