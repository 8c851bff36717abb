//! Batches of the escrow: an outcome for each item, and what each costs.

use anyhow::{Result, bail};
use chain::query::IntentOnChain;
use chain::query::IntentStatus::{Executed, Pending, Refunded};
use chain::{BlockHash, BlockRef, EscrowEvent, Signer, calls};
use domain::ids::{IntentId, Preimage};
use domain::item_result::ItemOutcome;

use crate::rig::{World, ids};

#[tokio::test]
async fn deposit_mint_and_refund_with_an_outcome_per_item() -> Result<()> {
    let world = World::new().await?;
    let intents = [world.intent(1)?, world.intent(2)?, world.intent(3)?];
    let all = ids(&intents);
    world.make_compliant(&intents[0].user).await?;
    world.make_compliant(&intents[2].user).await?;

    let (events, _) = world.batch(calls::submit_intents(&intents)).await?;
    assert_eq!(
        events
            .iter()
            .map(|e| (e.name(), e.intent_id()))
            .collect::<Vec<_>>(),
        [
            ("submitted", Some(all[0])),
            ("submitted", Some(all[1])),
            ("submitted", Some(all[2])),
        ]
    );
    let before = world.chain.latest_header().await?;

    let (events, _) = world
        .batch(calls::execute_mints([
            all[0],
            all[1],
            IntentId::from_bytes([9; 32]),
        ]))
        .await?;
    assert!(matches!(events[0], EscrowEvent::Executed { intent_id, .. } if intent_id == all[0]));
    assert_eq!(skipped(&events[1])?, ItemOutcome::NotCompliant);
    assert_eq!(skipped(&events[2])?, ItemOutcome::NotFound);

    let (events, _) = world
        .batch(calls::refund_intents([all[1], all[0]], "not_compliant"))
        .await?;
    let EscrowEvent::Refunded { reason, .. } = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(reason, "not_compliant");
    assert_eq!(skipped(&events[1])?, ItemOutcome::AlreadyExecuted);

    let (events, _) = world.batch(calls::submit_intents(&intents[..1])).await?;
    assert_eq!(skipped(&events[0])?, ItemOutcome::AlreadyExists);

    check_records(&world, &all, before.hash).await?;
    check_totals(&world, &intents, before.hash).await?;
    Ok(())
}

/// Records now, and in the block before the mint.
async fn check_records(world: &World, all: &[IntentId], before: BlockHash) -> Result<()> {
    let unknown = IntentId::from_bytes([9; 32]);
    let asked = [all[0], all[1], all[2], unknown];
    let statuses = |found: Vec<Option<IntentOnChain>>| {
        found
            .into_iter()
            .map(|record| record.map(|record| record.status))
            .collect::<Vec<_>>()
    };
    let now = statuses(world.chain.intents(&asked, BlockRef::Latest).await?);
    let then = statuses(world.chain.intents(&asked, BlockRef::Hash(before)).await?);
    assert_eq!(now, [Some(Executed), Some(Refunded), Some(Pending), None]);
    assert_eq!(then, [Some(Pending), Some(Pending), Some(Pending), None]);
    // More than one call may ask for: an answer to each, in its place.
    let mut many = vec![unknown; 16_384];
    (many[0], many[256], many[16_383]) = (all[0], all[1], all[2]);
    let found = statuses(world.chain.intents(&many, BlockRef::Hash(before)).await?);
    let known: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_some()).collect();
    assert_eq!((found.len(), known), (16_384, vec![0, 256, 16_383]));
    Ok(())
}

/// What the executor sent, what was minted, and what the escrow still holds.
async fn check_totals(world: &World, intents: &[Preimage], before: BlockHash) -> Result<()> {
    assert_eq!(
        world
            .chain
            .nonce(&world.executor.address(), BlockRef::Hash(before))
            .await?,
        1
    );
    let token = world.at.country_token.parse()?;
    assert_eq!(
        world
            .chain
            .token_balance(&token, &intents[0].user, BlockRef::Latest)
            .await?,
        intents[0].amount.get()
    );
    assert_eq!(
        world.chain.pending_total(BlockRef::Latest).await?,
        intents[2].amount.get()
    );
    Ok(())
}

/// The outcome of an item that the escrow skipped.
fn skipped(event: &EscrowEvent) -> Result<ItemOutcome> {
    match event {
        EscrowEvent::Skipped { outcome, .. } => Ok(*outcome),
        other => bail!("not skipped: {other:?}"),
    }
}

/// The figures that size batches; see `GAS` in the executor.
#[tokio::test]
async fn gas_per_item_stays_within_what_batches_are_sized_by() -> Result<()> {
    let world = World::new().await?;
    for count in [1_u64, 16, 64] {
        let intents = (0..count)
            .map(|n| world.intent(1000 * count + n))
            .collect::<Result<Vec<_>>>()?;
        for intent in &intents {
            world.make_compliant(&intent.user).await?;
        }
        let (_, submit) = world.batch(calls::submit_intents(&intents)).await?;
        let (half, rest) = intents.split_at(intents.len() / 2);
        let (events, execute) = world.batch(calls::execute_mints(ids(rest))).await?;
        assert!(
            events.iter().all(|event| event.name() == "executed"),
            "{events:?}"
        );
        let refund = if half.is_empty() {
            0
        } else {
            world.batch(calls::refund_intents(ids(half), "declined")).await?.1
        };
        let each = |gas: u64, items: usize| gas.checked_div(u64::try_from(items).unwrap_or(1)).unwrap_or(0);
        println!(
            "{count}: submit {submit} ({} each), execute {execute} ({} each), refund {refund} ({} each)",
            each(submit, intents.len()),
            each(execute, rest.len()),
            each(refund, half.len())
        );
        let items = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        assert!(submit < 100_000 + 135_000 * items(intents.len()));
        assert!(execute < 100_000 + 75_000 * items(rest.len()));
        assert!(refund < 100_000 + 60_000 * items(half.len()));
    }
    Ok(())
}
