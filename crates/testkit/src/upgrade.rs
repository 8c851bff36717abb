//! Replaces the implementation behind a proxy while it is in use: an operator's upgrade, and its rollback.

use std::{fs::File, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{dirs, evm, http::rpc, process::run, wait::eventually};

const UPGRADE_TO_AND_CALL: &str = "4f1ef286";
const VERSION: &str = "54fd4d50";
/// ERC-1967: where a proxy keeps the address of its code.
const IMPLEMENTATION_SLOT: &str = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc";

/// The address of an implementation, and the version that it returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub address: String,
    pub version: String,
}

/// An upgrade and its rollback: the present implementation and the next one, both deployed.
#[derive(Clone, Debug)]
pub struct Upgrade {
    pub proxy: String,
    pub former: Code,
    pub next: Code,
}

impl Upgrade {
    /// `contract`: what runs behind the proxy, and has a next version in `contracts/test/mocks/NextVersions.sol`.
    pub async fn prepare(rpc_url: &str, contract: &str, proxy: &str) -> Result<Self> {
        let former = running(rpc_url, proxy).await?;
        let address = deploy_next(rpc_url, contract).await?;
        let version = evm::text(rpc_url, &address, VERSION).await?;
        ensure!(
            version != former.version,
            "the next version of {contract} is {version}, as before"
        );
        let proxy = proxy.to_owned();
        let next = Code { address, version };
        Ok(Self { proxy, former, next })
    }
}

/// The code behind a proxy, and the version by which the proxy answers.
pub async fn running(rpc_url: &str, proxy: &str) -> Result<Code> {
    Ok(Code {
        address: implementation(rpc_url, proxy).await?,
        version: evm::text(rpc_url, proxy, VERSION).await?,
    })
}

async fn implementation(rpc_url: &str, proxy: &str) -> Result<String> {
    let word = rpc(
        rpc_url,
        "eth_getStorageAt",
        json!([proxy, IMPLEMENTATION_SLOT, "latest"]),
    )
    .await?;
    let word = word.as_str().context("a storage word")?;
    Ok(format!("0x{}", word.get(26..).context("a whole word")?))
}

async fn deploy_next(rpc_url: &str, contract: &str) -> Result<String> {
    let name = contract.to_owned();
    let code = tokio::task::spawn_blocking(move || creation_code(&name)).await??;
    let creation = json!([{"from": evm::OFFICER, "data": code, "gas": "0xe00000"}]);
    let hash = rpc(rpc_url, "eth_sendTransaction", creation).await?;
    let timeout = std::time::Duration::from_secs(30);
    let receipt = eventually(timeout, "the code is on the chain", async || {
        let receipt = rpc(rpc_url, "eth_getTransactionReceipt", json!([hash])).await?;
        Ok((!receipt.is_null()).then_some(receipt))
    })
    .await?;
    ensure!(receipt["status"] == "0x1", "the creation of {contract} reverted");
    let address = receipt["contractAddress"].as_str().context("no address")?;
    Ok(address.to_lowercase())
}

/// Sets the code behind a proxy, as the upgrader of a development deployment; the proxy then tells that code's version.
pub async fn switch(rpc_url: &str, proxy: &str, code: &Code) -> Result<()> {
    let data = format!(
        "0x{UPGRADE_TO_AND_CALL}{:0>64}{:064x}{:064x}",
        code.address.trim_start_matches("0x"),
        0x40,
        0
    );
    evm::send(rpc_url, evm::OFFICER, proxy, &data).await?;
    let now = running(rpc_url, proxy).await?;
    ensure!(now == *code, "{proxy} runs {now:?}, not {code:?}");
    Ok(())
}

fn creation_code(contract: &str) -> Result<String> {
    let contracts = dirs::workspace().join("contracts");
    std::fs::create_dir_all(contracts.join("deployments"))?;
    // The lock of contracts/deploy.sh: two builds into one folder at once would take each other's output away.
    let lock = File::create(contracts.join("deployments/.build-lock"))?;
    lock.lock().context("lock of the contracts' build")?;
    let mut command = Command::new(contracts.join("tools/foundry"));
    command
        .args([
            "forge",
            "inspect",
            &format!("test/mocks/NextVersions.sol:{contract}V2"),
            "bytecode",
        ])
        .env("FOUNDRY_PROFILE", "next")
        .current_dir(&contracts);
    let code = run(&mut command)?.trim().to_owned();
    ensure!(
        code.starts_with("0x") && code.len() > 1000,
        "forge gave no code for {contract}"
    );
    Ok(code)
}
