//! The check after each scenario: requests sent, events of the chain and database rows must agree to the shilling. No
//! service is asked. `facts` gathers; `audit` compares and is pure.

mod audit;
mod facts;
mod violation;

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::{App, evm};

pub use audit::{AuditResult, Totals, audit};
pub use facts::{AuditFacts, DeadLetter, ExpectedResult, Leftover, Sent, SentIntent, SentPayment};
pub use violation::{Violation, ViolationKind};

use crate::SHILLING;

/// `sum(paid receipts) = minted + owed to payers + held`, when nothing is in flight any more: the short form for tests
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

/// Repeats the audit until messages and rows that arrive late are there; what is wrong after that is a violation.
pub async fn settled(within: Duration, gather: impl AsyncFn() -> Result<AuditFacts>) -> Result<AuditResult> {
    let end = tokio::time::Instant::now() + within;
    loop {
        let result = audit(&gather().await?);
        let may_be_late = |kind| {
            matches!(
                kind,
                ViolationKind::LeftOver
                    | ViolationKind::OutcomeLost
                    | ViolationKind::NonceGap
                    | ViolationKind::ReportLost
            )
        };
        let finished = result.pending == 0 && result.count(may_be_late) == 0;
        if finished || tokio::time::Instant::now() > end {
            return Ok(result);
        }
        testkit::wait::pause(Duration::from_millis(500)).await;
    }
}

/// Supply of the country token, base units.
pub async fn minted(app: &App) -> Result<u128> {
    evm::total_supply(&app.chain.url(), &app.addresses.country_token).await
}

/// Number of mint events of the escrow, read from the node.
pub async fn mint_events(app: &App) -> Result<usize> {
    use testkit::escrow_events::{EscrowEventKind, read};
    let events = read(&app.chain.url(), &app.addresses.escrow).await?;
    Ok(events
        .iter()
        .filter(|event| event.kind == EscrowEventKind::Executed)
        .count())
}
