//! What is taken away, which alert must say so, and where the dashboard shows it.

use std::time::Duration;

use anyhow::Result;
use testkit::rpc_proxy::Reach;
use testkit::wiring::{CALLBACK, EXECUTOR, GATEWAY};

use crate::chaos::{Ground, Stage};

#[derive(Debug, Clone, Copy)]
pub enum Away {
    Node,
    Broker,
    Database,
    Service(&'static str),
}

#[derive(Debug)]
pub struct Outage {
    pub name: &'static str,
    pub away: Away,
    pub alert: &'static str,
    /// Until the alert's condition can be true; the rule's own `for` comes on top.
    pub noticed_within: Duration,
    /// A panel of the overview, and from which value on it shows the trouble.
    pub panel: &'static str,
    pub shows: fn(f64) -> bool,
    /// Other pages that are as true as the first.
    pub also: &'static [&'static str],
}

/// The database first: what counts its failures looks back five minutes.
pub static ALL: [Outage; 6] = [
    Outage {
        name: "database",
        away: Away::Database,
        alert: "DatabaseAway",
        noticed_within: Duration::from_secs(30),
        panel: "Accepted and minted",
        shows: |rate| rate < 0.01,
        also: &["BreakerOpen", "ExecutorWithoutLease"],
    },
    Outage {
        name: "broker",
        away: Away::Broker,
        alert: "OutboxStuck",
        // The rule asks for a minute of age.
        noticed_within: Duration::from_secs(75),
        panel: "Outbox age",
        shows: |seconds| seconds > 60.0,
        also: &[],
    },
    Outage {
        name: "rpc",
        away: Away::Node,
        alert: "RpcDown",
        noticed_within: Duration::from_secs(30),
        panel: "RPC error rate over 5 min",
        shows: |share| share > 0.1,
        also: &["BreakerOpen", "NonceGap"],
    },
    service("callback", CALLBACK),
    service("mint-executor", EXECUTOR),
    service("gateway", GATEWAY),
];

const fn service(name: &'static str, service: &'static str) -> Outage {
    Outage {
        name,
        away: Away::Service(service),
        alert: "ServiceDown",
        noticed_within: Duration::from_secs(10),
        panel: "Services",
        shows: |up| up < 0.5,
        also: &[],
    }
}

/// Nothing says good-bye: servers and services are killed.
pub fn take(away: Away, stage: &mut Stage, ground: &mut Ground) -> Result<()> {
    match away {
        Away::Node => {
            stage.rpc.reach(Reach::Down);
            Ok(())
        }
        Away::Broker => ground.broker.kill9(),
        Away::Database => ground.postgres.kill9(),
        Away::Service(name) => stage.app.service(name)?.kill9(),
    }
}

/// What whoever keeps the servers does: starts again what has ended.
pub async fn bring_back(away: Away, stage: &mut Stage, ground: &mut Ground) -> Result<()> {
    match away {
        Away::Node => {
            stage.rpc.reach(Reach::Open);
            Ok(())
        }
        Away::Broker => ground.broker.restart().await,
        Away::Database => ground.postgres.restart().await,
        Away::Service(name) => stage.restart(name).await,
    }
}
