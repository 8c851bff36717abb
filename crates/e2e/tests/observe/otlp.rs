//! A trace collector: receives OTLP over HTTP like the real ones, and keeps the spans.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;

#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub linked_traces: Vec<String>,
    attributes: Vec<KeyValue>,
}

impl Span {
    /// A text attribute.
    pub fn get(&self, key: &str) -> Option<&str> {
        text(&self.attributes, key)
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Listens until the test ends.
#[derive(Clone, Debug)]
pub struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let collector = Self {
            url: format!("http://{}", listener.local_addr()?),
            spans: Arc::default(),
        };
        let taken = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = taken.clone();
                let service = service_fn(move |request| taken.clone().take(request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(collector)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().clone()
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let right = request.method() == "POST"
            && request.uri().path() == "/v1/traces"
            && request
                .headers()
                .get("x-tenant")
                .is_some_and(|value| value == "test")
            && request
                .headers()
                .get("content-type")
                .is_some_and(|value| value == "application/x-protobuf");
        let body = request.into_body().collect().await.ok();
        let kept = body.is_some_and(|body| right && self.keep(&body.to_bytes()));
        let status = if kept {
            StatusCode::OK
        } else {
            StatusCode::BAD_REQUEST
        };
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = status;
        Ok(answer)
    }

    fn keep(&self, body: &[u8]) -> bool {
        let Ok(request) = ExportTraceServiceRequest::decode(body) else {
            return false;
        };
        let mut kept = self.spans.lock();
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = text(&attributes, "service.name").unwrap_or_default().to_owned();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                kept.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: hex::encode(span.trace_id),
                    id: hex::encode(span.span_id),
                    parent: hex::encode(span.parent_span_id),
                    linked_traces: span
                        .links
                        .iter()
                        .map(|link| hex::encode(&link.trace_id))
                        .collect(),
                    attributes: span.attributes,
                });
            }
        }
        true
    }
}
