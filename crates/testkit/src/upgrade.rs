//! The code behind a proxy, replaced while the proxy works: what an operator's upgrade does, and its rollback.

use std::{fs::File, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{dirs, evm, http::rpc, process::run, wait::eventually};

const UPGRADE_TO_AND_CALL: &str = "4f1ef286";
/// ERC-1967: where a proxy keeps the address of its code.
const IMPLEMENTATION_SLOT: &str = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc";

/// The address of the code behind a proxy.
pub async fn implementation(rpc_url: &str, proxy: &str) -> Result<String> {
    let word = rpc(
        rpc_url,
        "eth_getStorageAt",
        json!([proxy, IMPLEMENTATION_SLOT, "latest"]),
    )
    .await?;
    let word = word.as_str().context("a storage word")?;
    Ok(format!("0x{}", word.get(26..).context("a whole word")?))
}

/// Puts fresh code of `contract` (as it is in `contracts/src`) on the chain; its address.
pub async fn deploy_code(rpc_url: &str, contract: &str) -> Result<String> {
    let name = contract.to_owned();
    let code = tokio::task::spawn_blocking(move || creation_code(&name)).await??;
    let creation = json!([{"from": evm::OFFICER, "data": code, "gas": "0xe00000"}]);
    let hash = rpc(rpc_url, "eth_sendTransaction", creation).await?;
    let patience = std::time::Duration::from_secs(30);
    let receipt = eventually(patience, "the code is on the chain", async || {
        let receipt = rpc(rpc_url, "eth_getTransactionReceipt", json!([hash])).await?;
        Ok((!receipt.is_null()).then_some(receipt))
    })
    .await?;
    ensure!(receipt["status"] == "0x1", "the creation of {contract} reverted");
    Ok(receipt["contractAddress"]
        .as_str()
        .context("no address")?
        .to_owned())
}

/// Sets the code behind a proxy, as the upgrader of a development deployment.
pub async fn switch(rpc_url: &str, proxy: &str, code: &str) -> Result<()> {
    let data = format!(
        "0x{UPGRADE_TO_AND_CALL}{:0>64}{:064x}{:064x}",
        code.trim_start_matches("0x").to_lowercase(),
        0x40,
        0
    );
    evm::send(rpc_url, evm::OFFICER, proxy, &data).await?;
    let now = implementation(rpc_url, proxy).await?;
    ensure!(now.eq_ignore_ascii_case(code), "{proxy} runs {now}, not {code}");
    Ok(())
}

fn creation_code(contract: &str) -> Result<String> {
    let contracts = dirs::workspace().join("contracts");
    std::fs::create_dir_all(contracts.join("deployments"))?;
    // The lock of contracts/deploy.sh: two builds at once would take each other's output away.
    let lock = File::create(contracts.join("deployments/.build-lock"))?;
    lock.lock().context("lock of the contracts' build")?;
    let mut command = Command::new(contracts.join("tools/foundry"));
    command
        .args([
            "forge",
            "inspect",
            &format!("src/{contract}.sol:{contract}"),
            "bytecode",
        ])
        .env("FOUNDRY_PROFILE", "deploy")
        .current_dir(&contracts);
    let code = run(&mut command)?.trim().to_owned();
    ensure!(
        code.starts_with("0x") && code.len() > 1000,
        "forge gave no code for {contract}"
    );
    Ok(code)
}
