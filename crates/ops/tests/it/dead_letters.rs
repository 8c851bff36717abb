//! Dead letters on a real broker: read, replayed as new sealed messages, discarded; forged ones stay.

use anyhow::Result;
use domain::clock::{Clock as _, IdSource as _, System};
use messaging::dead_letters::Story;
use messaging::wire::{MintRefund, RefundReason};
use messaging::{
    Broker, BrokerConfig, Outgoing, Publisher, SealedMessage, Sealer, Service, Stamp, WorkQueue,
};
use runtime::KeyDirectory;
use serde_json::Value;
use testkit::{Database, DevKeys, Servers, Vhost};

use crate::cli::Cli;

struct Rig {
    cli: Cli,
    database: Database,
    vhost: Vhost,
    publisher: Publisher,
    sealer: Sealer,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn start() -> Result<Self> {
        let servers = Servers::shared()?;
        let (database, vhost) = (servers.database().await?, servers.vhost().await?);
        let dir = tempfile::tempdir()?;
        let keys = DevKeys::generate(dir.path())?;
        let cli = Cli::new().on(&database)?.broker(&vhost).keys(&keys);
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
            publisher: broker.publisher(),
            sealer,
            _dir: dir,
        })
    }

    fn message(&self, tx_ref: &str) -> Result<SealedMessage> {
        let intent = domain::ids::Preimage {
            chain_id: 31430,
            escrow: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse()?,
            depositor: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse()?,
            user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse()?,
            amount: "150000000000000000000".parse()?,
            country_code: domain::country::CountryCode::KES,
            tx_ref: tx_ref.parse()?,
        };
        let body = MintRefund {
            intent,
            reason: RefundReason::Declined,
        };
        let stamp = Stamp {
            message_id: System.message_id(),
            causation_id: None,
            at: System.now(),
            traceparent: None,
        };
        Ok(self.sealer.seal(&body, stamp)?)
    }

    async fn park(&self, bytes: &[u8], class: &'static str) -> Result<()> {
        let story = Story {
            class,
            text: "as a test wants it",
            attempts: 1,
            last_tx_hash: None,
        };
        let parked = Outgoing::parked(
            WorkQueue::MintRefund,
            bytes,
            &story,
            System.now(),
            ("mint-executor", "test"),
        );
        Ok(self.publisher.publish(parked).await?)
    }

    async fn work(&self) -> Result<Vec<Value>> {
        self.vhost.peek("mint.refund.v1", 10).await
    }
}

#[tokio::test]
async fn an_entry_tells_its_story_and_is_replayed_as_a_new_sealed_message() -> Result<()> {
    let rig = Rig::start().await?;
    let message = rig.message("TX1")?;
    let id = message.message_id.to_string();
    rig.park(&message.bytes, "unavailable").await?;

    let listed = rig.cli.json(&["dlq", "list"])?;
    assert_eq!(
        (&listed[0]["id"], &listed[0]["seal"]),
        (&id.as_str().into(), &"valid".into()),
        "{listed}"
    );
    let shown = rig.cli.json(&["dlq", "show", &id])?;
    assert_eq!(shown["payload"]["body"]["intent"]["txRef"], "TX1", "{shown}");
    assert_eq!(
        (&shown["service"], &shown["class"]),
        (&"mint-executor".into(), &"unavailable".into())
    );

    let replay = ["dlq", "replay", &id, "--reason", "RPC was down"];
    let planned = rig.cli.json(&[&replay[..], &["--dry-run"]].concat())?;
    assert_eq!(planned["entries"][0]["id"], id.as_str());
    assert!(rig.work().await?.is_empty(), "a dry run does nothing");
    let unasked = rig.cli.run(&replay)?;
    assert!(
        unasked.code == 2 && unasked.stderr.contains("--yes"),
        "{unasked:?}"
    );

    let done = rig.cli.json(&[&replay[..], &["--yes"]].concat())?;
    assert_eq!(done["replayed"][0]["old"], id.as_str(), "{done}");
    let sent = rig.work().await?;
    assert_eq!(sent.len(), 1);
    let envelope: Value = serde_json::from_str(sent[0]["payload"].as_str().unwrap_or_default())?;
    assert_eq!(envelope["causationId"], id.as_str());
    assert_eq!(envelope["messageId"], done["replayed"][0]["new"]);
    assert_ne!(envelope["messageId"], id.as_str());
    assert!(rig.cli.ok(&["dlq", "list"])?.contains("nothing is parked"));
    let audit = rig
        .database
        .sql("select who || ' ' || act || ' ' || why from audit_log order by id")?;
    assert_eq!(
        audit,
        "tester dlq.replay RPC was down\ntester dlq.replay.done RPC was down"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_not_sealed_by_us_is_never_replayed_but_can_be_discarded() -> Result<()> {
    let rig = Rig::start().await?;
    let genuine = rig.message("TX1")?;
    let forged = String::from_utf8(rig.message("TX2")?.bytes)?.replace("declined", "operator");
    rig.park(&genuine.bytes, "unavailable").await?;
    rig.park(forged.as_bytes(), "seal_invalid").await?;
    rig.park(b"\x1b[31mnot an envelope", "malformed").await?;

    let listed = rig.cli.ok(&["dlq", "list", "--queue", "mint.refund"])?;
    assert!(
        listed.contains("INVALID") && listed.contains("sha256:") && !listed.contains('\u{1b}'),
        "{listed}"
    );
    let all = [
        "dlq",
        "replay",
        "--queue",
        "mint.refund",
        "--reason",
        "drill",
        "--yes",
    ];
    let ran = rig.cli.run(&all)?;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(rig.work().await?.len(), 1, "only the genuine one");
    let left = rig.cli.json(&["dlq", "list"])?;
    assert_eq!(left.as_array().map(Vec::len), Some(2), "{left}");

    let unchosen = rig.cli.run(&["dlq", "discard", "--reason", "x", "--yes"])?;
    assert!(
        unchosen.code == 2 && unchosen.stderr.contains("nothing is chosen"),
        "{unchosen:?}"
    );
    let discard = [
        "dlq",
        "discard",
        "--class",
        "seal_invalid",
        "--reason",
        "forged",
        "--yes",
    ];
    assert_eq!(rig.cli.json(&discard)?["discarded"], 1);
    assert_eq!(rig.cli.run(&discard)?.code, 1, "nothing fits any more");
    let left = rig.cli.json(&["dlq", "list"])?;
    assert_eq!(
        (left.as_array().map(Vec::len), &left[0]["class"]),
        (Some(1), &"malformed".into())
    );
    Ok(())
}

#[tokio::test]
async fn no_more_than_the_bound_are_replayed() -> Result<()> {
    let rig = Rig::start().await?;
    for n in 0..5 {
        rig.park(&rig.message(&format!("TX{n}"))?.bytes, "unavailable")
            .await?;
    }
    let args = [
        "dlq",
        "replay",
        "--class",
        "unavailable",
        "--max",
        "3",
        "--reason",
        "drill",
        "--yes",
    ];
    assert_eq!(rig.cli.json(&args)?["replayed"].as_array().map(Vec::len), Some(3));
    assert_eq!(rig.work().await?.len(), 3);
    assert_eq!(rig.cli.json(&["dlq", "list"])?.as_array().map(Vec::len), Some(2));
    Ok(())
}
