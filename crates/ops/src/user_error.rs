//! An error that tells the operator how to fix it.

use std::fmt;

use runtime::SettingError;

/// What is wrong, and how the operator can fix it.
#[derive(Debug)]
pub struct UserError {
    what: String,
    fix: String,
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for UserError {}

pub fn user_error(what: impl Into<String>, fix: impl Into<String>) -> anyhow::Error {
    UserError {
        what: what.into(),
        fix: fix.into(),
    }
    .into()
}

/// The fix of an error: its own, or one suggested by the kind of error.
pub fn fix_for(error: &anyhow::Error) -> Option<String> {
    if let Some(problem) = error.chain().find_map(|cause| cause.downcast_ref::<UserError>()) {
        return Some(problem.fix.clone());
    }
    let setting = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<SettingError>());
    if let Some(SettingError::Missing(name)) = setting {
        return Some(format!(
            "export {name}={} (after `make up`: `. .stack/env`)",
            example(name)
        ));
    }
    let text = format!("{error:#}");
    if text.contains("permission denied") {
        return Some("use a DATABASE_URL whose role may do this (migrate needs the owner's)".into());
    }
    if text.contains("relation") && text.contains("does not exist") {
        return Some("run `fiatrails migrate` first".into());
    }
    let storage = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<storage::StorageError>());
    if let Some(storage::StorageError::Unavailable { .. }) = storage {
        return Some("check that PostgreSQL runs and that DATABASE_URL names it".into());
    }
    let broker = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<messaging::BrokerError>());
    match broker {
        Some(messaging::BrokerError::Down { .. }) => {
            Some("check that RabbitMQ runs and that AMQP_URL names it and its virtual host".into())
        }
        Some(messaging::BrokerError::Missing { .. }) => Some("run `fiatrails topology declare` first".into()),
        _ => None,
    }
}

/// An example value of a setting.
fn example(name: &str) -> &'static str {
    match name {
        "DATABASE_URL" => "postgres://user:password@host:5432/fiatrails",
        "AMQP_URL" => "amqp://user:password@host:5672/vhost",
        "AMQP_MANAGEMENT_URL" => "http://user:password@host:15672",
        "RPC_URLS" => "http://host:8545",
        "FIATRAILS_KEYS_DIR" => "/path/to/keys/ops",
        name if name.ends_with("_ADDRESS") => "0x<40 hexadecimal digits>",
        name if name.ends_with("_PASSWORD") => "<a long random password>",
        name if name.ends_with("_KEY") => "<64 hexadecimal digits>, or the same with _FILE",
        _ => "...",
    }
}
