//! The dependencies of commands. Each is opened only when a command needs it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chain::{ChainClient, RpcConfig};
use clap::Args;
use domain::address::Address;
use domain::clock::{Clock, IdSource, SystemSource};
use domain::policy::Policy;
use messaging::{Broker, BrokerConfig, Service};
use runtime::settings::{BrokerSettings, ContractSettings, DatabaseSettings, PolicySettings};
use runtime::{Environment, SettingError};
use storage::{DbClient, Pool, PoolConfig};

use crate::output::Color;
use crate::settings::{KeySettings, NodeSettings};
use crate::user_error::user_error;

/// Time limit of one request to one RPC endpoint.
const RPC_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Args)]
pub struct GlobalOptions {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Name of the operator, for the audit log [default: $USER]
    #[arg(
        long = "as",
        global = true,
        value_name = "NAME",
        env = "FIATRAILS_OPERATOR",
        hide_env_values = true
    )]
    pub operator: Option<String>,
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "auto|always|never"
    )]
    pub color: Color,
}

pub struct CommandContext {
    pub environment: Environment,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    operator: Option<String>,
}

impl CommandContext {
    pub fn new(environment: Environment, global: &GlobalOptions) -> Self {
        let user = environment.text("USER").or_else(|| environment.text("LOGNAME"));
        Self {
            operator: global.operator.clone().or_else(|| user.map(str::to_owned)),
            environment,
            clock: Arc::new(SystemSource),
            ids: Arc::new(SystemSource),
        }
    }

    /// The operator's name, for the audit log.
    pub fn who(&self) -> Result<&str> {
        let known = self
            .operator
            .as_deref()
            .map(str::trim)
            .filter(|who| !who.is_empty());
        known.ok_or_else(|| {
            user_error(
                "nobody to name in the audit log",
                "pass --as YOUR_NAME or set USER",
            )
        })
    }

    pub fn database(&self) -> Result<PoolConfig> {
        let found: DatabaseSettings = self.environment.read()?;
        let mut config = PoolConfig::new(found.database_url.value().clone(), "fiatrails-cli");
        config.max_size = 2;
        Ok(config)
    }

    pub async fn client(&self) -> Result<DbClient> {
        let pool = Pool::new(&self.database()?)?;
        let client = pool.get().await;
        client.with_context(|| format!("database {}", pool.endpoint()))
    }

    pub fn broker(&self) -> Result<Broker> {
        let found: BrokerSettings = self.environment.read()?;
        let broker = Broker::new(BrokerConfig {
            url: found.amqp_url.value().clone(),
            service: Service::Ops,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ca_pem: found.amqp_ca_pem,
        })?;
        Ok(broker)
    }

    /// The chain client for the contract at `about`.
    pub fn chain(&self, about: Address) -> Result<ChainClient> {
        let node: NodeSettings = self.environment.read()?;
        let urls = match (node.rpc_urls, node.rpc_url) {
            (Some(several), _) => several.list()?,
            (None, Some(one)) => vec![one.value().clone()],
            (None, None) => return Err(SettingError::Missing("RPC_URLS".to_owned()).into()),
        };
        Ok(ChainClient::new(&RpcConfig::new(urls, RPC_TIMEOUT), about)?)
    }

    /// Fails if CHAIN_ID is set and the node is on another chain.
    pub async fn check_chain_id(&self, chain: &ChainClient) -> Result<()> {
        let node: NodeSettings = self.environment.read()?;
        let found = chain.chain_id().await?;
        match node.chain_id {
            Some(wanted) if wanted != found => Err(user_error(
                format!("the node is on chain {found}, CHAIN_ID says {wanted}"),
                "correct RPC_URLS or CHAIN_ID",
            )),
            _ => Ok(()),
        }
    }

    pub fn contracts(&self) -> Result<ContractSettings> {
        Ok(self.environment.read()?)
    }

    /// The operator's key directory, by those who cannot do without.
    pub fn keys_dir(&self) -> Result<PathBuf> {
        let keys: KeySettings = self.environment.read()?;
        let missing = || SettingError::Missing("FIATRAILS_KEYS_DIR".to_owned());
        Ok(keys.keys_dir.ok_or_else(missing)?)
    }

    pub fn policy(&self) -> Result<Policy> {
        Ok(self.environment.read::<PolicySettings>()?.policy)
    }
}

/// Checks a reason for the audit log: not empty, and not too long.
pub fn reason<'a>(flag: &str, text: &'a str) -> Result<&'a str> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(user_error(
            format!("{flag} is empty"),
            "say in a few words why; it goes into the audit log",
        )),
        1..=1000 => Ok(text),
        _ => Err(user_error(
            format!("{flag} is longer than 1000 characters"),
            "shorten it and link the details",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(ca_file: &str) -> Result<Broker> {
        let environment: Environment = [("AMQP_URL", "amqps://u:p@localhost/v"), ("AMQP_CA_FILE", ca_file)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let context = CommandContext {
            environment,
            clock: Arc::new(SystemSource),
            ids: Arc::new(SystemSource),
            operator: None,
        };
        context.broker()
    }

    #[test]
    fn the_broker_certificate_is_verified_as_in_the_services() {
        let missing = broker("/no/such/file").unwrap_err().to_string();
        assert!(missing.contains("AMQP_CA_FILE"), "{missing}");
        assert!(broker(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).is_ok());
    }
}
