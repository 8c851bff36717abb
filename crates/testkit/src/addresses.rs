//! Where the contracts are on a chain.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What `contracts/deploy.sh` writes.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    #[serde(alias = "mintEscrow", alias = "MintEscrow")]
    pub escrow: String,
    #[serde(alias = "CountryToken")]
    pub country_token: String,
    #[serde(alias = "usdStablecoin", alias = "USDStablecoin")]
    pub stablecoin: String,
    #[serde(alias = "UserRegistry")]
    pub user_registry: String,
    #[serde(alias = "ComplianceManager")]
    pub compliance_manager: String,
    pub treasury: String,
}

impl Addresses {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("addresses in {}", path.display()))
    }
}

/// Where the addresses of a snapshot lie.
pub fn beside(state: &Path) -> PathBuf {
    state.with_extension("addresses.json")
}
