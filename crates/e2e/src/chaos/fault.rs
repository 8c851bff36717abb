//! Everything that is done to the running product, one after the other.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::rpc_proxy::Reach;
use testkit::upgrade::{self, Upgrade};
use testkit::wiring::{CALLBACK, EXECUTOR, GATEWAY};
use testkit::{ChaosProxy, eventually, evm};

use super::customers::{Customers, Served, Skipped};
use super::load::Load;
use super::points::{self, Point};
use super::rotation;
use super::stage::{Ground, KEYS, Stage, Wire};

const WORK_QUEUES: [&str; 5] = [
    "mint.submit.v1",
    "mint.execute.v1",
    "mint.refund.v1",
    "mint.outcome.v1",
    "mpesa.result.v1",
];
/// Something to break comes by within this, or does not.
const COMES_BY: Duration = Duration::from_secs(10);
/// Longer than the executor's lease of 5 s.
const PAST_THE_LEASE: Duration = Duration::from_secs(8);
/// Enough for work to come by.
const UNDER_NEW_CODE: Duration = Duration::from_secs(2);
/// Between two of those who come while something is done under load.
const PACE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Kill(&'static str),
    /// At a named point, after so many others passed there.
    KillAt(&'static Point, u32),
    Reorg(u64),
    ForgetTransactions,
    BaseFee(u64),
    /// Of one of our keys.
    StealNonce(usize),
    KillBroker,
    KillDatabase,
    /// The node is away; where there are two, the first of them.
    Outage(Duration, Reach),
    /// The first endpoint knows nothing of what comes from now on, while the other does.
    Lag(Duration),
    Cut(&'static str, Wire, Duration),
    Stall(&'static str, Wire, Duration),
    PurgeQueues,
    /// The executor hangs past its lease while a second one takes over, and then wakes.
    HangPastLease,
    RotateKeys,
    UpgradeContracts,
}

impl Fault {
    /// In the table.
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
            Self::Cut(service, wire, time) => write!(f, "{wire:?} wire of {service} cut for {time:?}"),
            Self::Stall(service, wire, time) => write!(f, "{wire:?} wire of {service} stalled for {time:?}"),
            other => f.write_str(other.kind()),
        }
    }
}

/// Where faults are done.
pub struct Scene<'a> {
    pub stage: &'a mut Stage,
    pub ground: Option<&'a mut Ground>,
    pub customers: &'a Customers,
    /// Who came while something was done that must be done under load.
    pub passers_by: usize,
    pub crowds: usize,
}

