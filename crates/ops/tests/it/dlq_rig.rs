//! Dead queues of a real broker, a database, a chain with the contracts deployed, and the operator's keys.

use anyhow::{Result, ensure};
use domain::clock::{Clock as _, IdSource as _, SystemSource};
use domain::ids::Preimage;
use messaging::dead_letters::FailureReport;
use messaging::wire::{Body, MintRefund, RefundReason};
use messaging::{
    Broker, BrokerConfig, MessageMetadata, Outgoing, Publisher, SealedMessage, Sealer, Service, WorkQueue,
};
use runtime::KeyDirectory;
use serde_json::Value;
use testkit::anvil::{self, Mining};
use testkit::{Addresses, Anvil, Database, DevKeys, Servers, Vhost};

use crate::cli::Cli;

pub const QUEUE: WorkQueue = WorkQueue::MintRefund;

pub struct Rig {
    pub cli: Cli,
    pub database: Database,
    pub vhost: Vhost,
    pub node: Anvil,
    pub addresses: Addresses,
    pub publisher: Publisher,
    pub sealer: Sealer,
    pub keys: DevKeys,
    pub dir: tempfile::TempDir,
}

impl Rig {
    pub async fn start() -> Result<Self> {
        let servers = Servers::shared()?;
        let (database, vhost) = (servers.database().await?, servers.vhost().await?);
        let (node, addresses) = Anvil::deployed(Mining::Automine).await?;
        let dir = tempfile::tempdir()?;
        let keys = DevKeys::generate(&dir.path().join("keys"))?;
        let cli = Cli::new()
            .on(&database)?
            .broker(&vhost)
            .keys(&keys)
            .with("RPC_URL", node.url())
            .with("CHAIN_ID", anvil::CHAIN_ID.to_string())
            .with("ESCROW_ADDRESS", addresses.escrow.as_str())
            .with("TREASURY_ADDRESS", addresses.treasury.as_str());
        cli.ok(&["topology", "declare"])?;
        let broker = Broker::new(BrokerConfig {
            url: vhost.url().into(),
            service: Service::Ops,
            version: "test".into(),
            ca_pem: None,
        })?;
        let sealer = Sealer::new(KeyDirectory::open(&keys.dir("ops"))?.pipeline());
        Ok(Self {
            cli,
            database,
            vhost,
            node,
            addresses,
            publisher: Publisher::new(&broker),
            sealer,
            keys,
            dir,
        })
    }

    pub fn intent(&self, tx_ref: &str) -> Result<Preimage> {
        Ok(Preimage {
            chain_id: anvil::CHAIN_ID,
            escrow: self.addresses.escrow.parse()?,
            depositor: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse()?,
            user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse()?,
            amount: "5000000000000000000".parse()?,
            country_code: domain::country::CountryCode::KES,
            tx_ref: tx_ref.parse()?,
        })
    }

    pub fn seal(&self, body: &impl Body) -> Result<SealedMessage> {
        let metadata = MessageMetadata {
            message_id: SystemSource.message_id(),
            causation_id: None,
            at: SystemSource.now(),
            traceparent: None,
        };
        Ok(self.sealer.seal(body, metadata)?)
    }

    /// A sealed `mint.refund`.
    pub fn message(&self, tx_ref: &str) -> Result<SealedMessage> {
        self.seal(&MintRefund {
            intent: self.intent(tx_ref)?,
            reason: RefundReason::Declined,
        })
    }

    pub fn letter(queue: WorkQueue, bytes: &[u8], class: &'static str) -> Outgoing {
        let report = FailureReport {
            class,
            text: "as a test wants it",
            attempts: 1,
            last_tx_hash: None,
            failed_at: SystemSource.now(),
            service: "mint-executor",
            version: "test",
        };
        Outgoing::parked(queue, bytes, &report)
    }

    pub async fn park_on(&self, queue: WorkQueue, bytes: &[u8], class: &'static str) -> Result<()> {
        Ok(self.publisher.publish(Self::letter(queue, bytes, class)).await?)
    }

    pub async fn park(&self, bytes: &[u8], class: &'static str) -> Result<()> {
        self.park_on(QUEUE, bytes, class).await
    }

    /// Parks `count` sealed messages, their txRefs numbered from `first`.
    pub async fn park_many(&self, first: u32, count: u32, class: &'static str) -> Result<()> {
        let numbers: Vec<u32> = (first..first + count).collect();
        for some in numbers.chunks(2000) {
            let letters = some
                .iter()
                .map(|n| {
                    Ok(Self::letter(
                        QUEUE,
                        &self.message(&format!("TX{n}"))?.bytes,
                        class,
                    ))
                })
                .collect::<Result<Vec<_>>>()?;
            let results = self.publisher.publish_many(letters).await;
            ensure!(results.iter().all(Result::is_ok), "not everything was parked");
        }
        Ok(())
    }

    /// The envelopes that wait on the work queue.
    pub async fn work(&self) -> Result<Vec<Value>> {
        let waiting = self.vhost.peek("mint.refund.v1", 10_000).await?;
        waiting
            .iter()
            .map(|one| Ok(serde_json::from_str(one["payload"].as_str().unwrap_or_default())?))
            .collect()
    }

    /// Messages of a queue, those held by somebody included.
    pub async fn depth(&self, queue: &str) -> Result<(u64, u64)> {
        let path = format!("queues/{}/{queue}", self.vhost.name());
        let answer = self.vhost.management().get(&path).await?;
        let number = |field: &str| answer[field].as_u64().unwrap_or_default();
        Ok((number("messages_ready"), number("messages_unacknowledged")))
    }
}

/// The string under a key of a JSON object in a list, for all of them.
pub fn column<'v>(list: &'v Value, key: &str) -> Vec<&'v str> {
    let rows = list.as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .map(|row| row[key].as_str().unwrap_or_default())
        .collect()
}
