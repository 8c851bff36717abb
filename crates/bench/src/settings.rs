//! The addresses of the running stack, from the variables of `.stack/env`.

use anyhow::{Context, Result};
use runtime::Environment;
use runtime::settings::SecretSource;
use secrecy::ExposeSecret as _;

#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` of the gateway.
    pub gateway: String,
    pub executor_metrics: String,
    pub request_kid: String,
    pub request_secret: String,
    pub mpesa_kid: String,
    pub mpesa_secret: String,
    pub database_url: String,
    pub rpc_url: String,
    pub country_token: String,
    pub escrow: String,
}

/// The part of `.stack/env` that the benchmark needs.
#[derive(clap::Args)]
struct StackVariables {
    #[arg(long, env = "FIATRAILS_GATEWAY_URL", value_name = "URL", value_parser = plain_http)]
    fiatrails_gateway_url: String,
    #[arg(long, env = "EXECUTOR_ADMIN_URL", value_name = "URL")]
    executor_admin_url: String,
    #[arg(long, env = "FIATRAILS_REQUEST_KID", value_name = "KEY ID")]
    fiatrails_request_kid: String,
    #[arg(long, env = "FIATRAILS_REQUEST_SECRET_HEX", value_name = "HEX")]
    fiatrails_request_secret_hex: SecretSource,
    #[arg(long, env = "FIATRAILS_MPESA_KID", value_name = "KEY ID")]
    fiatrails_mpesa_kid: String,
    #[arg(long, env = "FIATRAILS_MPESA_SECRET_HEX", value_name = "HEX")]
    fiatrails_mpesa_secret_hex: SecretSource,
    #[arg(long, env = "DATABASE_URL", value_name = "URL")]
    database_url: SecretSource,
    #[arg(long, env = "RPC_URL", value_name = "URL")]
    rpc_url: String,
    #[arg(long, env = "COUNTRY_TOKEN_ADDRESS", value_name = "ADDRESS")]
    country_token_address: String,
    #[arg(long, env = "ESCROW_ADDRESS", value_name = "ADDRESS")]
    escrow_address: String,
}

impl Settings {
    pub fn read(environment: &Environment) -> Result<Self> {
        let found: StackVariables = environment.read().context("run `make up`, then `. .stack/env`")?;
        let plain = |secret: &SecretSource| secret.value().expose_secret().to_owned();
        Ok(Self {
            gateway: found.fiatrails_gateway_url,
            executor_metrics: format!("{}/metrics", found.executor_admin_url),
            request_kid: found.fiatrails_request_kid,
            request_secret: plain(&found.fiatrails_request_secret_hex),
            mpesa_kid: found.fiatrails_mpesa_kid,
            mpesa_secret: plain(&found.fiatrails_mpesa_secret_hex),
            database_url: plain(&found.database_url),
            rpc_url: found.rpc_url,
            country_token: found.country_token_address,
            escrow: found.escrow_address,
        })
    }
}

fn plain_http(url: &str) -> Result<String, &'static str> {
    url.strip_prefix("http://")
        .map(|place| place.trim_end_matches('/').to_owned())
        .ok_or("the benchmark speaks plain http, as `make up` serves it")
}
