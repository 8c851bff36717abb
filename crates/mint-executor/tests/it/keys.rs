//! Several signers: each works on its share, an intent stays with its signer, and a removed signer strands nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chain::query::BlockHeader;
use domain::command::Command;
use domain::ids::Preimage;
use domain::intent::{Cause, ChainLeg, Finality};
use mint_executor::steps::{BatchResult, SignerHandle};
use storage::executor::attempts;
use storage::executor::heartbeat::{self, ExecutorHeartbeat};
use storage::executor::legs::{self, TransitionReason};
use testkit::anvil::{DEV_PRIVATE_KEYS, EXECUTOR_PRIVATE_KEY};
use tokio::time::Instant;

use crate::rig::TestExecutor;
use crate::world::{PAUSE, TestEnvironment};

const PATIENCE: Duration = Duration::from_secs(10);

pub const SECOND_KEY: &str = DEV_PRIVATE_KEYS[3];

pub fn items(built: &BatchResult) -> usize {
    match built {
        BatchResult::Attempt { items, .. } => *items,
        _ => 0,
    }
}

fn end_lease(world: &TestEnvironment, key: &SignerHandle) -> Result<()> {
    let address = hex::encode(key.address_bytes());
    let end = format!("update signers set lease_until = now() where address = '\\x{address}'");
    world.db.sql(&end).map(drop)
}

async fn two_keys(world: &TestEnvironment) -> Result<TestExecutor> {
    let mut rig = world
        .executor()
        .keys(&[EXECUTOR_PRIVATE_KEY, SECOND_KEY])
        .build()?;
    world.set_role(&rig.chain, &rig.key(1).address(), true).await?;
    rig.acquire_leases().await?;
    Ok(rig)
}

pub async fn submit_all(rig: &TestExecutor, world: &TestEnvironment, count: u64) -> Result<Vec<Preimage>> {
    let mut intents = Vec::new();
    for n in 0..count {
        let intent = world.intent(n)?;
        rig.submit(&intent).await?;
        intents.push(intent);
    }
    Ok(intents)
}

#[tokio::test]
async fn two_keys_share_the_work_and_an_intent_stays_with_its_key() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = two_keys(&world).await?;
    let first = world.compliant_intent(0, &rig.chain).await?;
    rig.poll().await?;
    let intents = submit_all(&rig, &world, 40).await?;
    let mut shares = [0, 0];
    for (index, key) in rig.signers.iter().enumerate() {
        shares[index] = items(&rig.submit_batch_of(key, Command::Submit).await?);
    }
    assert_eq!(shares[0] + shares[1], 40, "{shares:?}");
    assert!(shares.iter().all(|share| *share > 5), "{shares:?}");
    rig.mine(&world, 1).await?;
    for intent in &intents {
        assert_eq!(rig.leg(intent).await?, ChainLeg::Escrowed);
    }
    // Its own signer executes it, though the other one asks first.
    rig.execute(&first).await?;
    let signer = rig.leg_row(&first.intent_id()).await?.signer;
    let own = usize::from(signer == Some(rig.key(1).address_bytes()));
    let (own, other) = (rig.key(own), rig.key(1 - own));
    assert_eq!(
        rig.submit_batch_of(other, Command::Execute).await?,
        BatchResult::Nothing
    );
    assert_eq!(items(&rig.submit_batch_of(own, Command::Execute).await?), 1);
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&first).await?, ChainLeg::Executed(Finality::Mined));
    Ok(())
}

#[tokio::test]
async fn a_key_without_its_role_holds_back_its_own_share_only() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = two_keys(&world).await?;
    let bad = rig.key(1).clone();
    world.set_role(&rig.chain, &bad.address(), false).await?;
    rig.poll().await?;
    let intents = submit_all(&rig, &world, 20).await?;
    let mut sent = 0;
    for key in &rig.signers {
        sent += items(&rig.submit_batch_of(key, Command::Submit).await?);
    }
    rig.mine(&world, 4).await?;
    assert!(bad.role_and_balance().is_open() && !rig.signer().role_and_balance().is_open());
    let mut escrowed = 0;
    for intent in &intents {
        escrowed += usize::from(rig.leg(intent).await? == ChainLeg::Escrowed);
    }
    assert!((1..20).contains(&escrowed), "{escrowed} of {sent}");
    assert_eq!(
        world.count("select count(*) from work_items where state = 'ready'")?,
        u64::try_from(20 - escrowed)?,
        "the other share waits in its rows"
    );
    Ok(())
}

