//! Deploys the contracts to a node, and keeps a snapshot of a chain that has them.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{
    addresses::{Addresses, beside},
    anvil::{Anvil, Options},
    dirs,
    process::run,
    sign::sha256_hex,
};

/// Deploys with the development defaults; the script's output is the file at `out`.
pub async fn deploy_to(rpc_url: &str, out: &Path) -> Result<Addresses> {
    let mut command = Command::new(dirs::workspace().join("contracts/deploy.sh"));
    command.arg(rpc_url).arg(out).env_clear();
    // Variables of the caller's shell must not change what a development deployment is.
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    tokio::task::spawn_blocking(move || run(&mut command))
        .await?
        .context("deploy the contracts")?;
    Addresses::read(out)
}

pub async fn deploy(node: &Anvil) -> Result<Addresses> {
    let dir = dirs::private("deploy")?;
    deploy_to(&node.url(), &dir.path().join("addresses.json")).await
}

/// Writes a snapshot of a freshly deployed chain to `state`, and the addresses beside it (see [`beside`]).
///
/// Deploying takes seconds and gives the same chain each time, so the last one is kept in the clone.
pub async fn snapshot(state: &Path) -> Result<Addresses> {
    let cache = dirs::workspace().join(".stack/cache");
    let kept = cache.join(snapshot_name()?);
    if !kept.is_file() {
        std::fs::create_dir_all(&cache)?;
        // Renamed when whole: two runs may be making it at once.
        let making = dirs::private_in(&cache, "making")?;
        let made = making.path().join("chain.json");
        deploy_and_dump(&made).await?;
        std::fs::rename(beside(&made), beside(&kept))?;
        std::fs::rename(&made, &kept)?;
    }
    std::fs::copy(beside(&kept), beside(state))?;
    std::fs::copy(&kept, state).with_context(|| format!("write {}", state.display()))?;
    Addresses::read(&beside(state))
}

async fn deploy_and_dump(state: &Path) -> Result<()> {
    // How many blocks the deployment fills depends on the machine's pace. Without their states, what a test
    // may ask about the past would, too.
    let dumping = Options {
        extra: vec![
            "--preserve-historical-states".into(),
            "--dump-state".into(),
            state.to_string_lossy().into_owned(),
        ],
        ..Options::default()
    };
    let mut node = Anvil::start_with(dumping).await?;
    deploy_to(&node.url(), &beside(state)).await?;
    node.stop()
}

/// Changes with whatever the deployed code is made from.
pub fn snapshot_name() -> Result<String> {
    Ok(format!("chain-with-history-{}.json", sources_hash()?))
}

fn sources_hash() -> Result<String> {
    let root = dirs::workspace().join("contracts");
    let mut files = vec![
        root.join("deploy.sh"),
        root.join("foundry.toml"),
        root.join("package-lock.json"),
    ];
    let mut folders = vec![root.join("src"), root.join("script")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(std::fs::read(&file).with_context(|| format!("read {}", file.display()))?);
    }
    Ok(sha256_hex(&all)[..16].to_owned())
}
