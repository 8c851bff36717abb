//! Reads and the few development writes of a test or a demo, by plain JSON-RPC.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{addresses::Addresses, http::rpc, wait::eventually};

const BALANCE_OF: &str = "70a08231";
const TOTAL_SUPPLY: &str = "18160ddd";
const PENDING_TOTAL: &str = "36a1b5a0";
const IS_COMPLIANT: &str = "a200e5d0";
const SET_USER_COMPLIANCE: &str = "29075b04";
/// anvil's first account: admin and compliance officer of a development deployment, unlocked by anvil.
pub const OFFICER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// A balance in base units.
pub async fn balance_of(rpc_url: &str, token: &str, owner: &str) -> Result<u128> {
    word(&call(rpc_url, token, &format!("{BALANCE_OF}{}", address_word(owner))).await?)
}

pub async fn total_supply(rpc_url: &str, token: &str) -> Result<u128> {
    word(&call(rpc_url, token, TOTAL_SUPPLY).await?)
}

/// Base units of deposits that wait in the escrow.
pub async fn pending_total(rpc_url: &str, escrow: &str) -> Result<u128> {
    word(&call(rpc_url, escrow, PENDING_TOTAL).await?)
}

pub async fn is_compliant(rpc_url: &str, addresses: &Addresses, user: &str) -> Result<bool> {
    let data = format!("{IS_COMPLIANT}{}", address_word(user));
    Ok(word(&call(rpc_url, &addresses.compliance_manager, &data).await?)? == 1)
}

/// Sets a user's risk and attestation as the compliance officer; waits until it is mined.
pub async fn set_compliance(
    rpc_url: &str,
    addresses: &Addresses,
    user: &str,
    risk: u8,
    verified: bool,
) -> Result<()> {
    let data = compliance_call(user, risk, verified);
    send(rpc_url, OFFICER, &addresses.compliance_manager, &data).await
}

/// Makes many users fit for a mint, within a block or two: one after the other, so that the node numbers them.
pub async fn make_all_compliant(rpc_url: &str, addresses: &Addresses, users: &[String]) -> Result<()> {
    let Some((last, others)) = users.split_last() else {
        return Ok(());
    };
    for user in others {
        let data = compliance_call(user, 10, true);
        let call = json!([{"from": OFFICER, "to": addresses.compliance_manager, "data": data}]);
        rpc(rpc_url, "eth_sendTransaction", call).await?;
    }
    set_compliance(rpc_url, addresses, last, 10, true).await
}

fn compliance_call(user: &str, risk: u8, verified: bool) -> String {
    let attestation = "a7".repeat(32);
    format!(
        "0x{SET_USER_COMPLIANCE}{}{:064x}{attestation}{:064x}",
        address_word(user),
        risk,
        u8::from(verified)
    )
}

/// Sends from an account that anvil holds the key of, and waits for a successful receipt.
pub async fn send(rpc_url: &str, from: &str, to: &str, data: &str) -> Result<()> {
    let transaction = json!([{"from": from, "to": to, "data": data}]);
    let hash = rpc(rpc_url, "eth_sendTransaction", transaction).await?;
    let receipt = eventually(
        std::time::Duration::from_secs(30),
        "the transaction is mined",
        async || {
            let receipt = rpc(rpc_url, "eth_getTransactionReceipt", json!([hash])).await?;
            Ok((!receipt.is_null()).then_some(receipt))
        },
    )
    .await?;
    ensure!(receipt["status"] == "0x1", "transaction {hash} reverted");
    Ok(())
}

/// How many transactions of the account are in blocks.
pub async fn nonce(rpc_url: &str, account: &str) -> Result<u64> {
    let count = rpc(rpc_url, "eth_getTransactionCount", json!([account, "latest"])).await?;
    Ok(u64::from_str_radix(hex_digits(&count)?, 16)?)
}

pub async fn has_code(rpc_url: &str, address: &str) -> Result<bool> {
    let code = rpc(rpc_url, "eth_getCode", json!([address, "latest"])).await?;
    Ok(code.as_str().is_some_and(|code| code.len() > 2))
}

pub async fn block_number(rpc_url: &str) -> Result<u64> {
    let number = rpc(rpc_url, "eth_blockNumber", json!([])).await?;
    Ok(u64::from_str_radix(hex_digits(&number)?, 16)?)
}

/// What a function without parameters, named by its selector, answers as a string.
pub async fn text(rpc_url: &str, contract: &str, selector: &str) -> Result<String> {
    let answer = call(rpc_url, contract, selector).await?;
    string(&hex::decode(hex_digits(&answer)?)?).context("no string: is the contract there?")
}

/// A short string alone in an ABI answer: where it begins, its length, its bytes.
fn string(answer: &[u8]) -> Option<String> {
    let (length, high) = answer.get(32..64)?.split_last()?;
    let bytes = answer.get(64..64 + usize::from(*length))?;
    let is_short = high.iter().all(|byte| *byte == 0);
    String::from_utf8(bytes.to_vec()).ok().filter(|_| is_short)
}

async fn call(rpc_url: &str, to: &str, data: &str) -> Result<Value> {
    rpc(
        rpc_url,
        "eth_call",
        json!([{"to": to, "data": format!("0x{data}")}, "latest"]),
    )
    .await
}

fn address_word(address: &str) -> String {
    format!("{:0>64}", address.trim_start_matches("0x").to_lowercase())
}

fn hex_digits(value: &Value) -> Result<&str> {
    value
        .as_str()
        .and_then(|text| text.strip_prefix("0x"))
        .context("not a hex answer")
}

fn word(value: &Value) -> Result<u128> {
    let digits = hex_digits(value)?;
    ensure!(!digits.is_empty(), "an empty answer: is the contract there?");
    u128::from_str_radix(digits.trim_start_matches('0'), 16)
        .or_else(|error| {
            if digits.bytes().all(|byte| byte == b'0') {
                Ok(0)
            } else {
                Err(error)
            }
        })
        .context("an answer beyond 128 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_whole_or_not_at_all() {
        assert_eq!(word(&json!(format!("0x{:064x}", 0))).unwrap(), 0);
        assert_eq!(
            word(&json!(format!("0x{:064x}", 10_u128.pow(28)))).unwrap(),
            10_u128.pow(28)
        );
        assert!(word(&json!(format!("0x{}", "f".repeat(64)))).is_err());
        assert!(word(&json!("0x")).is_err());
        assert!(word(&json!(null)).is_err());
    }

    #[test]
    fn a_short_string_is_read_and_nothing_else_is() {
        let mut answer = [[0; 31].as_slice(), &[32], &[0; 31], &[5], b"2.0.0", &[0; 27]].concat();
        assert_eq!(string(&answer).as_deref(), Some("2.0.0"));
        assert_eq!(string(&answer[..68]), None, "cut off");
        assert_eq!(string(&[]), None);
        answer[62] = 1;
        assert_eq!(string(&answer), None, "longer than there is");
    }
}
