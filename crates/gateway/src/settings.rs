//! The gateway's own settings beside those of every service.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use messaging::Service;
use runtime::settings::{ApiSettings, ContractSettings, value};

/// The only public door: authenticates integrators and M-Pesa's reports, remembers what they ask, answers.
///
/// Each setting is a variable or a flag, which goes first. Secrets come from a variable or from a file alone.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "gateway", version, after_help = EXAMPLES)]
pub struct GatewaySettings {
    #[command(flatten)]
    pub shared: runtime::Settings,
    #[command(flatten)]
    pub api: ApiSettings,
    /// `escrow` goes into every intent id; the treasury is the depositor of every intent of ours.
    #[command(flatten)]
    pub contracts: ContractSettings,
    #[command(flatten)]
    pub bounds: Bounds,
}

impl runtime::ServiceSettings for GatewaySettings {
    const SERVICE: Service = Service::Gateway;

    fn shared(&self) -> runtime::Settings {
        self.shared.clone()
    }
}

const EXAMPLES: &str = "Examples:
  DATABASE_URL_FILE=/run/secrets/database AMQP_URL_FILE=/run/secrets/broker FIATRAILS_KEYS_DIR=/run/keys \\
    ESCROW_ADDRESS=0x... TREASURY_ADDRESS=0x... gateway --listen-addr 0.0.0.0:8080
  ADMIN_ADDR=127.0.0.1:9090 gateway --check-ready";

/// Bounds of what one client can take.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "HTTP")]
pub struct Bounds {
    /// A connection may take so long to send the head of a request
    #[arg(
        id = "header_timeout",
        long = "http-header-timeout-ms",
        env = "HTTP_HEADER_TIMEOUT_MS",
        value_name = "MILLISECONDS",
        default_value = "5000",
        value_parser = value::millis_above_zero
    )]
    pub header_timeout: Duration,
    /// And so long to send its body
    #[arg(
        id = "body_timeout",
        long = "http-body-timeout-ms",
        env = "HTTP_BODY_TIMEOUT_MS",
        value_name = "MILLISECONDS",
        default_value = "5000",
        value_parser = value::millis_above_zero
    )]
    pub body_timeout: Duration,
    /// Requests that one key may send in the long run
    #[arg(
        id = "rate_per_second",
        long = "rate-limit-per-second",
        env = "RATE_LIMIT_PER_SECOND",
        value_name = "REQUESTS/SECOND",
        default_value = "20000"
    )]
    pub rate_per_second: NonZeroU32,
    /// Requests that one key may send at once
    #[arg(
        id = "rate_burst",
        long = "rate-limit-burst",
        env = "RATE_LIMIT_BURST",
        value_name = "REQUESTS",
        default_value = "40000"
    )]
    pub rate_burst: NonZeroU32,
    /// Threads that serve the API
    #[arg(
        long,
        env = "HTTP_WORKERS",
        value_name = "THREADS",
        default_value = "2",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=255)
    )]
    pub http_workers: usize,
    /// Transactions that accept intents, and as many that accept reports, which may run at once
    #[arg(
        long,
        env = "INTAKE_WORKERS",
        value_name = "TRANSACTIONS",
        default_value = "2",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=255)
    )]
    pub intake_workers: usize,
}
