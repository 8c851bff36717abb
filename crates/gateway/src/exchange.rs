//! One request and its answer: id, time, signature, metrics. Every answer of the API goes through [`Exchange`].

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use domain::signature::SignedResponse;
use storage::gateway::idempotency::StoredAnswer;
use tokio::time::Instant;

use crate::connections::{Connection, RequestGuard};
use crate::error::{Code, Problem};
use crate::headers::{self, IDEMPOTENT_REPLAYED, REQUEST_ID, RESPONSE_SIGNATURE, RESPONSE_TIMESTAMP};
use crate::keys::{IntegratorKey, LiveKey};
use crate::observe;
use crate::state::Gateway;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An answer that is not signed yet.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Part of the request may still be in transit, so nothing more is read from this connection.
    close_connection: bool,
}

impl Reply {
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: JSON,
            body: body.into(),
            headers: Vec::new(),
            close_connection: false,
        }
    }

    /// A stored answer: the original status and the same bytes, every time.
    pub fn stored(answer: &StoredAnswer, replayed: bool) -> Self {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = if status.is_success() { JSON } else { PROBLEM };
        let mut reply = Self {
            status,
            content_type,
            body: answer.body.clone(),
            headers: Vec::new(),
            close_connection: false,
        };
        reply.push(LOCATION, answer.location.as_deref());
        reply.push(IDEMPOTENT_REPLAYED, replayed.then_some("true"));
        reply
    }

    fn problem(problem: &Problem, request_id: &str) -> Self {
        let mut reply = Self {
            status: problem.code.status(),
            content_type: PROBLEM,
            body: problem.body(request_id).into(),
            headers: Vec::new(),
            close_connection: matches!(problem.code, Code::BodyTooLarge | Code::RequestTimeout),
        };
        reply.push(
            RETRY_AFTER,
            problem
                .retry_after()
                .map(|seconds| seconds.to_string())
                .as_deref(),
        );
        reply.push(LOCATION, problem.location.as_deref());
        reply.push(ALLOW, problem.allow);
        reply
    }

    fn push(&mut self, name: HeaderName, value: Option<&str>) {
        if let Some(value) = value.and_then(|text| HeaderValue::from_str(text).ok()) {
            self.headers.push((name, value));
        }
    }
}

/// The key that signed the request, and that signs the answer.
#[derive(Debug)]
enum ResponseSigner {
    Integrator(Arc<IntegratorKey>),
    Mpesa(Arc<LiveKey>),
}

impl ResponseSigner {
    fn key(&self) -> &LiveKey {
        match self {
            Self::Integrator(key) => &key.key,
            Self::Mpesa(key) => key,
        }
    }
}

/// The request that is being answered.
#[derive(Debug)]
pub struct Exchange {
    route: &'static str,
    started: Instant,
    request_id: String,
    idempotency_key: String,
    signer: Option<ResponseSigner>,
    /// Keeps the connection from being closed as idle.
    _guard: Option<RequestGuard>,
}

impl Exchange {
    pub fn begin(request: &HttpRequest, gateway: &Gateway, route: &'static str) -> Self {
        let request_id = headers::request_id(request.headers())
            .map_or_else(|| format!("req_{}", gateway.ids.uuid().simple()), str::to_owned);
        Self {
            route,
            started: Instant::now(),
            request_id,
            idempotency_key: String::new(),
            signer: None,
            _guard: request.conn_data::<Arc<Connection>>().map(RequestGuard::on),
        }
    }

    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    /// Signs the answer with this key, from now on.
    pub fn signed_by(&mut self, key: &Arc<IntegratorKey>, idempotency_key: &str) {
        self.signer = Some(ResponseSigner::Integrator(key.clone()));
        idempotency_key.clone_into(&mut self.idempotency_key);
    }

    pub fn signed_by_mpesa(&mut self, key: &Arc<LiveKey>) {
        self.signer = Some(ResponseSigner::Mpesa(key.clone()));
    }

    pub fn finish(self, gateway: &Gateway, result: Result<Reply, Problem>) -> HttpResponse {
        let reply = result.unwrap_or_else(|problem| {
            observe::refused(self.route, &problem, &self.request_id);
            Reply::problem(&problem, &self.request_id)
        });
        let status = reply.status.as_u16();
        let mut response = HttpResponse::build(reply.status);
        response
            .insert_header((CONTENT_TYPE, reply.content_type))
            .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
            .insert_header((REQUEST_ID, self.request_id.as_str()));
        for header in reply.headers {
            response.insert_header(header);
        }
        if let Some(signer) = &self.signer {
            let key = signer.key();
            let timestamp = gateway.clock.unix_seconds();
            let signed = SignedResponse {
                key_id: &key.id,
                timestamp,
                status,
                request_id: &self.request_id,
                idempotency_key: &self.idempotency_key,
                body: &reply.body,
            };
            response
                .insert_header((RESPONSE_TIMESTAMP, timestamp.to_string()))
                .insert_header((RESPONSE_SIGNATURE, signed.sign(key.secret()).to_string()));
        }
        if reply.close_connection || gateway.stop.is_draining() {
            // The client's next connection goes to another gateway; this one would delay the stop.
            response.force_close();
        }
        observe::answered(self.route, status, self.started.elapsed());
        response.body(reply.body)
    }
}
