//! What commands read of the environment. Each reads its group, and only when it needs it: a command does not fail
//! for want of what another one needs.

use std::path::PathBuf;

use clap::{Args, Command};
use domain::address::Address;
use domain::signature::KeyId;
use runtime::settings::{
    BrokerSettings, ContractSettings, DatabaseSettings, LogSettings, PolicySettings, SecretSource, Variable,
    variables,
};

/// Where the chain is asked, by those who may do without.
#[derive(Args)]
#[command(next_help_heading = "Chain")]
pub struct NodeSettings {
    /// JSON-RPC endpoints, comma separated, in order of preference; they may carry credentials
    #[arg(long, env = "RPC_URLS", value_name = "URLS")]
    pub rpc_urls: Option<SecretSource>,
    /// One endpoint, where RPC_URLS is not set: `.stack/env` names it so
    #[arg(long, env = "RPC_URL", value_name = "URL")]
    pub rpc_url: Option<SecretSource>,
    /// The chain that the node must be on; any, if not set
    #[arg(long, env = "CHAIN_ID", value_name = "CHAIN ID")]
    pub chain_id: Option<u64>,
}

/// Secrets as files.
#[derive(Args)]
#[command(next_help_heading = "Keys and policy")]
pub struct KeySettings {
    /// The operator's directory of keys
    #[arg(
        id = "keys_dir",
        long = "fiatrails-keys-dir",
        env = "FIATRAILS_KEYS_DIR",
        value_name = "DIRECTORY"
    )]
    pub keys_dir: Option<PathBuf>,
    /// The directory above those of all services, where they are mounted: new secrets go into each
    #[arg(
        id = "keys_root",
        long = "fiatrails-keys-root",
        env = "FIATRAILS_KEYS_ROOT",
        value_name = "DIRECTORY"
    )]
    pub keys_root: Option<PathBuf>,
}

/// Who decides which users are compliant, and by which key.
#[derive(Args)]
#[command(next_help_heading = "Chain")]
pub struct ComplianceSettings {
    /// The contract that holds users' facts [default: the escrow's]
    #[arg(
        id = "manager",
        long = "compliance-manager-address",
        env = "COMPLIANCE_MANAGER_ADDRESS",
        value_name = "ADDRESS"
    )]
    pub manager: Option<Address>,
    /// The contract that holds deposits and mints
    #[arg(
        id = "escrow",
        long = "escrow-address",
        env = "ESCROW_ADDRESS",
        value_name = "ADDRESS"
    )]
    pub escrow: Option<Address>,
    /// Key of the compliance officer, 64 hexadecimal digits
    #[arg(
        id = "officer",
        long = "compliance-private-key",
        env = "COMPLIANCE_PRIVATE_KEY",
        value_name = "KEY"
    )]
    pub officer: Option<SecretSource>,
    /// The same where COMPLIANCE_PRIVATE_KEY is not set, on a development chain
    #[arg(
        id = "developer",
        long = "dev-admin-private-key",
        env = "DEV_ADMIN_PRIVATE_KEY",
        value_name = "KEY"
    )]
    pub developer: Option<SecretSource>,
}

/// A PKCS#11 token.
#[derive(Args)]
#[command(next_help_heading = "Signing keys")]
pub struct TokenSettings {
    /// The token's library
    #[arg(
        id = "module",
        long = "executor-pkcs11-module",
        env = "EXECUTOR_PKCS11_MODULE",
        value_name = "FILE"
    )]
    pub module: PathBuf,
    /// Label of the token
    #[arg(
        id = "label",
        long = "executor-pkcs11-token",
        env = "EXECUTOR_PKCS11_TOKEN",
        value_name = "LABEL"
    )]
    pub label: String,
    /// PIN of the token's user
    #[arg(
        id = "pin",
        long = "executor-pkcs11-pin",
        env = "EXECUTOR_PKCS11_PIN",
        value_name = "PIN"
    )]
    pub pin: SecretSource,
}

/// Passwords that `migrate --login-roles` gives to the logins of the database.
#[derive(Args)]
#[command(next_help_heading = "Database")]
pub struct DatabasePasswords {
    /// Password of the gateway's login, at least 16 characters
    #[arg(long, env = "GATEWAY_DB_PASSWORD", value_name = "PASSWORD")]
    pub gateway_db_password: SecretSource,
    /// Password of callback's login, at least 16 characters
    #[arg(long, env = "CALLBACK_DB_PASSWORD", value_name = "PASSWORD")]
    pub callback_db_password: SecretSource,
    /// Password of the executor's login, at least 16 characters
    #[arg(long, env = "EXECUTOR_DB_PASSWORD", value_name = "PASSWORD")]
    pub executor_db_password: SecretSource,
    /// Password of the operator's login, at least 16 characters
    #[arg(long, env = "OPS_DB_PASSWORD", value_name = "PASSWORD")]
    pub ops_db_password: SecretSource,
}

