//! Where spans are sent, if anywhere.

use secrecy::{ExposeSecret, SecretString};

use super::{SecretSource, SettingError};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct TraceSettings {
    /// Collector of spans (OTLP over HTTP); without one spans are not sent anywhere
    #[arg(
        id = "otlp_endpoint",
        long = "otel-exporter-otlp-endpoint",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "http(s)://HOST:PORT",
        value_parser = endpoint
    )]
    pub endpoint: Option<String>,
    /// Headers for the collector, often a token: name=value,name=value
    #[arg(
        id = "otlp_headers",
        long = "otel-exporter-otlp-headers",
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        value_name = "HEADERS"
    )]
    pub headers: Option<SecretSource>,
    /// Share of traces kept that begin here
    #[arg(
        id = "trace_share",
        long = "otel-traces-sampler-arg",
        env = "OTEL_TRACES_SAMPLER_ARG",
        value_name = "0.0-1.0",
        default_value = "1.0",
        value_parser = share
    )]
    pub share: f64,
}

/// Who is sent spans, and which.
#[derive(Clone, Debug)]
pub struct Collector {
    pub endpoint: String,
    pub headers: Vec<(String, SecretString)>,
    pub share: f64,
}

impl TraceSettings {
    /// `None`: no collector is named.
    pub fn collector(&self) -> Result<Option<Collector>, SettingError> {
        let Some(endpoint) = self.endpoint.clone() else {
            return Ok(None);
        };
        Ok(Some(Collector {
            endpoint,
            headers: self.headers.as_ref().map_or(Ok(Vec::new()), headers)?,
            share: self.share,
        }))
    }
}

fn endpoint(text: &str) -> Result<String, &'static str> {
    if text.starts_with("http://") || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("neither http:// nor https://")
    }
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("no share")
}

fn headers(source: &SecretSource) -> Result<Vec<(String, SecretString)>, SettingError> {
    let pairs = source.value().expose_secret().split(',');
    pairs
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| source.unfit("write name=value,name=value"))?;
            Ok((name.trim().to_owned(), value.trim().into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Environment;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Collector>, SettingError> {
        let environment: Environment = variables.iter().copied().collect();
        environment.read::<TraceSettings>()?.collector()
    }

    #[test]
    fn spans_are_exported_only_if_a_collector_is_configured() {
        assert!(read(&[]).unwrap().is_none());
        let named = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer canary, x=y"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        let collector = read(&named).unwrap().unwrap();
        assert_eq!((collector.headers.len(), collector.share), (2, 0.25));
        assert!(!format!("{collector:?}").contains("canary"));
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", "canary"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ] {
            let text = read(&[named[0], (name, value)]).unwrap_err().to_string();
            assert!(text.contains(name) && !text.contains("canary"), "{text}");
        }
    }
}
