//! Finds the secret to sign with, which never comes from the command line.

use anyhow::Result;
use domain::signature::{HmacSecret, KeyId, SigningScheme};
use secrecy::ExposeSecret as _;

use super::SecretKind;
use crate::context::CommandContext;
use crate::key_files::KeyFiles;
use crate::settings::SignSettings;
use crate::user_error::user_error;

pub fn find(
    context: &CommandContext,
    asked: Option<&KeyId>,
    kind: &SecretKind,
) -> Result<(KeyId, HmacSecret)> {
    let found: SignSettings = context.environment.read()?;
    let (secret, named) = match kind.scheme {
        SigningScheme::Mpesa => (found.mpesa_secret, found.mpesa_kid),
        SigningScheme::Request => (found.request_secret, found.request_kid),
    };
    let (secret_name, kid_name) = (kind.secret_variable, kind.kid_variable);
    if let Some(secret) = secret {
        // If another key than the environment's is requested, its secret must be in the key directory.
        let other = asked.is_some() && named.is_some() && asked != named.as_ref();
        if !other {
            let kid = asked.cloned().or(named).ok_or_else(|| {
                user_error(
                    format!("{secret_name} is set, but not whose it is"),
                    format!("set {kid_name} or pass --kid"),
                )
            })?;
            let secret = HmacSecret::from_hex(secret.value().expose_secret()).map_err(|error| {
                user_error(
                    format!("{secret_name}: {error}"),
                    "write at least 64 hexadecimal digits",
                )
            })?;
            return Ok((kid, secret));
        }
    }
    let wanted = asked.cloned().or(named);
    let files = KeyFiles::of(&context.environment).map_err(|_| {
        user_error(
            "no secret to sign with",
            format!("set {secret_name} (or _FILE), or FIATRAILS_KEYS_DIR"),
        )
    })?;
    let locations = files.list()?;
    let mut fitting = locations
        .into_iter()
        .filter(|p| p.purpose == kind.purpose && wanted.as_ref().is_none_or(|kid| *kid == p.key_id));
    let location = fitting.next_back().ok_or_else(|| {
        let which = wanted
            .as_ref()
            .map_or_else(|| "any key".to_owned(), |kid| format!("key {kid}"));
        user_error(
            format!("the key directory has no {} secret of {which}", kind.purpose),
            "`fiatrails keys list` shows what is there",
        )
    })?;
    Ok((location.key_id.clone(), files.read(&location)?))
}
