//! A slow signer: no row is locked while it signs, and a batch that changed meanwhile is signed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use chain::signer::{RawSignature, SignerError};
use chain::transaction::recover;
use chain::{LocalKey, Signer};
use domain::address::Address;
use domain::command::Command;
use domain::intent::ChainLeg;
use mint_executor::steps::{BatchResult, WorkError};
use storage::executor::attempts;
use testkit::anvil::EXECUTOR_PRIVATE_KEY;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::rig::TestExecutor;
use crate::world::TestEnvironment;

const PATIENCE: Duration = Duration::from_secs(10);

/// Signs only once it is allowed to, and counts its requests.
#[derive(Debug)]
struct SlowSigner {
    key: LocalKey,
    asked: Semaphore,
    may: Semaphore,
}

impl SlowSigner {
    fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            key: EXECUTOR_PRIVATE_KEY.parse()?,
            asked: Semaphore::new(0),
            may: Semaphore::new(0),
        }))
    }

    /// Runs `change` while it signs; from then on it signs at once.
    async fn meanwhile(&self, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let asked = tokio::time::timeout(PATIENCE, self.asked.acquire()).await;
        let changed = asked.context("nothing is signed").and_then(|_| change());
        self.may.add_permits(Semaphore::MAX_PERMITS / 2);
        changed
    }
}

#[async_trait]
impl Signer for SlowSigner {
    fn address(&self) -> Address {
        self.key.address()
    }

    async fn sign(&self, digest: [u8; 32]) -> Result<RawSignature, SignerError> {
        self.asked.add_permits(1);
        let turn = self.may.acquire().await;
        turn.map_err(|_| SignerError::Unavailable("it is gone".into()))?
            .forget();
        self.key.sign(digest).await
    }
}

async fn with_two_deposits(world: &TestEnvironment) -> Result<(TestExecutor, Arc<SlowSigner>)> {
    let slow = SlowSigner::new()?;
    let mut rig = world.executor().signer(slow.clone()).build()?;
    rig.acquire_leases().await?;
    for n in [1, 2] {
        rig.submit(&world.intent(n)?).await?;
    }
    Ok((rig, slow))
}

#[tokio::test]
async fn a_signer_that_takes_its_time_holds_no_row() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (mut rig, slow) = with_two_deposits(&world).await?;
    let others = || {
        for sql in [
            "update signers set next_nonce = next_nonce",
            "update work_items set state = state",
            "update chain_legs set leg = leg",
        ] {
            world.db.sql(&format!("set lock_timeout = '500ms'; {sql}"))?;
        }
        let open = "select count(*) from pg_stat_activity \
                    where datname = current_database() and state = 'idle in transaction'";
        assert_eq!(world.count(open)?, 0, "nothing is asked inside a transaction");
        Ok(())
    };
    let (built, free) = tokio::join!(rig.round(Command::Submit), slow.meanwhile(others));
    free?;
    assert!(
        matches!(built?, BatchResult::Attempt { items: 2, .. }),
        "as it was signed"
    );
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&world.intent(1)?).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_batch_changed_during_signing_is_not_sent_under_that_signature() -> Result<()> {
    // The change, and what the batch is then: its items, and how far its nonce is from the first.
    let changes = [
        (
            "update work_items set state = 'done' where message_id = \
             (select message_id from work_items order by created_at limit 1)",
            (1, 0),
        ),
        ("update signers set next_nonce = next_nonce + 1", (2, 1)),
    ];
    for (change, (members, step)) in changes {
        let world = TestEnvironment::new().await?;
        let (rig, slow) = with_two_deposits(&world).await?;
        let first = world.count("select next_nonce from signers")?;
        let changing = slow.meanwhile(|| world.db.sql(change).map(drop));
        let (built, changed) = tokio::join!(rig.round(Command::Submit), changing);
        changed?;
        let BatchResult::Attempt { items, signed, .. } = built? else {
            anyhow::bail!("{change}: nothing was sent")
        };
        assert_eq!(items, members, "{change}");
        let client = rig.pool.get().await?;
        let stored = attempts::open(&client).await?;
        assert_eq!(stored.len(), 1, "{change}: what was thrown away is not stored");
        let attempt = stored.first().context("an attempt")?;
        assert_eq!(
            attempt.raw_transaction, signed.raw,
            "{change}: what is sent is stored"
        );
        let said = recover(&attempt.raw_transaction)?.transaction;
        assert_eq!(
            (said.nonce, attempt.nonce),
            (first + step, first + step),
            "{change}"
        );
        let rows = attempts::items(&client, &[attempt.id]).await?;
        let (_, called) = chain::calls::decode_call(&said.data).context("deposits")?;
        let rows: Vec<_> = rows.iter().map(|row| row.intent_id).collect();
        assert_eq!(called, rows, "{change}: its rows are what it calls");
    }
    Ok(())
}

