//! Settings from the environment, typed. Every error names its variable and never quotes a secret.

mod trace;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use domain::address::Address;
use domain::policy::{OVERRIDE_PREFIX, Policy};
use secrecy::SecretString;

pub use trace::TraceSettings;

#[derive(Debug, thiserror::Error)]
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
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(utf8).collect())
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    pub fn required(&self, name: &str) -> Result<&str, SettingError> {
        self.text(name)
            .ok_or_else(|| SettingError::Missing(name.to_owned()))
    }

    pub fn parsed<T>(&self, name: &str) -> Result<Option<T>, SettingError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let parse = |text: &str| text.parse().map_err(|e: T::Err| SettingError::invalid(name, e));
        self.text(name).map(parse).transpose()
    }

    pub fn parsed_or<T>(&self, name: &str, default: T) -> Result<T, SettingError>
    where
        T: FromStr,
        T::Err: Display,
    {
        Ok(self.parsed(name)?.unwrap_or(default))
    }

    /// A secret, from `NAME` or from the file that `NAME_FILE` names.
    pub fn secret(&self, name: &str) -> Result<Option<SecretString>, SettingError> {
        let file = format!("{name}_FILE");
        match (self.text(name), self.text(&file)) {
            (Some(_), Some(_)) => Err(SettingError::Twice {
                name: name.to_owned(),
            }),
            (Some(text), None) => Ok(Some(text.into())),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(|e| SettingError::invalid(&file, e))?;
                let text = zeroize::Zeroizing::new(text);
                Ok(Some(text.trim().into()))
            }
            (None, None) => Ok(None),
        }
    }

    pub fn required_secret(&self, name: &str) -> Result<SecretString, SettingError> {
        self.secret(name)?
            .ok_or_else(|| SettingError::Missing(name.to_owned()))
    }

    /// `FIATRAILS_POLICY_FILE` with the `FIATRAILS_POLICY_*` overrides laid over it.
    pub fn policy(&self) -> Result<Policy, SettingError> {
        const NAME: &str = "FIATRAILS_POLICY_FILE";
        let path = self.text(NAME).unwrap_or("deploy/policy.json");
        let text =
            std::fs::read_to_string(path).map_err(|e| SettingError::invalid(NAME, format!("{path}: {e}")))?;
        let overrides = self
            .0
            .iter()
            .filter(|(name, _)| name.starts_with(OVERRIDE_PREFIX));
        let owned = overrides.map(|(name, value)| (name.clone(), value.clone()));
        Policy::load(&text, owned).map_err(|e| SettingError::invalid(NAME, e))
    }

    /// `ESCROW_ADDRESS` and `TREASURY_ADDRESS`.
    pub fn contracts(&self) -> Result<ContractSettings, SettingError> {
        let address = |name| {
            let text = self.required(name)?;
            text.parse::<Address>()
                .map_err(|e| SettingError::invalid(name, e))
        };
        Ok(ContractSettings {
            escrow: address("ESCROW_ADDRESS")?,
            treasury: address("TREASURY_ADDRESS")?,
        })
    }

    /// The certificates in `AMQP_CA_FILE`: who may vouch for the broker.
    pub fn amqp_ca_pem(&self) -> Result<Option<String>, SettingError> {
        const NAME: &str = "AMQP_CA_FILE";
        let file: Option<PathBuf> = self.parsed(NAME)?;
        let read = |path| std::fs::read_to_string(path).map_err(|e| SettingError::invalid(NAME, e));
        file.map(read).transpose()
    }

    /// `RPC_URLS`: comma separated, in order of preference. They may carry credentials.
    pub fn rpc_urls(&self) -> Result<Vec<SecretString>, SettingError> {
        use secrecy::ExposeSecret as _;
        const NAME: &str = "RPC_URLS";
        let text = self.required_secret(NAME)?;
        let urls: Vec<SecretString> = text
            .expose_secret()
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(SecretString::from)
            .collect();
        if urls.is_empty() {
            return Err(SettingError::Missing(NAME.to_owned()));
        }
        Ok(urls)
    }

    /// `LISTEN_ADDR`, `TLS_CERT_FILE`, `TLS_KEY_FILE`.
    pub fn api(&self) -> Result<ApiSettings, SettingError> {
        let tls = match (self.parsed("TLS_CERT_FILE")?, self.parsed("TLS_KEY_FILE")?) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(SettingError::Missing("TLS_KEY_FILE".into())),
            (None, Some(_)) => return Err(SettingError::Missing("TLS_CERT_FILE".into())),
        };
        let listen = self.parsed_or("LISTEN_ADDR", SocketAddr::from(([127, 0, 0, 1], 8080)))?;
        Ok(ApiSettings { listen, tls })
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractSettings {
    pub escrow: Address,
    pub treasury: Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    pub listen: SocketAddr,
    pub tls: Option<TlsFiles>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Pretty,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err("write json or pretty"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// `RUST_LOG`.
    pub filter: Option<String>,
}

/// What every service needs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub database_url: SecretString,
    /// Where it was read from: the file is followed, so that a login can be renewed without a restart.
    pub database_url_file: Option<PathBuf>,
    pub database_connections: usize,
    /// The service's own, and not of the environment: how long a transaction may wait for it, if not for the pool's
    /// usual time.
    pub database_idle_in_transaction: Option<Duration>,
    pub amqp_url: SecretString,
    /// PEM of the authorities that may have signed the broker's certificate.
    pub amqp_ca_pem: Option<String>,
    pub keys_dir: PathBuf,
    pub policy: Policy,
    pub admin: SocketAddr,
    /// Written once ready, for whoever started us.
    pub ready_file: Option<PathBuf>,
    /// `DRAIN_MS`: between the signal and the soft stop, for balancers to see that we are not ready any more.
    pub drain: Duration,
    pub log: LogSettings,
    /// `None`: spans are not sent anywhere.
    pub trace: Option<TraceSettings>,
}

