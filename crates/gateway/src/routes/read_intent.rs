//! `GET /mint-intents/{intentId}`: what all services know about one intent of the caller.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use domain::ids::IntentId;
use domain::intent::{ChainLeg, Finality, PaymentLeg, PublicStatus};
use domain::signature::SigningScheme;
use serde::Serialize;
use storage::gateway::views::{self, HistoryEntry, IntentView};
use utoipa::ToSchema;

use super::mint_intents::rfc3339;
use super::target::raw_target;
use crate::answers;
use crate::auth::{PresentedSignature, SignedContent};
use crate::body;
use crate::error::{Code, Problem};
use crate::exchange::{Exchange, Reply};
use crate::headers::{IDEMPOTENCY_KEY, SingleHeader};
use crate::observe;
use crate::state::Gateway;

/// One intent and everything known about it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntentDocument {
    pub intent_id: String,
    /// EIP-55
    pub user: String,
    /// Base units, 18 decimals.
    pub amount: String,
    pub country_code: String,
    pub tx_ref: String,
    /// `pending`, `executed`, `refunded` or `failed`; it never goes back, whatever the chain does.
    pub status: &'static str,
    /// `queued`, `submitting`, `escrowed`, `executing`, `executed`, `refunding`, `refunded`, `rejected`, `dropped`
    pub stage: &'static str,
    pub reason: Option<String>,
    pub payment: PaymentDocument,
    /// The transaction behind the present stage.
    pub tx_hash: Option<String>,
    /// The present stage is deep enough in the chain to be settled; `false` again after a deep reorganisation.
    pub r#final: bool,
    pub created_at: String,
    pub executed_at: Option<String>,
    pub history: Vec<HistoryDocument>,
}

/// What M-Pesa said.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentDocument {
    /// `awaiting`, `confirmed`, `declined`, `mismatched` or `expired`
    pub status: &'static str,
    pub receipt: Option<String>,
    /// Whole shillings.
    pub amount: Option<String>,
    pub received_at: Option<String>,
}

/// One step of the past.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryDocument {
    pub at: String,
    /// `chain` or `payment`
    pub fact: String,
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_hash: Option<String>,
}

/// Read an intent of yours.
#[utoipa::path(
    get,
    path = "/mint-intents/{intentId}",
    params(
        ("intentId" = String, Path, description = "`0x` and 64 lower-case hexadecimal digits"),
        crate::schemas::SignedHeaders,
    ),
    responses(
        (status = 200, description = "The intent", body = IntentDocument),
        (status = 401, description = "`signature-missing`, `signature-malformed`, `signature-invalid`, `timestamp-invalid`, `timestamp-stale`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: none of yours", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`rate-limited`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "`internal`, `stored-response-tampered`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = crate::schemas::ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn read(
    request: HttpRequest,
    payload: web::Payload,
    gateway: web::Data<Gateway>,
    id: web::Path<String>,
) -> HttpResponse {
    let mut exchange = Exchange::begin(&request, &gateway, "/mint-intents/{intentId}");
    let result = find(&request, payload, &gateway, &mut exchange, &id).await;
    exchange.finish(&gateway, result)
}

async fn find(
    request: &HttpRequest,
    payload: web::Payload,
    gateway: &Gateway,
    exchange: &mut Exchange,
    id: &str,
) -> Result<Reply, Problem> {
    let raw = body::read(request, payload, gateway.bounds.body_timeout).await?;
    let (path, query) = raw_target(request)?;
    let presented = PresentedSignature::read(request.headers(), SigningScheme::Request)?;
    // A read has no idempotency key; if one is sent anyway, it is not part of the signed content.
    let signed = SignedContent {
        method: request.method().as_str(),
        path,
        query,
        idempotency_key: "",
        body: &raw,
    };
    let keys = gateway.keys()?;
    let caller = gateway
        .verifier
        .verify_integrator(&keys, &presented, &signed, gateway.clock.now())?;
    exchange.signed_by(&caller, "");
    gateway.limiter.pass(&caller.key.id)?;
    if SingleHeader::of(request.headers(), &IDEMPOTENCY_KEY) == SingleHeader::Malformed {
        return Err(Problem::new(
            Code::IdempotencyKeyInvalid,
            "A read needs no idempotency key.",
        ));
    }
    let id: IntentId = id.parse().map_err(|_| Problem::not_found())?;
    let view = load_view(gateway, &id).await?.ok_or_else(Problem::not_found)?;
    // Verified before the row's integrator is trusted.
    if !answers::is_genuine_intent(&view.intent, &keys.answers) {
        observe::tampered("mint_intents", exchange.request_id());
        let detail = "This intent is withheld; send us the requestId.";
        return Err(Problem::new(Code::StoredResponseTampered, detail));
    }
    if view.intent.integrator != caller.owner {
        return Err(Problem::not_found());
    }
    let body = serde_json::to_vec(&IntentDocument::from(view)).map_err(|_| Problem::internal())?;
    Ok(Reply::json(StatusCode::OK, body))
}

async fn load_view(gateway: &Gateway, id: &IntentId) -> Result<Option<IntentView>, Problem> {
    let found = async { views::find(&gateway.pool.get().await?, id).await };
    found.await.map_err(|error| {
        observe::read_failed(&error);
        Problem::from(&error)
    })
}

impl From<IntentView> for IntentDocument {
    fn from(view: IntentView) -> Self {
        let preimage = &view.intent.preimage;
        let status = PublicStatus::furthest(view.chain_leg, view.ends_reached.iter().copied());
        Self {
            intent_id: view.intent.intent_id.to_string(),
            user: preimage.user.to_string(),
            amount: preimage.amount.to_string(),
            country_code: preimage.country_code.to_string(),
            tx_ref: preimage.tx_ref.to_string(),
            status: status.name(),
            stage: view.chain_leg.name(),
            reason: reason(&view),
            payment: PaymentDocument {
                status: view.payment_leg.name(),
                receipt: view.paid.as_ref().map(|paid| paid.receipt.clone()),
                amount: view.paid.as_ref().map(|paid| paid.amount.to_string()),
                received_at: view.paid.as_ref().map(|paid| rfc3339(paid.at)),
            },
            tx_hash: view.tx_hash.map(|hash| format!("0x{}", hex::encode(hash))),
            r#final: view.chain_leg.is_final(),
            created_at: rfc3339(view.intent.created_at),
            executed_at: (status == PublicStatus::Executed
                || matches!(view.chain_leg, ChainLeg::Executed(_)))
            .then(|| view.executed_at.map(rfc3339))
            .flatten(),
            history: view.history.into_iter().map(HistoryDocument::from).collect(),
        }
    }
}

/// The reason of the current stage: the chain's reason first, then the payment's.
fn reason(view: &IntentView) -> Option<String> {
    if view.reason.is_some() {
        return view.reason.clone();
    }
    let refunds = matches!(
        view.chain_leg,
        ChainLeg::Refunding | ChainLeg::Refunded(Finality::Mined | Finality::Final) | ChainLeg::Dropped
    );
    match view.payment_leg {
        _ if view.mint_refused => Some("not_compliant".to_owned()),
        PaymentLeg::Declined if refunds => Some("declined".to_owned()),
        PaymentLeg::Expired if refunds => Some("expired".to_owned()),
        PaymentLeg::Mismatched => Some("amount_mismatch".to_owned()),
        _ => None,
    }
}

impl From<HistoryEntry> for HistoryDocument {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            at: rfc3339(entry.at),
            fact: entry.fact,
            what: entry.what,
            tx_hash: entry.tx_hash.map(|hash| format!("0x{}", hex::encode(hash))),
        }
    }
}