impl Scene<'_> {
    pub async fn perform(&mut self, fault: Fault) -> Result<Skipped> {
        let under_load = match fault {
            Fault::RotateKeys | Fault::UpgradeContracts | Fault::HangPastLease | Fault::Lag(_) => true,
            Fault::Outage(..) => self.stage.spare.is_some(),
            _ => false,
        };
        if !under_load {
            return self.inflict(fault).await;
        }
        // However long it takes on this machine: customers come until it is done.
        let load = Load::new(self.customers.others(self.crowds), PACE, 2);
        let doing = async {
            let done = self.inflict(fault).await;
            load.close();
            done
        };
        let (skipped, ()) = tokio::try_join!(doing, load.run())?;
        self.passers_by += load.come();
        self.crowds += 1;
        Ok(skipped)
    }

    async fn inflict(&mut self, fault: Fault) -> Result<Skipped> {
        match fault {
            Fault::Kill(service) => {
                self.stage.app.service(service)?.kill9()?;
                self.stage.restart(service).await?;
            }
            Fault::KillAt(point, skip) => {
                if !points::kill_at(self.stage, point, skip).await? {
                    return Ok(Some(format!(
                        "{}: nothing came by: {}",
                        point.service, point.name
                    )));
                }
                self.stage.restart(point.service).await?;
            }
            Fault::Outage(time, reach) => return self.without_first(reach, time).await,
            Fault::Lag(time) => {
                let head = evm::block_number(&self.stage.app.chain.url()).await?;
                return self.without_first(Reach::Behind(head), time).await;
            }
            Fault::Cut(service, wire, time) => {
                self.stage.wire(service, wire).cut();
                tokio::time::sleep(time).await;
                self.stage.wire(service, wire).resume();
            }
            Fault::Stall(service, wire, time) => {
                self.stage.wire(service, wire).stall();
                tokio::time::sleep(time).await;
                self.stage.wire(service, wire).resume();
            }
            Fault::PurgeQueues => return self.purge_queues().await,
            Fault::KillBroker | Fault::KillDatabase => self.kill_server(fault).await?,
            Fault::HangPastLease => return self.hang_past_lease().await,
            Fault::RotateKeys => return rotation::rotate(&self.stage.app, self.customers).await,
            Fault::UpgradeContracts => return self.upgrade_contracts().await,
            Fault::Reorg(_) | Fault::ForgetTransactions | Fault::BaseFee(_) | Fault::StealNonce(_) => {
                return self.chain_trouble(fault).await;
            }
        }
        Ok(None)
    }

    async fn chain_trouble(&mut self, fault: Fault) -> Result<Skipped> {
        let chain = &self.stage.app.chain;
        let signers = signers(&self.stage.app)?;
        match fault {
            Fault::Reorg(depth) => {
                let mined = eventually(PATIENCE, "a transaction in the last blocks", async || {
                    Ok((chain.in_last_blocks(depth).await? > 0).then_some(()))
                });
                if mined.await.is_err() || chain.reorg(depth).await? == 0 {
                    return Ok(Some(format!("no transaction lay in the last {depth} blocks")));
                }
            }
            Fault::BaseFee(gwei) => chain.base_fee(gwei).await?,
            Fault::StealNonce(key) => drop(chain.steal_nonce(&signers[key % signers.len()]).await?),
            _ => {
                let forgot = eventually(COMES_BY, "a transaction that waits", async || {
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

    /// The first endpoint is of no use for a while. Where there is another, blocks are taken in all the same.
    async fn without_first(&mut self, reach: Reach, time: Duration) -> Result<Skipped> {
        let tip = |stage: &Stage| stage.app.database.sql("select max(number) from blocks");
        self.stage.rpc.reach(reach);
        // It takes some time-outs to find out.
        tokio::time::sleep(time / 3).await;
        let before = tip(self.stage)?;
        tokio::time::sleep(time / 3 * 2).await;
        let idle = self.stage.spare.is_some() && tip(self.stage)? == before;
        self.stage.rpc.reach(Reach::Open);
        Ok(idle.then(|| format!("{reach:?}: no block was taken in by way of the second endpoint")))
    }

    /// Whoever consumes is cut off first, so that there is something to throw away.
    async fn purge_queues(&mut self) -> Result<Skipped> {
        let consumers = || {
            [EXECUTOR, CALLBACK]
                .into_iter()
                .map(|service| self.stage.wire(service, Wire::Broker))
        };
        consumers().for_each(ChaosProxy::cut);
        let vhost = &self.stage.app.vhost;
        let lying = eventually(COMES_BY, "a message in a work queue", async || {
            for queue in WORK_QUEUES {
                if !vhost.peek(queue, 1).await?.is_empty() {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        });
        let empty = lying.await.is_err();
        for queue in WORK_QUEUES {
            vhost.purge(queue).await?;
        }
        consumers().for_each(ChaosProxy::resume);
        Ok(empty.then(|| "no message lay in a work queue".into()))
    }

    async fn kill_server(&mut self, fault: Fault) -> Result<()> {
        let ground = self
            .ground
            .as_mut()
            .context("only a story with servers of its own may kill them")?;
        if matches!(fault, Fault::KillBroker) {
            ground.broker.kill9()?;
            ground.broker.restart().await
        } else {
            ground.postgres.kill9()?;
            ground.postgres.restart().await
        }
    }

    /// Why it proves nothing, if it does not: no work came while both ran.
    async fn hang_past_lease(&mut self) -> Result<Skipped> {
        let held = |stage: &Stage| -> Result<usize> {
            let sum = "select coalesce(sum(fencing_token), 0)::bigint from signers";
            Ok(stage.app.database.sql(sum)?.parse()?)
        };
        // Each key changes hands once.
        let wanted = held(self.stage)? + KEYS.len();
        self.stage.app.service(EXECUTOR)?.pause()?;
        self.stage.start_second_executor().await?;
        let stage = &*self.stage;
        let taken = eventually(PATIENCE, "the second executor takes the leases", async || {
            Ok((held(stage)? >= wanted).then_some(()))
        });
        taken.await?;
        tokio::time::sleep(PAST_THE_LEASE).await;
        let work = |stage: &Stage| stage.app.database.sql("select count(*) from work_items");
        let before = work(self.stage)?;
        self.stage.app.service(EXECUTOR)?.wake()?;
        // Both run now; the first may find out by itself that its time is over.
        tokio::time::sleep(PAST_THE_LEASE).await;
        let idle = work(self.stage)? == before;
        let mut second = self.stage.second.take().context("the second executor runs")?;
        second.stop()?;
        Ok(idle.then(|| "no work came while two executors ran".into()))
    }

    /// The next version behind both proxies, the former again, and once more: upgrades and their rollbacks. At the end the
    /// former runs, so that the fault may come again.
    async fn upgrade_contracts(&mut self) -> Result<Skipped> {
        let app = &self.stage.app;
        let mut served = Served::since(self.customers);
        let (rpc, at) = (app.chain.url(), &app.addresses);
        for (contract, proxy) in [
            ("ComplianceManager", &at.compliance_manager),
            ("MintEscrow", &at.escrow),
        ] {
            let Upgrade { former, next, .. } = Upgrade::prepare(&rpc, contract, proxy).await?;
            for _ in 0..2 {
                upgrade::switch(&rpc, proxy, &next).await?;
                tokio::time::sleep(UNDER_NEW_CODE).await;
                upgrade::switch(&rpc, proxy, &former).await?;
            }
            served.still_there("during an upgrade");
        }
        Ok(served.gone())
    }
}

/// The executor's accounts, in a fixed order; at least one.
fn signers(app: &testkit::App) -> Result<Vec<String>> {
    let told = app
        .database
        .sql("select string_agg('0x' || encode(address, 'hex'), ' ' order by address) from signers")?;
    let signers: Vec<String> = told.split_whitespace().map(str::to_owned).collect();
    anyhow::ensure!(!signers.is_empty(), "no executor has begun");
    Ok(signers)
}

/// Services in the order in which faults go round.
pub const ROUND: [&str; 3] = [EXECUTOR, CALLBACK, GATEWAY];
