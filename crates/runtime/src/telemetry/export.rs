//! Sends spans to a collector: OTLP with protobuf over HTTP, using the same TLS stack as everything else.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use secrecy::ExposeSecret;
use tokio::runtime::Handle;

use crate::settings::Collector;

/// Time limit of one export. Spans are dropped rather than kept for long.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    #[error("the exporter cannot be made")]
    Exporter(#[source] ExporterBuildError),
}

/// The provider of `service`, which sends spans in batches from its own thread. Must be called inside a tokio runtime.
pub fn provider(service: &'static str, collector: &Collector) -> Result<SdkTracerProvider, ExportError> {
    let headers: HashMap<String, String> = collector
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.expose_secret().to_owned()))
        .collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(ExportClient::new()?)
        .with_endpoint(format!("{}/v1/traces", collector.endpoint.trim_end_matches('/')))
        .with_timeout(TIMEOUT)
        .with_headers(headers)
        .build()
        .map_err(ExportError::Exporter)?;
    let resource = Resource::builder_empty()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    // A trace that the caller sampled is kept completely; of other traces the configured share is kept.
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(collector.share)));
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(sampler)
        .with_batch_exporter(exporter)
        .build())
}

/// Sends the exporter's requests on our tokio runtime, because the exporter's thread has none.
#[derive(Clone, Debug)]
struct ExportClient {
    http: reqwest::Client,
    runtime: Handle,
}

impl ExportClient {
    fn new() -> Result<Self, ExportError> {
        // An error means that the process has already installed a provider, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(ExportError::Client)?;
        Ok(Self {
            http,
            runtime: Handle::current(),
        })
    }
}

#[async_trait]
impl HttpClient for ExportClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.http.clone();
        let sending = self.runtime.spawn(async move {
            let request = reqwest::Request::try_from(request)?;
            let answer = client.execute(request).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = Response::new(answer.bytes().await?);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok::<_, reqwest::Error>(response)
        });
        Ok(sending.await??)
    }
}
