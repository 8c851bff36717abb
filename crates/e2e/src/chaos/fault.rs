//! The faults that are injected into the running product, one after the other.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::rpc_proxy::Reachability;
use testkit::upgrade::{self, Upgrade};
use testkit::wiring::{CALLBACK, EXECUTOR, GATEWAY};
use testkit::{ChaosProxy, eventually, evm};

use super::customers::{Customers, SkipReason, TrafficCheck};
use super::kill_points::{self, KillPoint};
use super::load::Load;
use super::rotation;
use super::system::{Infrastructure, KEYS, Link, System};

const WORK_QUEUES: [&str; 5] = [
    "mint.submit.v1",
    "mint.execute.v1",
    "mint.refund.v1",
    "mint.outcome.v1",
    "mpesa.result.v1",
];
/// A fault that needs something to break (a waiting transaction, a queued message) waits this long for it.
const APPEARS_WITHIN: Duration = Duration::from_secs(10);
/// Longer than the executor's lease of 5 s.
const PAST_THE_LEASE: Duration = Duration::from_secs(8);
/// Enough for some work to be done under the new code.
const UNDER_NEW_CODE: Duration = Duration::from_secs(2);
/// Least time between two extra customers, who keep a fault under load.
const EXTRA_CUSTOMER_INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_mins(2);

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Kill(&'static str),
    /// At a kill point, once this many calls have passed it.
    KillAt(&'static KillPoint, u32),
    Reorg(u64),
    ForgetTransactions,
    BaseFee(u64),
    /// Somebody else sends a transaction with one of our keys.
    StealNonce(usize),
    KillBroker,
    KillDatabase,
    /// The node is down; where there are two, the first of them.
    Outage(Duration, Reachability),
    /// The first endpoint stays at the present block while the other follows the chain.
    Lag(Duration),
    Cut(&'static str, Link, Duration),
    Stall(&'static str, Link, Duration),
    PurgeQueues,
    /// The executor hangs past its lease while a second one takes over, and then wakes.
    HangPastLease,
    RotateKeys,
    UpgradeContracts,
}

impl Fault {
    /// The fault's name in the table of results.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Kill(_) => "kill -9",
            Self::KillAt(..) => "kill -9 at a point",
            Self::Reorg(_) => "reorg",
            Self::ForgetTransactions => "transactions dropped",
            Self::BaseFee(_) => "fee spike",
            Self::StealNonce(_) => "nonce stolen",
            Self::KillBroker => "broker kill",
            Self::KillDatabase => "database kill",
            Self::Outage(..) => "rpc outage",
            Self::Lag(_) => "rpc endpoint behind",
            Self::Cut(..) => "connection cut",
            Self::Stall(..) => "connection stalled",
            Self::PurgeQueues => "queues purged",
            Self::HangPastLease => "hang past the lease",
            Self::RotateKeys => "key rotation",
            Self::UpgradeContracts => "contract upgrade",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(service) => write!(f, "kill -9 of {service}"),
            Self::KillAt(point, skip) => {
                write!(f, "kill -9 of {} {}, after {skip}", point.service, point.name)
            }
            Self::Reorg(depth) => write!(f, "reorg of depth {depth}"),
            Self::BaseFee(gwei) => write!(f, "base fee of {gwei} gwei"),
            Self::Outage(time, reach) => write!(f, "node {reach:?} for {time:?}"),
            Self::Lag(time) => write!(f, "endpoint behind for {time:?}"),
            Self::Cut(service, link, time) => write!(f, "{link:?} link of {service} cut for {time:?}"),
            Self::Stall(service, link, time) => write!(f, "{link:?} link of {service} stalled for {time:?}"),
            other => f.write_str(other.kind()),
        }
    }
}

/// What a fault acts on.
pub struct FaultContext<'a> {
    pub system: &'a mut System,
    pub infrastructure: Option<&'a mut Infrastructure>,
    pub customers: &'a Customers,
    /// Customers beside the planned ones, who kept faults under load.
    pub extra_customers: usize,
    pub groups: usize,
}

