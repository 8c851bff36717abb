//! Figures of the chain, read by plain JSON-RPC and independent of the product's code.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::time::Instant;

use crate::settings::Settings;

/// `totalSupply()`.
const TOTAL_SUPPLY: &str = "0x18160ddd";
/// `pendingTotal()` of the escrow.
pub const PENDING_TOTAL: &str = "0x36a1b5a0";
const POLL_EVERY: Duration = Duration::from_millis(200);

/// Whole shillings minted so far.
pub async fn minted(settings: &Settings) -> Result<u64> {
    shillings(settings, &settings.country_token, TOTAL_SUPPLY).await
}

/// Whole shillings of pending deposits.
pub async fn escrowed(settings: &Settings) -> Result<u64> {
    shillings(settings, &settings.escrow, PENDING_TOTAL).await
}

async fn shillings(settings: &Settings, contract: &str, selector: &str) -> Result<u64> {
    let call = json!([{"to": contract, "data": selector}, "latest"]);
    let answer = testkit::http::rpc(&settings.rpc_url, "eth_call", call).await?;
    let word = answer
        .as_str()
        .and_then(|s| s.strip_prefix("0x"))
        .context("eth_call gave no data")?;
    let base_units = u128::from_str_radix(word, 16).context("more than 2^128 base units")?;
    u64::try_from(base_units / domain::money::BASE_UNITS_PER_SHILLING).context("more than 2^64 shillings")
}

/// The growth of a figure on chain, and the time from the first poll to the last increase.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    pub reached: u64,
    pub took: Duration,
}

/// Polls a figure until it has grown by `by`; fails if it does not grow for a minute.
pub async fn watch<F, Fut>(label: &str, from: u64, by: u64, mut read: F) -> Result<Growth>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<u64>>,
{
    let start = Instant::now();
    let mut growth = Growth {
        reached: 0,
        took: Duration::ZERO,
    };
    loop {
        let now = read().await?.saturating_sub(from);
        if now > growth.reached {
            growth = Growth {
                reached: now,
                took: start.elapsed(),
            };
        }
        if growth.reached >= by {
            return Ok(growth);
        }
        if start.elapsed().saturating_sub(growth.took) > Duration::from_mins(1) {
            bail!(
                "{label}: {} of {by} after {:?}, and nothing more for a minute",
                growth.reached,
                growth.took
            );
        }
        testkit::wait::pause(POLL_EVERY).await;
    }
}