#[tokio::test]
async fn a_signature_under_an_ended_lease_is_discarded() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (rig, slow) = with_two_deposits(&world).await?;
    let lease = rig.lease()?;
    let round = rig.steps.step_sign(rig.signer(), &lease, Command::Submit);
    let (built, ended) = tokio::join!(round, slow.meanwhile(|| world.expire_leases()));
    ended?;
    assert!(matches!(built, Err(WorkError::NoLease)), "{built:?}");
    assert_eq!(world.count("select count(*) from attempts")?, 0);
    let ready = "select count(*) from work_items where state = 'ready'";
    assert_eq!(world.count(ready)?, 2, "it is still to be done");
    Ok(())
}

/// A token that can be made unavailable.
#[derive(Debug)]
struct FailingSigner {
    key: LocalKey,
    gone: AtomicBool,
}

#[async_trait]
impl Signer for FailingSigner {
    fn address(&self) -> Address {
        self.key.address()
    }

    async fn sign(&self, digest: [u8; 32]) -> Result<RawSignature, SignerError> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(SignerError::Unavailable("it is gone".into()));
        }
        self.key.sign(digest).await
    }
}

#[tokio::test]
async fn a_key_without_its_token_is_reported_and_moves_to_another_executor() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let token = Arc::new(FailingSigner {
        key: EXECUTOR_PRIVATE_KEY.parse()?,
        gone: AtomicBool::new(true),
    });
    let mut rig = world.executor().signer(token.clone()).build()?;
    rig.acquire_leases().await?;
    rig.submit(&world.intent(1)?).await?;
    let round = rig.round(Command::Submit).await;
    let error = round.err().context("nothing can be signed")?;
    assert!(error.to_string().contains("it is gone"), "{error}");
    assert!(
        rig.signer().signatures().is_open(),
        "its share waits, and that is shown"
    );

    let (key, hold) = (rig.signer(), rig.tuning.lease);
    key.probe().await.err().context("it is gone still")?;
    let now = Instant::now();
    rig.steps.step_signer_lease(key, now).await?;
    assert!(key.current_lease().is_some(), "not for ever yet");
    rig.steps.step_signer_lease(key, now + hold * 2).await?;
    assert!(
        key.current_lease().is_none(),
        "nothing was signed for as long as a lease lasts"
    );
    rig.steps.step_signer_lease(key, now + hold * 2).await?;
    assert!(key.current_lease().is_none(), "it does not sign");
    let other = world.executor().build()?;
    other.take(other.signer()).await?;

    let client = other.pool.get().await?;
    storage::executor::signers::release(&client, &other.lease()?).await?;
    token.gone.store(false, Ordering::Relaxed);
    let (key, stop) = (rig.key(0).clone(), runtime::Stop::new());
    let breaker = tokio::spawn(rig.steps.watch_signatures(&key, stop.clone()));
    testkit::eventually(PATIENCE, "the breaker closes by itself", async || {
        Ok((*key.signatures().gate().borrow()).then_some(()))
    })
    .await?;
    rig.steps.step_signer_lease(&key, now + hold * 2).await?;
    assert!(key.current_lease().is_some(), "it signs, and the key is ours");
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    stop.drain();
    breaker.abort();
    Ok(())
}
