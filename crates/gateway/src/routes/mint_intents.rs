//! `POST /mint-intents`: raw bytes -> verify -> parse once -> intake.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use domain::idempotency::{Fingerprint, IdempotencyKey};
use domain::ids::Preimage;
use domain::signature::SigningScheme;
use messaging::wire::MintSubmit;
use messaging::{MessageMetadata, SealedMessage};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{Instrument as _, Span, info_span};
use utoipa::ToSchema;

use super::target::raw_target;
use crate::answers::{self, UnsealedAnswer};
use crate::auth::{PresentedSignature, SignedContent};
use crate::body;
use crate::error::{Code, Problem};
use crate::exchange::{Exchange, Reply};
use crate::headers::{IDEMPOTENCY_KEY, SingleHeader, TRACEPARENT, is_json};
use crate::intake::submission::{IntakeResult, SealedIntent, Submission};
use crate::keys::{IntegratorKey, KeySnapshot};
use crate::new_intent::NewMintIntent;
use crate::observe;
use crate::state::Gateway;
use storage::gateway::intents::MintIntent;

/// The answer to an accepted intent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedIntent {
    /// `0x` and 64 lower-case hexadecimal digits; commits to every field of the intent.
    pub intent_id: String,
    /// `pending`
    pub status: &'static str,
    /// `queued`
    pub stage: &'static str,
    pub tx_hash: Option<String>,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// Ask for a mint.
#[utoipa::path(
    post,
    path = "/mint-intents",
    request_body = crate::schemas::NewMintIntentBody,
    params(crate::schemas::SignedHeaders, crate::schemas::IdempotencyHeader),
    responses(
        (status = 201, description = "Accepted; `Location` names it", body = AcceptedIntent),
        (status = 400, description = "`invalid-json`, `validation-failed`, `idempotency-key-missing`, `idempotency-key-invalid`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "`signature-missing`, `signature-malformed`, `signature-invalid`, `timestamp-invalid`, `timestamp-stale`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 408, description = "`request-timeout`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`request-in-progress`, `tx-ref-exists`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported-media-type`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`, `tx-ref-not-yours`, `amount-below-minimum`, `amount-above-maximum`, `amount-not-whole`, `daily-limit-exceeded`, `country-not-supported`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`rate-limited`, `too-many-unpaid`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "`internal`, `stored-response-tampered`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    request: HttpRequest,
    payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let mut exchange = Exchange::begin(&request, &gateway, "/mint-intents");
    let span = info_span!(
        "gateway.mint_intents.create",
        otel.kind = "server",
        request_id = exchange.request_id(),
        intent_id = tracing::field::Empty,
        tx_ref = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    let traceparent = SingleHeader::of(request.headers(), &TRACEPARENT).value();
    runtime::telemetry::continue_trace(&span, traceparent);
    let result = accept(&request, payload, &gateway, &mut exchange)
        .instrument(span)
        .await;
    observe::mint_intent(match &result {
        Ok((_, status)) => status,
        Err(problem) => problem.code.name(),
    });
    exchange.finish(&gateway, result.map(|(reply, _)| reply))
}

async fn accept(
    request: &HttpRequest,
    payload: web::Payload,
    gateway: &Gateway,
    exchange: &mut Exchange,
) -> Result<(Reply, &'static str), Problem> {
    let raw = body::read(request, payload, gateway.bounds.body_timeout).await?;
    let (path, query) = raw_target(request)?;
    let presented = PresentedSignature::read(request.headers(), SigningScheme::Request)?;
    let form = check_headers(request);
    let signed = SignedContent {
        method: request.method().as_str(),
        path,
        query,
        idempotency_key: SingleHeader::of(request.headers(), &IDEMPOTENCY_KEY)
            .value()
            .unwrap_or_default(),
        body: &raw,
    };
    let (keys, now) = (gateway.keys()?, gateway.clock.now());
    let verified = gateway
        .verifier
        .verify_integrator(&keys, &presented, &signed, now);
    if let Ok(caller) = &verified {
        exchange.signed_by(caller, signed.idempotency_key);
    }
    // A malformed header is reported before a wrong signature; a valid signer gets that answer signed.
    let key = form?;
    let caller = verified?;
    gateway.limiter.pass(&caller.key.id)?;
    let intent = NewMintIntent::parse(&raw)?;
    let fingerprint = Fingerprint::of(signed.method, path, query, &raw);
    let request = VerifiedRequest {
        caller,
        key,
        fingerprint,
        intent,
        now: to_millis(now),
    };
    let submission = request.submission(gateway, &keys, exchange.request_id())?;
    match gateway.intents.submit(submission).await {
        IntakeResult::Stored(answer) => {
            let status = stored_label(answer.status);
            tracing::info!(status, "answered");
            Ok((Reply::stored(&answer, false), status))
        }
        IntakeResult::Replayed(answer) => Ok((Reply::stored(&answer, true), "replayed")),
        IntakeResult::Refused(problem) => Err(problem),
    }
}

/// Checks the media type and the idempotency key, without looking anything up.
fn check_headers(request: &HttpRequest) -> Result<IdempotencyKey, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "Send Content-Type: application/json.",
        ));
    }
    let invalid = || {
        Problem::new(
            Code::IdempotencyKeyInvalid,
            "Send it once: 16 to 128 of A-Z a-z 0-9 _ -.",
        )
    };
    match SingleHeader::of(request.headers(), &IDEMPOTENCY_KEY) {
        SingleHeader::Absent => Err(Problem::new(
            Code::IdempotencyKeyMissing,
            "Send a fresh UUID for each new intent.",
        )),
        SingleHeader::Malformed => Err(invalid()),
        SingleHeader::Present(text) => text.parse().map_err(|_| invalid()),
    }
}