#[tokio::test]
async fn a_key_without_gas_holds_back_its_own_share_until_it_is_funded() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = two_keys(&world).await?;
    let poor = rig.key(1).clone();
    world.fund(&poor.address(), 0).await?;
    rig.poll().await?;
    let intents = submit_all(&rig, &world, 20).await?;
    for key in &rig.signers {
        rig.submit_batch_of(key, Command::Submit).await?;
    }
    assert!(poor.role_and_balance().is_open() && !rig.signer().role_and_balance().is_open());
    rig.mine(&world, 1).await?;
    let mut waiting = Vec::new();
    for intent in &intents {
        let leg = rig.leg_row(&intent.intent_id()).await?;
        let expected = if leg.signer == Some(poor.address_bytes()) {
            waiting.push(intent);
            ChainLeg::Submitting
        } else {
            ChainLeg::Escrowed
        };
        assert_eq!(leg.leg, expected);
    }
    assert!((1..20).contains(&waiting.len()), "{}", waiting.len());

    world.fund(&poor.address(), 10_u128.pow(18)).await?;
    rig.mine(&world, 3).await?;
    for intent in waiting {
        assert_eq!(
            rig.leg(intent).await?,
            ChainLeg::Escrowed,
            "the same bytes went again"
        );
    }
    assert_eq!(
        world.count("select count(*) from attempts")?,
        2,
        "nothing was signed twice"
    );
    Ok(())
}

/// Runs a batch of one signer that has read an item and waits for its leg, while the other signer takes the leg.
async fn round_outrun_by(
    rig: &TestExecutor,
    world: &TestEnvironment,
    own: &Arc<SignerHandle>,
    other: &SignerHandle,
    n: u64,
) -> Result<BatchResult> {
    let intent = world.intent(n)?;
    rig.submit(&intent).await?;
    let mut client = rig.pool.get().await?;
    let taking = client.begin().await?;
    let mut taken = legs::lock(&taking, &[intent.intent_id()]).await?;
    let take = async {
        let waits = "select count(*) from pg_stat_activity \
                     where datname = current_database() and wait_event_type = 'Lock'";
        let waiting = testkit::eventually(PATIENCE, "the key waits", async || {
            Ok((world.count(waits)? > 0).then_some(()))
        });
        waiting.await?;
        taken[0].signer = Some(other.address_bytes());
        let because = TransitionReason {
            name: "signed",
            tx_hash: None,
            message_id: None,
        };
        taken[0].advance(ChainLeg::Submitting, Cause::Commanded, because)?;
        legs::save(&taking, &taken).await?;
        anyhow::Ok(taking.commit().await?)
    };
    let (built, taken) = tokio::join!(rig.submit_batch_of(own, Command::Submit), take);
    taken?;
    built
}

#[tokio::test]
async fn an_intent_taken_by_another_key_meanwhile_stays_with_that_key() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = two_keys(&world).await?;
    let mut signers = rig.signers.clone();
    signers.sort_by_key(|key| key.address_bytes());
    let id = world.intent(1)?.intent_id();
    let place = usize::from(u16::from_be_bytes([id.as_bytes()[0], id.as_bytes()[1]]) % 2);
    // The other signer is active and keeps its intents.
    let (own, other) = (&signers[place], &signers[1 - place]);
    assert_eq!(
        round_outrun_by(&rig, &world, own, other, 1).await?,
        BatchResult::WithoutAttempt
    );
    assert_eq!(world.count("select count(*) from attempts")?, 0);
    world.end_item_delays()?;
    assert_eq!(items(&rig.submit_batch_of(own, Command::Submit).await?), 0);
    assert_eq!(
        items(&rig.submit_batch_of(other, Command::Submit).await?),
        1,
        "its own"
    );
    // The other signer's lease ended, and its deposit is mined but not final.
    rig.mine(&world, 1).await?;
    end_lease(&world, other)?;
    assert_eq!(
        round_outrun_by(&rig, &world, own, other, 2).await?,
        BatchResult::WithoutAttempt
    );
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}

#[tokio::test]
async fn items_of_another_key_take_no_place_in_a_batch() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = two_keys(&world).await?;
    let (gone, left) = (rig.key(0).clone(), rig.key(1).clone());
    let intents = submit_all(&rig, &world, 40).await?;
    let share = items(&rig.submit_batch_of(&gone, Command::Submit).await?);
    rig.submit_batch_of(&left, Command::Submit).await?;
    rig.mine(&world, 1).await?;
    // Items of the signer whose lease ends come first. Its deposits are not final, so it keeps its intents.
    for key in [&gone, &left] {
        for intent in &intents {
            if rig.leg_row(&intent.intent_id()).await?.signer == Some(key.address_bytes()) {
                rig.execute(intent).await?;
            }
        }
    }
    end_lease(&world, &gone)?;
    let head = rig.head().context("a head")?;
    rig.set_head(Some(BlockHeader {
        gas_limit: 1_000_000,
        ..head
    }));
    let sent = items(&rig.submit_unsimulated(&left, Command::Execute).await?);
    assert!((1..share).contains(&sent), "{sent} of its own, past {share}");
    let touched = "select count(*) from work_items where command = 'execute' and reason is not null";
    assert_eq!(world.count(touched)?, 0, "what waits is not even looked at");
    Ok(())
}

