//! The outages: what fails, which alert must fire, and where the dashboard shows it.

use std::time::Duration;

use anyhow::Result;
use testkit::rpc_proxy::Reachability;
use testkit::wiring::{CALLBACK, EXECUTOR, GATEWAY};

use crate::chaos::{Infrastructure, System};

#[derive(Debug, Clone, Copy)]
pub enum OutageTarget {
    Node,
    Broker,
    Database,
    Service(&'static str),
}

#[derive(Debug)]
pub struct Outage {
    pub name: &'static str,
    pub target: OutageTarget,
    pub alert: &'static str,
    /// Time until the alert's condition can be true; the rule's own `for` comes on top.
    pub noticed_within: Duration,
    /// A panel of the overview, and which of its values show the outage.
    pub panel: &'static str,
    pub indicates_outage: fn(f64) -> bool,
    /// Other alerts that page for the same outage.
    pub also_firing: &'static [&'static str],
}

/// The database comes first: alerts on its failures look back five minutes.
pub static ALL: [Outage; 6] = [
    Outage {
        name: "database",
        target: OutageTarget::Database,
        alert: "DatabaseAway",
        noticed_within: Duration::from_secs(30),
        panel: "Accepted and minted",
        indicates_outage: |rate| rate < 0.01,
        also_firing: &["BreakerOpen", "ExecutorWithoutLease"],
    },
    Outage {
        name: "broker",
        target: OutageTarget::Broker,
        alert: "OutboxStuck",
        // The rule asks for a minute of age.
        noticed_within: Duration::from_secs(75),
        panel: "Outbox age",
        indicates_outage: |seconds| seconds > 60.0,
        also_firing: &[],
    },
    Outage {
        name: "rpc",
        target: OutageTarget::Node,
        alert: "RpcDown",
        noticed_within: Duration::from_secs(30),
        panel: "RPC error rate over 5 min",
        indicates_outage: |share| share > 0.1,
        also_firing: &["BreakerOpen", "NonceGap"],
    },
    service("callback", CALLBACK),
    service("mint-executor", EXECUTOR),
    service("gateway", GATEWAY),
];

const fn service(name: &'static str, service: &'static str) -> Outage {
    Outage {
        name,
        target: OutageTarget::Service(service),
        alert: "ServiceDown",
        noticed_within: Duration::from_secs(10),
        panel: "Services",
        indicates_outage: |up| up < 0.5,
        also_firing: &[],
    }
}

/// Begins an outage. Servers and services are killed, not stopped.
pub fn start(target: OutageTarget, system: &mut System, infrastructure: &mut Infrastructure) -> Result<()> {
    match target {
        OutageTarget::Node => {
            system.rpc.reach(Reachability::Down);
            Ok(())
        }
        OutageTarget::Broker => infrastructure.broker.kill9(),
        OutageTarget::Database => infrastructure.postgres.kill9(),
        OutageTarget::Service(name) => system.app.service(name)?.kill9(),
    }
}

/// Ends an outage as an administrator would: starts again what was killed.
pub async fn end(
    target: OutageTarget,
    system: &mut System,
    infrastructure: &mut Infrastructure,
) -> Result<()> {
    match target {
        OutageTarget::Node => {
            system.rpc.reach(Reachability::Open);
            Ok(())
        }
        OutageTarget::Broker => infrastructure.broker.restart().await,
        OutageTarget::Database => infrastructure.postgres.restart().await,
        OutageTarget::Service(name) => system.restart(name).await,
    }
}