/// An authenticated request with a valid body.
struct VerifiedRequest {
    caller: Arc<IntegratorKey>,
    key: IdempotencyKey,
    fingerprint: Fingerprint,
    intent: NewMintIntent,
    now: OffsetDateTime,
}

impl VerifiedRequest {
    /// Builds the submission. Ownership of the txRef is checked before anything that could reveal whether it exists.
    fn submission(
        self,
        gateway: &Gateway,
        keys: &KeySnapshot,
        request_id: &str,
    ) -> Result<Submission, Problem> {
        let verified = match keys.prefixes.owner(&self.intent.tx_ref) {
            Some(owner) if *owner == self.caller.owner => self.intent.check_policy(&gateway.policy),
            _ => Err(Problem::new(
                Code::TxRefNotYours,
                "Use txRefs with a prefix that is registered for you.",
            )),
        };
        match verified {
            Ok(()) => self.accepted(gateway, keys, request_id),
            Err(problem) => {
                let body = problem.body(request_id);
                let answer = self.answer(keys, problem.code.properties().status, None, body)?;
                Ok(Submission {
                    request_id: request_id.to_owned(),
                    answer,
                    intent: None,
                })
            }
        }
    }

    fn accepted(
        self,
        gateway: &Gateway,
        keys: &KeySnapshot,
        request_id: &str,
    ) -> Result<Submission, Problem> {
        let preimage = Preimage {
            chain_id: gateway.policy.chain.chain_id,
            escrow: gateway.escrow,
            depositor: gateway.treasury,
            user: self.intent.user,
            amount: self.intent.amount,
            country_code: self.intent.country_code,
            tx_ref: self.intent.tx_ref.clone(),
        };
        let intent_id = preimage.intent_id();
        Span::current().record("intent_id", tracing::field::display(&intent_id));
        Span::current().record("tx_ref", preimage.tx_ref.as_str());
        let accepted = AcceptedIntent {
            intent_id: intent_id.to_string(),
            status: "pending",
            stage: "queued",
            tx_hash: None,
            created_at: rfc3339(self.now),
        };
        let body = serde_json::to_vec(&accepted).map_err(|_| Problem::internal())?;
        let location = Some(format!("/mint-intents/{intent_id}"));
        let answer = self.answer(keys, 201, location, body)?;
        let (mac_key_id, mac) = answers::mac_intent(&keys.answers, &intent_id, &self.caller.owner, self.now)
            .map_err(|_| no_key_mounted())?;
        let trace_parent = runtime::telemetry::traceparent_of(&Span::current());
        let message = self.command(gateway, &preimage, trace_parent.clone())?;
        let intent = MintIntent {
            intent_id,
            preimage,
            integrator: self.caller.owner.clone(),
            idempotency_key: self.key,
            trace_parent,
            created_at: self.now,
            mac_key_id,
            mac,
        };
        let candidate = Some(SealedIntent { intent, message });
        Ok(Submission {
            request_id: request_id.to_owned(),
            answer,
            intent: candidate,
        })
    }

    /// The sealed command that follows from the acceptance.
    fn command(
        &self,
        gateway: &Gateway,
        preimage: &Preimage,
        traceparent: Option<String>,
    ) -> Result<SealedMessage, Problem> {
        let command = MintSubmit {
            intent: preimage.clone(),
            integrator: self.caller.owner.clone(),
            accepted_at: self.now.unix_timestamp(),
        };
        let metadata = MessageMetadata {
            message_id: gateway.ids.message_id(),
            causation_id: None,
            at: self.now,
            traceparent,
        };
        gateway.sealer.seal(&command, metadata).map_err(|error| {
            tracing::error!(%error, "a command cannot be sealed");
            no_key_mounted()
        })
    }

    fn answer(
        &self,
        keys: &KeySnapshot,
        status: u16,
        location: Option<String>,
        body: Vec<u8>,
    ) -> Result<storage::gateway::idempotency::StoredAnswer, Problem> {
        let draft = UnsealedAnswer {
            integrator: self.caller.owner.clone(),
            key: self.key.clone(),
            fingerprint: self.fingerprint,
            status,
            location,
            body: body.into(),
        };
        draft.seal(&keys.answers).map_err(|_| no_key_mounted())
    }
}

/// The refusal when an operator has not mounted a needed key: nothing can be stored safely.
fn no_key_mounted() -> Problem {
    Problem::unavailable()
}

fn stored_label(status: u16) -> &'static str {
    if status == 201 { "accepted" } else { "refused" }
}

/// Truncates to milliseconds, so that the printed and the stored time are equal.
fn to_millis(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(u32::from(at.millisecond()) * 1_000_000)
        .unwrap_or(at)
}

/// RFC 3339 in UTC.
pub fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
