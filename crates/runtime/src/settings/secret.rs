//! Secrets: in a variable or in a file, never on a command line, never shown.

use std::path::{Path, PathBuf};

use clap::builder::{ValueParser, ValueParserFactory};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{Environment, SettingError};

/// A secret, from the variable X or from the file that `X_FILE` names.
#[derive(Clone, Debug)]
pub struct SecretSource {
    name: String,
    value: SecretString,
    file: Option<PathBuf>,
}

impl SecretSource {
    pub(super) fn find(environment: &Environment, name: &str) -> Result<Self, SettingError> {
        let from_file = file_variable(name);
        let (value, file) = match (environment.text(name), environment.text(&from_file)) {
            (Some(_), Some(_)) => {
                return Err(SettingError::Twice {
                    name: name.to_owned(),
                });
            }
            (Some(text), None) => (text.into(), None),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(|e| SettingError::invalid(&from_file, e))?;
                let text = Zeroizing::new(text);
                (text.trim().into(), Some(path.into()))
            }
            (None, None) => return Err(SettingError::Missing(name.to_owned())),
        };
        let name = name.to_owned();
        Ok(Self { name, value, file })
    }

    pub const fn value(&self) -> &SecretString {
        &self.value
    }

    /// Where it was read from, for those who follow the file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Its parts between commas, without white space and at least one.
    pub fn list(&self) -> Result<Vec<SecretString>, SettingError> {
        let parts = self.value.expose_secret().split(',').map(str::trim);
        let parts: Vec<SecretString> = parts
            .filter(|part| !part.is_empty())
            .map(SecretString::from)
            .collect();
        if parts.is_empty() {
            return Err(SettingError::Missing(self.name.clone()));
        }
        Ok(parts)
    }

    /// What is wrong with the value, which is not quoted.
    pub fn unfit(&self, problem: impl std::fmt::Display) -> SettingError {
        SettingError::invalid(&self.name, problem)
    }
}

/// The variable that names the file of a secret.
pub(super) fn file_variable(name: &str) -> String {
    format!("{name}_FILE")
}

/// Whatever command declares a secret, no argument can be one: other users of the machine see command lines.
impl ValueParserFactory for SecretSource {
    type Parser = ValueParser;

    fn value_parser() -> ValueParser {
        ValueParser::new(|_: &str| Err::<Self, _>("a secret is no argument"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_may_lie_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("url");
        std::fs::write(&path, "amqp://from-file\n").unwrap();
        let file = ("AMQP_URL_FILE", path.to_str().unwrap());
        let environment: Environment = [("AMQP_URL", ""), file].into_iter().collect();
        let found = SecretSource::find(&environment, "AMQP_URL").unwrap();
        assert_eq!(found.value().expose_secret(), "amqp://from-file");
        assert_eq!(found.file(), Some(path.as_path()));
        let environment: Environment = [("AMQP_URL", "canary"), file].into_iter().collect();
        let error = SecretSource::find(&environment, "AMQP_URL").unwrap_err();
        assert!(matches!(&error, SettingError::Twice { name } if name == "AMQP_URL"));
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn a_list_has_at_least_one_part() {
        let list = |text: &str| {
            let environment: Environment = [("RPC_URLS", text)].into_iter().collect();
            SecretSource::find(&environment, "RPC_URLS").unwrap().list()
        };
        assert_eq!(list("http://a, http://b,").unwrap().len(), 2);
        assert_eq!(list(" , ").unwrap_err().to_string(), "RPC_URLS is not set");
    }
}
