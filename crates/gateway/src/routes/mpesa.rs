//! `POST /callbacks/mpesa`: verifies the request, stores the raw report, and answers once it is durable. It has no rate
//! limit.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use domain::evidence::SignedReport;
use domain::payment::{PaymentReport, ReportParseError};
use domain::signature::SigningScheme;
use domain::tx_ref::TxRef;
use messaging::MessageMetadata;
use messaging::wire::MpesaResult;
use serde::Serialize;
use storage::gateway::reports::NewReport;
use time::OffsetDateTime;
use tracing::{Instrument as _, Span, info_span};
use utoipa::ToSchema;

use super::target::raw_target;
use crate::auth::{self, PresentedSignature, SignedContent};
use crate::body;
use crate::error::{Code, Problem};
use crate::exchange::{Exchange, Reply};
use crate::headers::{SingleHeader, TRACEPARENT, is_json};
use crate::intake::reports::{IncomingReport, StoreResult};
use crate::keys::LiveKey;
use crate::new_intent::not_an_object;
use crate::observe;
use crate::state::Gateway;

/// Time reserved for writing the answer before the webhook's time-out.
const MARGIN: Duration = Duration::from_millis(150);

/// The answer to a callback.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackAnswer {
    /// `accepted` or `already_processed`
    pub status: &'static str,
    pub tx_ref: String,
}

/// M-Pesa reports a payment.
#[utoipa::path(
    post,
    path = "/callbacks/mpesa",
    request_body = crate::schemas::ReportBody,
    params(crate::schemas::MpesaHeaders),
    responses(
        (status = 200, description = "Durable", body = CallbackAnswer),
        (status = 400, description = "`invalid-json`, `validation-failed`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "`signature-missing`, `signature-malformed`, `signature-invalid`, `timestamp-invalid`, `timestamp-stale` (an authentic one is kept for a person to accept)", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 408, description = "`request-timeout`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported-media-type`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`: not known to be durable, send it again", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn report(
    request: HttpRequest,
    payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let mut exchange = Exchange::begin(&request, &gateway, "/callbacks/mpesa");
    let span = info_span!(
        "gateway.callbacks.mpesa",
        otel.kind = "server",
        request_id = exchange.request_id(),
        tx_ref = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    runtime::telemetry::continue_trace(&span, SingleHeader::of(request.headers(), &TRACEPARENT).value());
    let result = accept(&request, payload, &gateway, &mut exchange)
        .instrument(span)
        .await;
    observe::callback(match &result {
        Ok(answer) => answer.status,
        Err(problem) => problem.code.name(),
    });
    let reply = result.and_then(|answer| {
        let body = serde_json::to_vec(&answer).map_err(|_| Problem::internal())?;
        Ok(Reply::json(StatusCode::OK, body))
    });
    exchange.finish(&gateway, reply)
}

async fn accept(
    request: &HttpRequest,
    payload: web::Payload,
    gateway: &Gateway,
    exchange: &mut Exchange,
) -> Result<CallbackAnswer, Problem> {
    let raw = body::read(request, payload, gateway.bounds.body_timeout).await?;
    let (path, query) = raw_target(request)?;
    let presented = PresentedSignature::read(request.headers(), SigningScheme::Mpesa)?;
    let signed = SignedContent {
        method: request.method().as_str(),
        path,
        query,
        idempotency_key: "",
        body: &raw,
    };
    let (keys, now) = (gateway.keys()?, gateway.clock.now());
    let (key, late) = gateway.verifier.verify_mpesa(&keys, &presented, &signed, now)?;
    exchange.signed_by_mpesa(&key);
    let refusal = || auth::stale_timestamp(now.unix_timestamp());
    if !is_json(request.headers()) {
        return Err(if late {
            refusal()
        } else {
            Problem::new(Code::UnsupportedMediaType, "Send Content-Type: application/json.")
        });
    }
    let parsed = match parse(&raw) {
        Err(_) if late => return Err(refusal()),
        parsed => parsed?,
    };
    Span::current().record("tx_ref", parsed.tx_ref.as_str());
    let tx_ref = parsed.tx_ref.clone();
    let received = VerifiedReport {
        key,
        late,
        parsed,
        raw: &raw,
        presented: &presented,
        path,
        query,
        now,
    };
    let deadline = exchange.started()
        + Duration::from_millis(gateway.policy.windows.webhook_timeout_ms).saturating_sub(MARGIN);
    let result = gateway
        .reports
        .submit(received.incoming(gateway, deadline)?)
        .await;
    let answer = answer(result, &tx_ref)?;
    if late {
        if result == StoreResult::Stored {
            observe::late_report(tx_ref.as_str(), exchange.request_id());
        }
        return Err(refusal());
    }
    tracing::info!(status = answer.status, "answered");
    Ok(answer)
}

/// It is unknown whether the report is stored: the sender must send it again.
const fn is_in_doubt(result: StoreResult) -> bool {
    matches!(result, StoreResult::Unknown)
}

fn answer(result: StoreResult, tx_ref: &TxRef) -> Result<CallbackAnswer, Problem> {
    if is_in_doubt(result) {
        return Err(Problem::unavailable());
    }
    let status = if result == StoreResult::Stored {
        "accepted"
    } else {
        "already_processed"
    };
    Ok(CallbackAnswer {
        status,
        tx_ref: tx_ref.to_string(),
    })
}

fn parse(raw: &[u8]) -> Result<PaymentReport, Problem> {
    PaymentReport::parse(raw).map_err(|error| match error {
        ReportParseError::Json(_) => not_an_object(raw),
        ReportParseError::Fields(errors) => Problem::fields(errors),
    })
}

/// An authenticated report with a valid body.
struct VerifiedReport<'a> {
    key: Arc<LiveKey>,
    late: bool,
    parsed: PaymentReport,
    raw: &'a Bytes,
    presented: &'a PresentedSignature<'a>,
    path: &'a str,
    query: &'a str,
    now: OffsetDateTime,
}

impl VerifiedReport<'_> {
    /// Seals the raw bytes, headers and time of receipt.
    fn incoming(self, gateway: &Gateway, deadline: tokio::time::Instant) -> Result<IncomingReport, Problem> {
        let signed = SignedReport {
            report_id: gateway.ids.report_id(),
            body: self.raw.to_vec(),
            timestamp: self.presented.timestamp_text.to_owned(),
            signature: self.presented.signature_text.to_owned(),
            path: self.path.to_owned(),
            query: self.query.to_owned(),
            received_at: unix_ms(self.now),
        };
        let stamp = MessageMetadata {
            message_id: gateway.ids.message_id(),
            causation_id: None,
            at: self.now,
            traceparent: runtime::telemetry::traceparent_of(&Span::current()),
        };
        let message = gateway
            .sealer
            .seal(&result_message(&signed, self.late), stamp)
            .map_err(|error| {
                tracing::error!(%error, "a report cannot be sealed");
                Problem::unavailable()
            })?;
        let report = NewReport {
            content_hash: self.parsed.content_hash(),
            parsed: self.parsed,
            key_id: self.key.id.clone(),
            late: self.late,
            received_at: self.now,
            signed,
        };
        Ok(IncomingReport {
            report,
            message,
            deadline,
        })
    }
}

/// The message for the callback service.
pub fn result_message(signed: &SignedReport, late: bool) -> MpesaResult {
    MpesaResult {
        report: signed.clone(),
        late,
        accepted_by: None,
    }
}

fn unix_ms(at: OffsetDateTime) -> i64 {
    at.unix_timestamp() * 1000 + i64::from(at.millisecond())
}
