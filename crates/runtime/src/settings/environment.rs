//! Variables, before they are settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;

use domain::policy::OVERRIDE_PREFIX;

/// What is wrong with a variable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SettingError {
    #[error("{0} is not set")]
    Missing(String),
    #[error("{name}: {problem}")]
    Invalid { name: String, problem: String },
    #[error("{name} and {name}_FILE are both set; set one")]
    Twice { name: String },
}

impl SettingError {
    pub fn invalid(name: &str, problem: impl Display) -> Self {
        Self::Invalid {
            name: name.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// The process's environment, read once. Tests build their own.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Variables that are not UTF-8 are none of ours.
    pub fn of_process() -> Self {
        let utf8 =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self(std::env::vars_os().filter_map(utf8).collect())
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// Variables that override a value of the policy.
    pub(super) fn policy_overrides(&self) -> impl Iterator<Item = (String, String)> {
        self.0
            .iter()
            .filter(|(name, _)| name.starts_with(OVERRIDE_PREFIX))
            .map(|(name, value)| (name.clone(), value.clone()))
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self(
            vars.into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}
