//! Where spans are sent, if anywhere.

use secrecy::{ExposeSecret, SecretString};

use super::{Environment, SettingError};

/// Where spans go.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    /// `OTEL_EXPORTER_OTLP_HEADERS`: often a token.
    pub headers: Vec<(String, SecretString)>,
    /// `OTEL_TRACES_SAMPLER_ARG`: the share of traces kept that begin with us.
    pub share: f64,
}

impl TraceSettings {
    /// `None`: no collector is named.
    pub(super) fn read(environment: &Environment) -> Result<Option<Self>, SettingError> {
        const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const SHARE: &str = "OTEL_TRACES_SAMPLER_ARG";
        let Some(endpoint) = environment.text(ENDPOINT) else {
            return Ok(None);
        };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(SettingError::invalid(
                ENDPOINT,
                "write http://host:port or https://...",
            ));
        }
        let share = environment.parsed_or(SHARE, 1.0)?;
        if !(0.0..=1.0).contains(&share) {
            return Err(SettingError::invalid(SHARE, "write a share between 0 and 1"));
        }
        Ok(Some(Self {
            endpoint: endpoint.to_owned(),
            headers: otlp_headers(environment)?,
            share,
        }))
    }
}

fn otlp_headers(environment: &Environment) -> Result<Vec<(String, SecretString)>, SettingError> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    let Some(text) = environment.secret(NAME)? else {
        return Ok(Vec::new());
    };
    let pairs = text.expose_secret().split(',');
    pairs
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| SettingError::invalid(NAME, "write name=value,name=value"))?;
            Ok((name.trim().to_owned(), value.trim().into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, SettingError> {
        TraceSettings::read(&variables.iter().copied().collect())
    }

    #[test]
    fn spans_stay_here_unless_a_collector_is_named() {
        assert!(read(&[]).unwrap().is_none());
        let named = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer canary, x=y"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        let trace = read(&named).unwrap().unwrap();
        assert_eq!((trace.headers.len(), trace.share), (2, 0.25));
        assert!(!format!("{trace:?}").contains("canary"));
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", "canary"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ] {
            let text = read(&[named[0], (name, value)]).unwrap_err().to_string();
            assert!(text.contains(name) && !text.contains("canary"), "{text}");
        }
    }
}
