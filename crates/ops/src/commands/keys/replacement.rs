//! A key that seals is replaced by a newer one of the same purpose and owner.

use std::time::Duration;

use anyhow::Result;
use domain::signature::KeyId;

use crate::key_files::{KeyFiles, KeyLocation};
use crate::user_error::user_error;

/// How long after a key is written every service seals with it: the activation delay and a few polls.
const ACTIVATION_WAIT: Duration = Duration::from_secs(15);

/// Finds a stored-answer key.
pub fn stored_answer(files: &KeyFiles, kid: &KeyId) -> Result<KeyLocation> {
    present(files, "stored-answer", None, kid)
}

/// Finds a key in the operator's directory.
pub fn present(files: &KeyFiles, purpose: &str, owner: Option<&str>, kid: &KeyId) -> Result<KeyLocation> {
    let location = KeyLocation {
        purpose: purpose.to_owned(),
        owner: owner.map(str::to_owned),
        key_id: kid.clone(),
    };
    if files.list()?.contains(&location) {
        return Ok(location);
    }
    Err(user_error(
        format!("no {purpose} key {kid} is in the operator's directory"),
        "`fiatrails keys list` shows every key; a pipeline key needs --queue, others end by `keys revoke`",
    ))
}

/// The key that replaces it, written long enough ago that every service seals with it.
pub fn successor(files: &KeyFiles, location: &KeyLocation) -> Result<KeyLocation> {
    let newest = files
        .list()?
        .into_iter()
        .filter(|other| other.purpose == location.purpose && other.owner == location.owner)
        .max_by(|a, b| a.key_id.cmp(&b.key_id))
        .filter(|newest| newest.key_id > location.key_id);
    let newest = newest.ok_or_else(|| {
        user_error(
            format!("key {} is the one that seals", location.key_id),
            "`fiatrails keys add` its successor first",
        )
    })?;
    let age = files.age(&newest)?;
    if age < ACTIVATION_WAIT {
        let wait = ACTIVATION_WAIT.saturating_sub(age).as_secs() + 1;
        return Err(user_error(
            format!("its successor {} is not old enough", newest.key_id),
            format!("try again in {wait} s: until then a service may seal with the old key"),
        ));
    }
    Ok(newest)
}