/// What `topology declare --users` needs beside the broker itself.
#[derive(Args)]
#[command(next_help_heading = "Broker")]
pub struct BrokerUsers {
    /// RabbitMQ's management API: http://USER:PASSWORD@HOST:15672
    #[arg(long, env = "AMQP_MANAGEMENT_URL", value_name = "URL")]
    pub amqp_management_url: SecretSource,
    /// Password of the gateway's user of the broker
    #[arg(long, env = "GATEWAY_AMQP_PASSWORD", value_name = "PASSWORD")]
    pub gateway_amqp_password: SecretSource,
    /// Password of the executor's user of the broker
    #[arg(long, env = "EXECUTOR_AMQP_PASSWORD", value_name = "PASSWORD")]
    pub executor_amqp_password: SecretSource,
    /// Password of callback's user of the broker
    #[arg(long, env = "CALLBACK_AMQP_PASSWORD", value_name = "PASSWORD")]
    pub callback_amqp_password: SecretSource,
    /// Password of the operator's user of the broker
    #[arg(long, env = "OPS_AMQP_PASSWORD", value_name = "PASSWORD")]
    pub ops_amqp_password: SecretSource,
}

/// What `sign` signs with, where it is not to be found in the key directory.
#[derive(Args)]
#[command(next_help_heading = "Signing requests by hand")]
pub struct SignSettings {
    /// Key id of FIATRAILS_REQUEST_SECRET_HEX
    #[arg(
        id = "request_kid",
        long = "fiatrails-request-kid",
        env = "FIATRAILS_REQUEST_KID",
        value_name = "KEY ID"
    )]
    pub request_kid: Option<KeyId>,
    /// An integrator's secret, at least 64 hexadecimal digits
    #[arg(
        id = "request_secret",
        long = "fiatrails-request-secret-hex",
        env = "FIATRAILS_REQUEST_SECRET_HEX",
        value_name = "HEX"
    )]
    pub request_secret: Option<SecretSource>,
    /// Key id of FIATRAILS_MPESA_SECRET_HEX
    #[arg(
        id = "mpesa_kid",
        long = "fiatrails-mpesa-kid",
        env = "FIATRAILS_MPESA_KID",
        value_name = "KEY ID"
    )]
    pub mpesa_kid: Option<KeyId>,
    /// The secret of M-Pesa's reports, at least 64 hexadecimal digits
    #[arg(
        id = "mpesa_secret",
        long = "fiatrails-mpesa-secret-hex",
        env = "FIATRAILS_MPESA_SECRET_HEX",
        value_name = "HEX"
    )]
    pub mpesa_secret: Option<SecretSource>,
    /// The gateway that signed requests are for
    #[arg(
        id = "gateway_url",
        long = "fiatrails-gateway-url",
        env = "FIATRAILS_GATEWAY_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub gateway_url: String,
}

/// Every variable that some command reads, for `docs/SETTINGS.md`.
pub fn all(command_line: &Command) -> Vec<Variable> {
    let groups = [
        declared::<DatabaseSettings>(),
        declared::<DatabasePasswords>(),
        declared::<BrokerSettings>(),
        declared::<BrokerUsers>(),
        declared::<KeySettings>(),
        declared::<PolicySettings>(),
        declared::<SignSettings>(),
        declared::<ContractSettings>(),
        declared::<NodeSettings>(),
        declared::<ComplianceSettings>(),
        declared::<TokenSettings>(),
        declared::<LogSettings>(),
        of_flags(command_line),
    ];
    let mut all: Vec<Variable> = Vec::new();
    for variable in groups.into_iter().flatten() {
        if all.iter().all(|known| known.name != variable.name) {
            all.push(variable);
        }
    }
    all
}

fn declared<G: Args>() -> Vec<Variable> {
    variables(&G::augment_args(Command::new("group")))
}

/// Variables in the place of a flag, of this command and those below.
fn of_flags(command: &Command) -> Vec<Variable> {
    let below = command.get_subcommands().flat_map(of_flags);
    variables(command).into_iter().chain(below).collect()
}
