//! What the client reads, and the errors of what is not there.

use std::time::Duration;

use anyhow::Result;
use chain::{BlockRef, ChainClient, ChainError, RpcConfig, Signer};
use domain::country::CountryCode;

use crate::rig::World;

#[tokio::test]
async fn the_deployment_reads_as_it_was_made() -> Result<()> {
    let world = World::new().await?;
    let found = world.chain.deployment().await?;
    assert_eq!(found.chain_id, testkit::anvil::CHAIN_ID);
    assert_eq!(found.treasury, world.at.treasury.parse()?);
    assert_eq!(
        (found.stablecoin_decimals, found.country_token_decimals),
        (18, 18)
    );
    assert_eq!(found.country_code, CountryCode::KES.to_word());
    assert_eq!(found.daily_limit_per_user, 20_000_000_000_000_000_000_000);
    assert!(
        world
            .chain
            .may_execute(&world.executor.address(), chain::BlockRef::Latest)
            .await?
    );
    assert!(
        !world
            .chain
            .may_execute(&world.admin.address(), chain::BlockRef::Latest)
            .await?
    );
    let (latest, first) = (chain::BlockRef::Latest, chain::BlockRef::Number(0));
    assert!(world.chain.has_code(&world.chain.escrow(), latest).await?);
    assert!(!world.chain.has_code(&world.chain.escrow(), first).await?);
    assert!(!world.chain.has_code(&world.admin.address(), latest).await?);
    let condition = world.chain.escrow_status(&found).await?;
    assert!(!condition.escrow_paused && !condition.token_paused);
    assert_eq!(condition.compliance_paused, Some(false));
    assert_eq!(condition.treasury_allowance, u128::MAX);
    assert!(condition.treasury_balance > 0);
    let standing = world.chain.signer_status(&world.executor.address()).await?;
    assert!(standing.balance > 0 && standing.may_execute && standing.mint_available > 0);
    Ok(())
}

#[tokio::test]
async fn missing_blocks_and_contracts_give_typed_errors() -> Result<()> {
    let world = World::new().await?;
    let head = world.chain.latest_header().await?;
    assert_eq!(world.chain.header(head.number).await?, Some(head));
    assert_eq!(world.chain.header(head.number + 5).await?, None);
    let nowhere = chain::BlockHash::from_bytes([3; 32]);
    let error = world
        .chain
        .nonce(&world.executor.address(), BlockRef::Hash(nowhere))
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(
        world
            .chain
            .escrow_logs(nowhere)
            .await
            .is_err_and(|error| error.is_transient())
    );
    assert_eq!(
        world.chain.receipt(chain::TxHash::from_bytes([3; 32])).await?,
        None
    );
    // A wallet has no such function.
    let elsewhere = ChainClient::new(
        &RpcConfig::new(vec![world.node.url().into()], Duration::from_secs(5)),
        world.admin.address(),
    )?;
    let error = elsewhere.deployment().await.unwrap_err();
    assert!(
        matches!(error, ChainError::BadAnswer { .. } | ChainError::Reverted(_)),
        "{error:?}"
    );
    Ok(())
}
