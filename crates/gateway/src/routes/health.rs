//! The routes that say how we are. They need no signature.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::exchange::{Exchange, Reply};
use crate::state::Gateway;

/// How we are.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthDocument {
    /// `healthy` or `degraded`
    pub status: &'static str,
    /// `ok` or `unavailable`
    pub database: &'static str,
    /// `ok` or `unavailable`
    pub broker: &'static str,
    pub rpc: RpcHealth,
    /// Messages ready in all work queues, if known.
    pub queue_depth: Option<u64>,
    /// Entries on all dead-letter queues, if known.
    pub dlq_depth: Option<u64>,
}

/// The chain, as the executor last saw it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct RpcHealth {
    pub connected: bool,
    pub latency_ms: Option<i32>,
}

/// Is the system well?
#[utoipa::path(get, path = "/health", responses((status = 200, description = "Always", body = HealthDocument)))]
pub async fn health(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let exchange = Exchange::begin(&request, &gateway, "/health");
    let report = gateway.health.report().await;
    let word = |ok| if ok { "ok" } else { "unavailable" };
    let rpc = match gateway.executor.fresh() {
        Some(heartbeat) => RpcHealth {
            connected: heartbeat.rpc_connected,
            latency_ms: heartbeat.rpc_latency_ms,
        },
        None => RpcHealth::default(),
    };
    let depths = *gateway.depths.borrow();
    let healthy = report.healthy && rpc.connected;
    let document = HealthDocument {
        status: if healthy { "healthy" } else { "degraded" },
        database: word(report.is_ok("database")),
        broker: word(report.is_ok("broker")),
        rpc,
        queue_depth: depths.map(|depths| depths.work),
        dlq_depth: depths.map(|depths| depths.dead),
    };
    exchange.finish(&gateway, json_reply(StatusCode::OK, &document))
}

/// Always answers.
pub async fn live(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let exchange = Exchange::begin(&request, &gateway, "/livez");
    exchange.finish(&gateway, json_reply(StatusCode::OK, &json!({ "live": true })))
}

/// Whether a load balancer should send requests here: not while draining, nor without the database.
pub async fn ready(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let exchange = Exchange::begin(&request, &gateway, "/readyz");
    let ready = gateway.health.report().await.ready;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    exchange.finish(&gateway, json_reply(status, &json!({ "ready": ready })))
}

fn json_reply(status: StatusCode, document: &impl Serialize) -> Result<Reply, Problem> {
    let body = serde_json::to_vec(document).map_err(|_| Problem::internal())?;
    Ok(Reply::json(status, body))
}
