//! The check after each story: fiat side against chain, from the chain's own figures and the stored reports, never
//! from a service's word.

use anyhow::{Result, ensure};
use testkit::app::App;
use testkit::evm;

use crate::SHILLING;

/// `sum(paid receipts) = minted + owed to payers + held`, when nothing is in flight any more.
pub async fn balances(app: &App, supply_before: u128) -> Result<()> {
    let figure = |sql: &str| -> Result<u128> { Ok(app.database.sql(sql)?.trim().parse()?) };
    let paid = figure("select coalesce(sum(amount_shillings), 0) from payments")?;
    let owed = figure(
        "select coalesce(sum(amount_shillings), 0) from exceptions
         where kind in ('owed_to_payer', 'duplicate_payment') and resolved_at is null",
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

/// Supply of the country token, base units.
pub async fn minted(app: &App) -> Result<u128> {
    evm::total_supply(&app.chain.url(), &app.addresses.country_token).await
}

/// How often the escrow itself says that it minted for our intents: no word of a service counts.
pub fn mint_events(app: &App) -> Result<u64> {
    Ok(app
        .database
        .sql("select count(*) from escrow_events where kind = 'executed'")?
        .trim()
        .parse()?)
}
