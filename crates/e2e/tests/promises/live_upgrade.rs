//! Upgrades the contracts under load: nothing has to be stopped, and nothing in flight is lost.

use std::array;

use anyhow::{Result, ensure};
use testkit::app::App;
use testkit::eventually;
use testkit::upgrade::{self, Code, Upgrade};

use crate::TIMEOUT;
use crate::load::{Load, loaded};

/// Number of intents accepted, deposited and minted, from the rows.
type Reached = [usize; 3];

fn reached(app: &App) -> Result<Reached> {
    let row = app.database.sql(
        "select (select count(*) from mint_intents) || ' ' || count(*) || ' ' || count(*) filter (where leg = 'executed')
         from chain_legs where leg in ('escrowed', 'executing', 'executed')",
    )?;
    let mut figures = row.split_whitespace().map(str::parse);
    let figures: [_; 3] = array::from_fn(|_| figures.next());
    let [Some(accepted), Some(deposited), Some(minted)] = figures else {
        anyhow::bail!("three figures, not {row}");
    };
    Ok([accepted?, deposited?, minted?])
}

/// Waits until more intents were accepted, deposited and minted than at the last switch while others are in flight;
/// then switches.
async fn switch(app: &App, load: &Load, last: Reached, proxy: &str, code: &Code) -> Result<Reached> {
    load.more_turns(2).await?;
    let now = eventually(
        TIMEOUT,
        "every kind of work went on, and more is in flight",
        async || {
            let now = reached(app)?;
            ensure!(
                now.iter().zip(last).all(|(now, last)| *now > last),
                "{now:?} after {last:?}"
            );
            Ok((now[2] < now[0]).then_some(now))
        },
    )
    .await?;
    upgrade::switch(&app.chain.url(), proxy, code).await?;
    eprintln!(
        "switched to {} at {now:?} accepted, deposited, minted",
        code.version
    );
    Ok(now)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contracts_are_upgraded_and_rolled_back_under_load_without_a_refused_request() -> Result<()> {
    let app = App::start().await?;
    let (rpc, at) = (app.chain.url(), &app.addresses);
    let mut contracts = Vec::new();
    for (contract, proxy) in [
        ("ComplianceManager", &at.compliance_manager),
        ("MintEscrow", &at.escrow),
    ] {
        let upgrade = Upgrade::prepare(&rpc, contract, proxy).await?;
        assert_eq!(
            [&*upgrade.former.version, &*upgrade.next.version],
            ["1.0.0", "2.0.0"],
            "{contract}"
        );
        contracts.push(upgrade);
    }
    let (load, before) = loaded(&app, "CODE-").await?;
    let mut last = Reached::default();
    for Upgrade { proxy, former, next } in &contracts {
        for code in [next, former, next] {
            last = switch(&app, &load, last, proxy, code).await?;
        }
    }
    load.more_turns(2).await?;
    let after = eventually(TIMEOUT, "every kind of work goes on", async || {
        let now = reached(&app)?;
        Ok(now.iter().zip(last).all(|(now, last)| *now > last).then_some(now))
    })
    .await?;
    eprintln!("{after:?} accepted, deposited, minted");
    load.nothing_was_lost(&app, before).await?;
    for Upgrade { proxy, next, .. } in &contracts {
        assert_eq!(upgrade::running(&rpc, proxy).await?, *next, "{proxy}");
    }
    Ok(())
}