impl FaultContext<'_> {
    pub async fn inject(&mut self, fault: Fault) -> Result<SkipReason> {
        let under_load = match fault {
            Fault::RotateKeys | Fault::UpgradeContracts | Fault::HangPastLease | Fault::Lag(_) => true,
            Fault::Outage(..) => self.system.second_endpoint.is_some(),
            _ => false,
        };
        if !under_load {
            return self.inject_now(fault).await;
        }
        // Extra customers arrive for as long as the fault takes on this machine.
        let load = Load::new(self.customers.with_group(self.groups), EXTRA_CUSTOMER_INTERVAL, 2);
        let injecting = async {
            let done = self.inject_now(fault).await;
            load.stop();
            done
        };
        let (skipped, ()) = tokio::try_join!(injecting, load.run())?;
        self.extra_customers += load.arrived();
        self.groups += 1;
        Ok(skipped)
    }

    async fn inject_now(&mut self, fault: Fault) -> Result<SkipReason> {
        match fault {
            Fault::Kill(service) => {
                self.system.app.service(service)?.kill9()?;
                self.system.restart(service).await?;
            }
            Fault::KillAt(point, skip) => {
                if !kill_points::kill_at(self.system, point, skip).await? {
                    return Ok(Some(format!(
                        "{}: nothing reached the kill point: {}",
                        point.service, point.name
                    )));
                }
                self.system.restart(point.service).await?;
            }
            Fault::Outage(time, reach) => return self.with_first_endpoint_out(reach, time).await,
            Fault::Lag(time) => {
                let head = evm::block_number(&self.system.app.chain.url()).await?;
                return self
                    .with_first_endpoint_out(Reachability::Behind(head), time)
                    .await;
            }
            Fault::Cut(service, link, time) => {
                self.system.link(service, link).cut();
                testkit::wait::pause(time).await;
                self.system.link(service, link).resume();
            }
            Fault::Stall(service, link, time) => {
                self.system.link(service, link).stall();
                testkit::wait::pause(time).await;
                self.system.link(service, link).resume();
            }
            Fault::PurgeQueues => return self.purge_queues().await,
            Fault::KillBroker | Fault::KillDatabase => self.kill_server(fault).await?,
            Fault::HangPastLease => return self.hang_past_lease().await,
            Fault::RotateKeys => return rotation::rotate(&self.system.app, self.customers).await,
            Fault::UpgradeContracts => return self.upgrade_contracts().await,
            Fault::Reorg(_) | Fault::ForgetTransactions | Fault::BaseFee(_) | Fault::StealNonce(_) => {
                return self.inject_chain_fault(fault).await;
            }
        }
        Ok(None)
    }

    async fn inject_chain_fault(&mut self, fault: Fault) -> Result<SkipReason> {
        let chain = &self.system.app.chain;
        let signers = signers(&self.system.app)?;
        match fault {
            Fault::Reorg(depth) => {
                let mined = eventually(TIMEOUT, "a transaction in the last blocks", async || {
                    Ok((chain.in_last_blocks(depth).await? > 0).then_some(()))
                });
                if mined.await.is_err() || chain.reorg(depth).await? == 0 {
                    return Ok(Some(format!("no transaction was in the last {depth} blocks")));
                }
            }
            Fault::BaseFee(gwei) => chain.base_fee(gwei).await?,
            Fault::StealNonce(key) => drop(chain.steal_nonce(&signers[key % signers.len()]).await?),
            _ => {
                let forgot = eventually(APPEARS_WITHIN, "a transaction that waits", async || {
                    let mut forgot = 0;
                    for signer in &signers {
                        forgot += chain.forget_waiting(signer).await?;
                    }
                    Ok(Some(forgot).filter(|forgot| *forgot > 0))
                });
                if forgot.await.is_err() {
                    return Ok(Some("no transaction waited for a block".into()));
                }
            }
        }
        Ok(None)
    }

    /// The first endpoint fails for a while. If there is a second one, blocks must be ingested all the same.
    async fn with_first_endpoint_out(&mut self, reach: Reachability, time: Duration) -> Result<SkipReason> {
        let tip = |system: &System| system.app.database.sql("select max(number) from blocks");
        self.system.rpc.reach(reach);
        // The executor notices only after some time-outs.
        testkit::wait::pause(time / 3).await;
        let before = tip(self.system)?;
        testkit::wait::pause(time / 3 * 2).await;
        let idle = self.system.second_endpoint.is_some() && tip(self.system)? == before;
        self.system.rpc.reach(Reachability::Open);
        Ok(idle.then(|| format!("{reach:?}: no block was ingested from the second endpoint")))
    }

    /// Disconnects the consumers first, so that there are messages to purge.
    async fn purge_queues(&mut self) -> Result<SkipReason> {
        let consumers = || {
            [EXECUTOR, CALLBACK]
                .into_iter()
                .map(|service| self.system.link(service, Link::Broker))
        };
        consumers().for_each(ChaosProxy::cut);
        let vhost = &self.system.app.vhost;
        let found = eventually(APPEARS_WITHIN, "a message in a work queue", async || {
            for queue in WORK_QUEUES {
                if !vhost.peek(queue, 1).await?.is_empty() {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        });
        let empty = found.await.is_err();
        for queue in WORK_QUEUES {
            vhost.purge(queue).await?;
        }
        consumers().for_each(ChaosProxy::resume);
        Ok(empty.then(|| "no message was in a work queue".into()))
    }

    async fn kill_server(&mut self, fault: Fault) -> Result<()> {
        let infrastructure = self
            .infrastructure
            .as_mut()
            .context("only a scenario with its own servers may kill them")?;
        if matches!(fault, Fault::KillBroker) {
            infrastructure.broker.kill9()?;
            infrastructure.broker.restart().await
        } else {
            infrastructure.postgres.kill9()?;
            infrastructure.postgres.restart().await
        }
    }

    /// Skipped if no work arrived while both executors ran: then nothing was proved.
    async fn hang_past_lease(&mut self) -> Result<SkipReason> {
        let changes_of_holder = |system: &System| -> Result<usize> {
            let sum = "select coalesce(sum(fencing_token), 0)::bigint from signers";
            Ok(system.app.database.sql(sum)?.parse()?)
        };
        // Each key changes its holder once.
        let expected = changes_of_holder(self.system)? + KEYS.len();
        self.system.app.service(EXECUTOR)?.pause()?;
        self.system.start_second_executor().await?;
        let system = &*self.system;
        let taken = eventually(TIMEOUT, "the second executor takes the leases", async || {
            Ok((changes_of_holder(system)? >= expected).then_some(()))
        });
        taken.await?;
        testkit::wait::pause(PAST_THE_LEASE).await;
        let work = |system: &System| system.app.database.sql("select count(*) from work_items");
        let before = work(self.system)?;
        self.system.app.service(EXECUTOR)?.wake()?;
        // Both run now; the first must find out by itself that it has lost its lease.
        testkit::wait::pause(PAST_THE_LEASE).await;
        let idle = work(self.system)? == before;
        let mut second = self
            .system
            .second_executor
            .take()
            .context("the second executor runs")?;
        second.stop()?;
        Ok(idle.then(|| "no work arrived while two executors ran".into()))
    }

    /// Upgrades both contracts and rolls them back, twice. The former version runs at the end, so that the fault can be
    /// injected again.
    async fn upgrade_contracts(&mut self) -> Result<SkipReason> {
        let app = &self.system.app;
        let mut traffic = TrafficCheck::since(self.customers);
        let (rpc, at) = (app.chain.url(), &app.addresses);
        for (contract, proxy) in [
            ("ComplianceManager", &at.compliance_manager),
            ("MintEscrow", &at.escrow),
        ] {
            let Upgrade { former, next, .. } = Upgrade::prepare(&rpc, contract, proxy).await?;
            for _ in 0..2 {
                upgrade::switch(&rpc, proxy, &next).await?;
                testkit::wait::pause(UNDER_NEW_CODE).await;
                upgrade::switch(&rpc, proxy, &former).await?;
            }
            traffic.expect_traffic("during an upgrade");
        }
        Ok(traffic.into_skip_reason())
    }
}

/// The executor's accounts, in a fixed order; at least one.
fn signers(app: &testkit::App) -> Result<Vec<String>> {
    let listed = app
        .database
        .sql("select string_agg('0x' || encode(address, 'hex'), ' ' order by address) from signers")?;
    let signers: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
    anyhow::ensure!(!signers.is_empty(), "no executor has begun");
    Ok(signers)
}

/// The services in the order in which they are killed in turn.
pub const KILL_ORDER: [&str; 3] = [EXECUTOR, CALLBACK, GATEWAY];