impl Settings {
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            database_url: environment.required_secret("DATABASE_URL")?,
            database_url_file: environment.parsed("DATABASE_URL_FILE")?,
            database_connections: environment.parsed_or("DATABASE_CONNECTIONS", 8)?,
            database_idle_in_transaction: None,
            amqp_url: environment.required_secret("AMQP_URL")?,
            amqp_ca_pem: environment.amqp_ca_pem()?,
            keys_dir: environment.required("FIATRAILS_KEYS_DIR")?.into(),
            policy: environment.policy()?,
            admin: environment.parsed_or("ADMIN_ADDR", SocketAddr::from(([127, 0, 0, 1], 0)))?,
            ready_file: environment.parsed("READY_FILE")?,
            drain: Duration::from_millis(environment.parsed_or::<u16>("DRAIN_MS", 0)?.into()),
            log: LogSettings {
                format: environment.parsed_or("LOG_FORMAT", LogFormat::Json)?,
                filter: environment.text("RUST_LOG").map(str::to_owned),
            },
            trace: TraceSettings::read(environment)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn policy_file() -> String {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/policy.json").to_owned()
    }

    fn minimal() -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", "postgres://u:canary@h/d".into()),
            ("AMQP_URL", "amqp://u:canary@h/v".into()),
            ("FIATRAILS_KEYS_DIR", "/keys".into()),
            ("FIATRAILS_POLICY_FILE", policy_file()),
        ]
    }

    fn read(extra: &[(&'static str, &str)]) -> Result<Settings, SettingError> {
        let mut vars = minimal();
        for (name, value) in extra {
            vars.retain(|(n, _)| n != name);
            vars.push((name, (*value).to_owned()));
        }
        Settings::read(&vars.into_iter().collect())
    }

    #[test]
    fn errors_name_the_variable_and_quote_no_secret() {
        for (name, value) in [
            ("DATABASE_URL", ""),
            ("AMQP_URL", ""),
            ("FIATRAILS_KEYS_DIR", ""),
            ("ADMIN_ADDR", "nowhere"),
            ("LOG_FORMAT", "xml"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("FIATRAILS_POLICY_FILE", "/no/such/file"),
            ("FIATRAILS_POLICY_NO_SUCH_FIELD", "1"),
            ("DATABASE_URL_FILE", "/no/such/file"),
        ] {
            let text = read(&[(name, value)]).unwrap_err().to_string();
            assert!(text.contains(name.trim_end_matches("_FILE")), "{name}: {text}");
            assert!(!text.contains("canary"), "{text}");
        }
        let shown = format!("{:?}", read(&[]).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_secret_may_lie_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("url");
        std::fs::write(&path, "amqp://from-file\n").unwrap();
        let settings = read(&[("AMQP_URL", ""), ("AMQP_URL_FILE", path.to_str().unwrap())]).unwrap();
        assert_eq!(settings.amqp_url.expose_secret(), "amqp://from-file");
        assert!(matches!(
            read(&[("AMQP_URL_FILE", path.to_str().unwrap())]),
            Err(SettingError::Twice { .. })
        ));
    }

    #[test]
    fn the_environment_overrides_the_policy() {
        let settings = read(&[("FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS", "3")]).unwrap();
        assert_eq!(settings.policy.windows.redrive_seconds, 3);
    }

    #[test]
    fn addresses_and_urls_are_checked() {
        let environment: Environment = [
            ("ESCROW_ADDRESS", "0x12"),
            ("RPC_URLS", " , "),
            ("TLS_KEY_FILE", "k"),
        ]
        .into_iter()
        .collect();
        assert!(
            environment
                .contracts()
                .unwrap_err()
                .to_string()
                .contains("ESCROW_ADDRESS")
        );
        assert!(
            environment
                .rpc_urls()
                .unwrap_err()
                .to_string()
                .contains("RPC_URLS")
        );
        assert!(
            environment
                .api()
                .unwrap_err()
                .to_string()
                .contains("TLS_CERT_FILE")
        );
    }
}
