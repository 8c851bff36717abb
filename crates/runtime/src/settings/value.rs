//! Values of settings that have no type of their own, as parsers for clap.

use std::num::{NonZeroU32, ParseIntError};
use std::time::Duration;

use domain::policy::Policy;

pub fn millis(text: &str) -> Result<Duration, ParseIntError> {
    text.parse().map(Duration::from_millis)
}

/// At most a minute or so: what a person would wait for.
pub fn short_millis(text: &str) -> Result<Duration, ParseIntError> {
    text.parse::<u16>().map(|ms| Duration::from_millis(ms.into()))
}

pub fn millis_above_zero(text: &str) -> Result<Duration, ParseIntError> {
    text.parse::<NonZeroU32>()
        .map(|ms| Duration::from_millis(ms.get().into()))
}

/// The text of the file at this path.
pub fn text_file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// The policy in the file at this path, as it stands there.
pub fn policy_file(path: &str) -> Result<Policy, String> {
    overridden_policy(path, std::iter::empty())
}

pub(super) fn overridden_policy(
    path: &str,
    overrides: impl IntoIterator<Item = (String, String)>,
) -> Result<Policy, String> {
    Policy::load(&text_file(path)?, overrides).map_err(|error| error.to_string())
}
