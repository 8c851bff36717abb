//! Short forms of the scenarios of `make chaos`: the same customers, faults and ledger, a few dozen intents each.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::chaos::{Infrastructure, Params, by_name, run, table};

const SEED: u64 = 7;

async fn survives_on(infrastructure: Option<&mut Infrastructure>, name: &str, intents: usize) -> Result<()> {
    let scenario = by_name(name).context("a scenario of the matrix")?;
    let params = Params {
        seed: SEED,
        intents: Some(intents),
        kills: None,
        outage: Duration::from_secs(12),
        at_once: 8,
    };
    let result = run(scenario, &params, infrastructure).await?;
    assert!(result.is_good(), "{}", table(&[result]));
    Ok(())
}

async fn survives(name: &str, intents: usize) -> Result<()> {
    survives_on(None, name, intents).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fifth_of_all_rpc_calls_lost_before_or_after_the_node_acted_mints_each_payment_once() -> Result<()>
{
    survives("rpc-drops", 40).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn false_errors_about_transactions_are_not_trusted() -> Result<()> {
    survives("rpc-errors", 40).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forks_of_depth_one_to_five_mint_nothing_twice_and_lose_nothing() -> Result<()> {
    survives("reorgs", 40).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_at_each_named_point_loses_nothing_and_doubles_nothing() -> Result<()> {
    survives("kill-points", 112).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_rpc_outage_burns_no_attempt_and_all_is_drained_after_it() -> Result<()> {
    survives("rpc-outage", 30).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_away_silent_or_behind_makes_nothing_go_out_again() -> Result<()> {
    survives("rpc-endpoints", 24).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_and_a_killed_database_lose_nothing() -> Result<()> {
    let mut infrastructure = Infrastructure::start().await?;
    survives_on(Some(&mut infrastructure), "broker-restart", 24).await?;
    survives_on(Some(&mut infrastructure), "database-restart", 24).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_used_by_somebody_else_costs_nobody_a_mint() -> Result<()> {
    survives("stolen-nonce", 24).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_hangs_past_its_lease_and_wakes_signs_nothing_more() -> Result<()> {
    survives("two-executors", 24).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_keys_and_upgraded_contracts_refuse_nobody_and_strand_nothing() -> Result<()> {
    survives("operations", 24).await
}
