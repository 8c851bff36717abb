//! What the chain itself says, read by plain JSON-RPC: nobody's word is taken for a mint.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::time::Instant;

use crate::settings::Settings;

/// `totalSupply()`.
const TOTAL_SUPPLY: &str = "0x18160ddd";
/// `pendingTotal()` of the escrow.
pub const PENDING_TOTAL: &str = "0x36a1b5a0";
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whole shillings minted so far.
pub async fn minted(settings: &Settings) -> Result<u64> {
    shillings(settings, &settings.country_token, TOTAL_SUPPLY).await
}

/// Whole shillings that wait in escrow.
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

/// How a figure on chain rose: how much in all, and how long from the first look to the last rise.
#[derive(Clone, Copy, Debug)]
pub struct Rise {
    pub reached: u64,
    pub took: Duration,
}

/// Watches a figure until it has risen by `by`, or stopped rising for a minute.
pub async fn watch<F, Fut>(label: &str, from: u64, by: u64, mut read: F) -> Result<Rise>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<u64>>,
{
    let start = Instant::now();
    let mut rise = Rise {
        reached: 0,
        took: Duration::ZERO,
    };
    loop {
        let now = read().await?.saturating_sub(from);
        if now > rise.reached {
            rise = Rise {
                reached: now,
                took: start.elapsed(),
            };
        }
        if rise.reached >= by {
            return Ok(rise);
        }
        if start.elapsed().saturating_sub(rise.took) > Duration::from_mins(1) {
            bail!(
                "{label}: {} of {by} after {:?}, and nothing more for a minute",
                rise.reached,
                rise.took
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
