//! Settings, typed: clap declares each variable once, with its meaning, default and unit, and `--help`, errors and
//! `docs/SETTINGS.md` are made from that. Errors name the variable and never quote a secret.

mod environment;
mod read;
mod secret;
mod trace;
pub mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use domain::address::Address;
use domain::policy::Policy;
use messaging::Service;

pub use environment::{Environment, SettingError};
pub(crate) use read::{CHECK_READY, CommandLine, with_flags};
pub use read::{Variable, command, variables};
pub use secret::SecretSource;
pub use trace::{Collector, TraceSettings};

/// The settings of one service.
pub trait ServiceSettings: clap::Parser + clap::Args {
    const SERVICE: Service;

    /// What all services have.
    fn shared(&self) -> Settings;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Chain")]
pub struct ContractSettings {
    /// The contract that holds deposits and mints
    #[arg(
        id = "escrow",
        long = "escrow-address",
        env = "ESCROW_ADDRESS",
        value_name = "ADDRESS"
    )]
    pub escrow: Address,
    /// The account whose stablecoin backs every mint
    #[arg(
        id = "treasury",
        long = "treasury-address",
        env = "TREASURY_ADDRESS",
        value_name = "ADDRESS"
    )]
    pub treasury: Address,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Chain")]
pub struct RpcSettings {
    /// JSON-RPC endpoints, comma separated, in order of preference; they may carry credentials
    #[arg(long, env = "RPC_URLS", value_name = "URLS")]
    pub rpc_urls: SecretSource,
}

#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "HTTP")]
pub struct ApiSettings {
    /// Where the API is served
    #[arg(
        id = "listen",
        long = "listen-addr",
        env = "LISTEN_ADDR",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,
    /// PEM of the certificate and its chain; without one the API speaks plain HTTP
    #[arg(long, env = "TLS_CERT_FILE", value_name = "FILE", requires = "tls_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// PEM of the certificate's private key
    #[arg(long, env = "TLS_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    pub tls_key_file: Option<PathBuf>,
}

impl ApiSettings {
    /// Both or none: clap has seen to that.
    pub fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.tls_cert_file.clone()?,
            key: self.tls_key_file.clone()?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Pretty,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err("unknown format"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct LogSettings {
    /// One JSON document a line, or lines for people
    #[arg(
        long = "log-format",
        env = "LOG_FORMAT",
        value_name = "json|pretty",
        default_value = "json"
    )]
    pub format: LogFormat,
    /// What is logged: a level, or levels by target as in `info,storage=debug`
    #[arg(
        id = "log_filter",
        long = "rust-log",
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub filter: String,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Keys and policy")]
pub struct PolicySettings {
    /// The file of limits and windows. A variable FIATRAILS_POLICY_<PATH> overrides one value of it, as in
    /// FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS=30
    #[arg(
        id = "policy",
        long = "fiatrails-policy-file",
        env = "FIATRAILS_POLICY_FILE",
        value_name = "FILE",
        default_value = "deploy/policy.json",
        value_parser = value::policy_file
    )]
    pub policy: Policy,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// Place and login: postgres://USER:PASSWORD@HOST:PORT/DATABASE. A file is followed, so that a login can be
    /// renewed without a restart
    #[arg(long, env = "DATABASE_URL", value_name = "URL")]
    pub database_url: SecretSource,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Broker")]
pub struct BrokerSettings {
    /// Place and login: amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://
    #[arg(long, env = "AMQP_URL", value_name = "URL")]
    pub amqp_url: SecretSource,
    /// PEM of the authorities that may have signed the broker's certificate [default: the public ones]
    #[arg(
        id = "amqp_ca_pem",
        long = "amqp-ca-file",
        env = "AMQP_CA_FILE",
        value_name = "FILE",
        value_parser = value::text_file
    )]
    pub amqp_ca_pem: Option<String>,
}

/// What every service needs.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Most connections of the pool
    #[arg(
        long,
        env = "DATABASE_CONNECTIONS",
        value_name = "CONNECTIONS",
        default_value = "8",
        help_heading = "Database"
    )]
    pub database_connections: usize,
    /// The service's own, and not of the environment: how long a transaction may wait for it, if not for the pool's
    /// usual time.
    #[arg(skip)]
    pub database_idle_in_transaction: Option<Duration>,
    #[command(flatten)]
    pub broker: BrokerSettings,
    /// Directory of this service's keys
    #[arg(
        id = "keys_dir",
        long = "fiatrails-keys-dir",
        env = "FIATRAILS_KEYS_DIR",
        value_name = "DIRECTORY",
        help_heading = "Keys and policy"
    )]
    pub keys_dir: PathBuf,
    #[command(flatten)]
    pub limits: PolicySettings,
    /// Where metrics and health are served
    #[arg(
        id = "admin",
        long = "admin-addr",
        env = "ADMIN_ADDR",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:0",
        help_heading = "Process"
    )]
    pub admin: SocketAddr,
    /// Written once ready, with the bound addresses, for whoever started the process
    #[arg(long, env = "READY_FILE", value_name = "FILE", help_heading = "Process")]
    pub ready_file: Option<PathBuf>,
    /// Between the signal and the soft stop, for balancers to see that the process is not ready any more
    #[arg(id = "drain", long = "drain-ms", env = "DRAIN_MS", value_name = "MILLISECONDS", default_value = "0", value_parser = value::short_millis, help_heading = "Process")]
    pub drain: Duration,
    #[command(flatten)]
    pub log: LogSettings,
    #[command(flatten)]
    pub trace: TraceSettings,
}
