//! Where the running stack is: the variables of `.stack/env`.

use anyhow::{Context, Result};

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

impl Settings {
    pub fn from_env() -> Result<Self> {
        let gateway = var("FIATRAILS_GATEWAY_URL")?;
        let gateway = gateway
            .strip_prefix("http://")
            .context("FIATRAILS_GATEWAY_URL: the benchmark speaks plain http, as `make up` serves it")?;
        Ok(Self {
            gateway: gateway.trim_end_matches('/').to_owned(),
            executor_metrics: format!("{}/metrics", var("EXECUTOR_ADMIN_URL")?),
            request_kid: var("FIATRAILS_REQUEST_KID")?,
            request_secret: var("FIATRAILS_REQUEST_SECRET_HEX")?,
            mpesa_kid: var("FIATRAILS_MPESA_KID")?,
            mpesa_secret: var("FIATRAILS_MPESA_SECRET_HEX")?,
            database_url: var("DATABASE_URL")?,
            rpc_url: var("RPC_URL")?,
            country_token: var("COUNTRY_TOKEN_ADDRESS")?,
            escrow: var("ESCROW_ADDRESS")?,
        })
    }
}

fn var(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run `make up`, then `. .stack/env`"))
}
