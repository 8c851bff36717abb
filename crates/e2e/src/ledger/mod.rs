//! The check after each story: what was sent, what the chain's own events say, and the rows must agree to the shilling.
//! No service is asked. `facts` gathers, `audit` judges and is pure.

mod audit;
mod facts;
mod violation;

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::{App, evm};

pub use audit::{Totals, Verdict, audit};
pub use facts::{Dead, Facts, Sent, SentIntent, SentPayment, Waiting, Wanted};
pub use violation::{Sort, Violation};

use crate::SHILLING;

/// `sum(paid receipts) = minted + owed to payers + held`, when nothing is in flight any more: the short form for stories
/// that did not keep a list of what they sent.
pub async fn balances(app: &App, supply_before: u128) -> Result<()> {
    let figure = |sql: &str| -> Result<u128> { Ok(app.database.sql(sql)?.trim().parse()?) };
    let paid = figure("select coalesce(sum(amount_shillings), 0) from payments")?;
    let owed = figure(
        "select coalesce(sum(amount_shillings), 0) from exceptions
         where kind = 'owed_to_payer' and resolved_at is null",
    )?;
    let held = figure(
        "select coalesce(sum(p.amount_shillings), 0) from payments p join decisions d using (tx_ref)
         where p.is_first and d.payment_leg = 'mismatched' and d.chain_leg = 'escrowed'",
    )?;
    let minted = (minted(app).await? - supply_before) / SHILLING;
    ensure!(
        paid == minted + owed + held,
        "paid {paid} shillings, but minted {minted}, owed {owed}, held {held}"
    );
    Ok(())
}

/// Looks until what trails behind has arrived; what is wrong after that is wrong.
pub async fn settled(within: Duration, gather: impl AsyncFn() -> Result<Facts>) -> Result<Verdict> {
    let end = tokio::time::Instant::now() + within;
    loop {
        let verdict = audit(&gather().await?);
        let trails = |sort| {
            matches!(
                sort,
                Sort::LeftOver | Sort::OutcomeLost | Sort::NonceGap | Sort::ReportLost
            )
        };
        let finished = verdict.pending == 0 && verdict.count(trails) == 0;
        if finished || tokio::time::Instant::now() > end {
            return Ok(verdict);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Supply of the country token, base units.
pub async fn minted(app: &App) -> Result<u128> {
    evm::total_supply(&app.chain.url(), &app.addresses.country_token).await
}

/// How often the escrow says that it minted, read from the node.
pub async fn mint_events(app: &App) -> Result<usize> {
    use testkit::escrow_events::{Kind, read};
    let events = read(&app.chain.url(), &app.addresses.escrow).await?;
    Ok(events.iter().filter(|event| event.kind == Kind::Executed).count())
}