#[tokio::test]
async fn a_nonce_mined_meanwhile_is_not_signed_again() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    let intent = world.compliant_intent(1, &rig.chain).await?;
    rig.acquire_leases().await?;
    rig.submit(&intent).await?;
    rig.send(Command::Submit, 1).await?;
    let head = rig.chain.latest_header().await?;
    let (lease, client) = (rig.lease()?, rig.pool.get().await?);
    let waiting = attempts::open(&client).await?.pop().context("an attempt")?;
    drop(client);
    // An open attempt is not a gap.
    let filled = rig
        .steps
        .step_fill_gap(rig.signer(), &lease, &head, waiting.nonce)
        .await?;
    assert_eq!(filled, None);
    // The nonce manager has read the open attempt, and the follower is faster.
    rig.mine(&world, 1).await?;
    let dearer = rig
        .steps
        .step_bump_fee(rig.signer(), &lease, &head, &waiting)
        .await?;
    assert_eq!(dearer, None);
    let filled = rig
        .steps
        .step_fill_gap(rig.signer(), &lease, &head, waiting.nonce)
        .await?;
    assert_eq!(filled, None);
    assert_eq!(
        world.db.sql("select string_agg(state, ' ') from attempts")?,
        "mined"
    );
    Ok(())
}

#[tokio::test]
async fn an_open_attempt_beside_a_final_one_of_its_nonce_is_superseded() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    let intent = world.compliant_intent(1, &rig.chain).await?;
    rig.acquire_leases().await?;
    rig.deposit(&world, &intent).await?;
    world.db.sql(
        "insert into attempts (signer, nonce, tx_hash, raw_transaction, command, state, replaces_attempt_id, fencing_token) \
         select signer, nonce, sha256(tx_hash), raw_transaction, command, 'signed', id, fencing_token from attempts",
    )?;
    rig.mine(&world, 6).await?;
    assert_eq!(
        world
            .db
            .sql("select string_agg(state, ' ' order by id) from attempts")?,
        "final superseded"
    );
    Ok(())
}

#[tokio::test]
async fn a_signer_learns_refusals_from_blocks_that_another_executor_ingested() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut follower = world.executor().build()?;
    follower.acquire_leases().await?;
    let mut other = world.executor().keys(&[SECOND_KEY]).build()?;
    world
        .set_role(&other.chain, &other.signer().address(), true)
        .await?;
    follower.poll().await?;
    other.take(other.signer()).await?;
    submit_all(&follower, &world, 20).await?;
    world.as_admin(&other.chain, &PAUSE).await?;
    follower.poll().await?;
    other.steps.step_watch().await?;
    assert!(items(&other.submit_unsimulated(other.signer(), Command::Submit).await?) > 0);
    follower.mine(&world, 1).await?;
    other.steps.step_watch().await?;
    assert!(other.is_blocked(Command::Submit), "the escrow is paused");
    assert!(!other.is_blocked(Command::Execute) && !other.signer().role_and_balance().is_open());
    Ok(())
}

#[tokio::test]
async fn a_follower_with_a_stalled_node_yields_to_another_executor() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (one, other) = (world.executor().build()?, world.executor().build()?);
    let (hold, now) = (one.tuning.lease, Instant::now());
    one.steps.step_follower_lease(now).await?;
    assert!(one.steps.view.follower_lease().is_some());
    // No other executor sees a later block, so it stays.
    one.steps.step_follower_lease(now + hold * 4).await?;
    assert!(one.steps.view.follower_lease().is_some());
    let beat = ExecutorHeartbeat {
        rpc_connected: true,
        head: Some(7),
        ..ExecutorHeartbeat::default()
    };
    heartbeat::record(&other.pool.get().await?, other.instance, &beat).await?;
    one.steps.step_follower_lease(now + hold * 4).await?;
    assert_eq!(one.steps.view.follower_lease(), None);
    one.steps.step_follower_lease(now + hold * 4).await?;
    assert_eq!(one.steps.view.follower_lease(), None, "it is another's turn");
    other.steps.step_follower_lease(now).await?;
    assert!(other.steps.view.follower_lease().is_some());
    one.steps.step_follower_lease(now + hold * 6).await?;
    assert_eq!(one.steps.view.follower_lease(), None);
    Ok(())
}

#[tokio::test]
async fn occasional_lost_sends_open_no_breaker_while_the_node_answers() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
    first.acquire_leases().await?;
    // It holds a signer's lease, and another executor follows the chain.
    let second = world.executor().keys(&[SECOND_KEY]).build()?;
    second.take(second.signer()).await?;
    let stop = runtime::Stop::new();
    let watching = tokio::spawn(second.steps.following(stop.clone()));
    let mut seen = second.steps.view.node_answers();
    for _ in 0..4 {
        second.steps.gates.node().failure("a send was not answered");
        // Wait for the poll that is running now, and for a whole one after it.
        for _ in 0..2 {
            seen.borrow_and_update();
            tokio::time::timeout(PATIENCE, seen.changed()).await??;
        }
        assert!(!second.steps.gates.node().is_open());
    }
    watching.abort();
    Ok(())
}
