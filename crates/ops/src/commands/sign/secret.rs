//! Where the secret to sign with comes from: never the command line.

use anyhow::Result;
use domain::signature::{HmacSecret, KeyId};
use secrecy::ExposeSecret as _;

use super::Kind;
use crate::context::Context;
use crate::key_files::KeyFiles;
use crate::problem::problem;

pub fn find(context: &Context, asked: Option<&KeyId>, kind: &Kind) -> Result<(KeyId, HmacSecret)> {
    let environment = &context.environment;
    let (secret_name, kid_name) = (
        format!("FIATRAILS_{}_SECRET_HEX", kind.variable),
        format!("FIATRAILS_{}_KID", kind.variable),
    );
    let named = environment.parsed::<KeyId>(&kid_name)?;
    if let Some(text) = environment.secret(&secret_name)? {
        // Another key than the environment's: its secret must lie in the key directory.
        let other = asked.is_some() && named.is_some() && asked != named.as_ref();
        if !other {
            let kid = asked.cloned().or(named).ok_or_else(|| {
                problem(
                    format!("{secret_name} is set, but not whose it is"),
                    format!("set {kid_name} or pass --kid"),
                )
            })?;
            let secret = HmacSecret::from_hex(text.expose_secret()).map_err(|error| {
                problem(
                    format!("{secret_name}: {error}"),
                    "write at least 64 hexadecimal digits",
                )
            })?;
            return Ok((kid, secret));
        }
    }
    let wanted = asked.cloned().or(named);
    let files = KeyFiles::of(environment).map_err(|_| {
        problem(
            "no secret to sign with",
            format!("set {secret_name} (or _FILE), or FIATRAILS_KEYS_DIR"),
        )
    })?;
    let places = files.list()?;
    let mut fitting = places
        .into_iter()
        .filter(|p| p.purpose == kind.purpose && wanted.as_ref().is_none_or(|kid| *kid == p.key_id));
    let place = fitting.next_back().ok_or_else(|| {
        let which = wanted
            .as_ref()
            .map_or_else(|| "any key".to_owned(), |kid| format!("key {kid}"));
        problem(
            format!("the key directory has no {} secret of {which}", kind.purpose),
            "`fiatrails keys list` shows what is there",
        )
    })?;
    Ok((place.key_id.clone(), files.read(&place)?))
}
