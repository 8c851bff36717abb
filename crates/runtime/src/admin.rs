//! The admin port: serves metrics and health to monitoring inside the network.

use std::net::{SocketAddr, TcpListener};

use actix_web::dev::Server;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{App, HttpResponse, HttpServer, web};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::health::Health;

/// Binds `addr` (port 0 picks a free port). The server runs when polled and does not handle signals.
pub fn bind(
    addr: SocketAddr,
    health: Health,
    metrics: PrometheusHandle,
) -> std::io::Result<(SocketAddr, Server)> {
    let listener = TcpListener::bind(addr)?;
    let bound = listener.local_addr()?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(health.clone()))
            .app_data(web::Data::new(metrics.clone()))
            .route("/metrics", web::get().to(render))
            .route("/livez", web::get().to(live))
            .route("/readyz", web::get().to(ready))
            .route("/health", web::get().to(show))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    Ok((bound, server))
}

async fn render(metrics: web::Data<PrometheusHandle>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(metrics.render())
}

/// Always answers: if the process can answer, a restart would not fix anything.
async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "live": true }))
}

async fn ready(health: web::Data<Health>) -> HttpResponse {
    let report = health.report().await;
    let mut answer = if report.ready {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    answer.insert_header((CACHE_CONTROL, "no-store")).json(report)
}

async fn show(health: web::Data<Health>) -> HttpResponse {
    let report = health.report().await;
    let status = if report.healthy { "healthy" } else { "degraded" };
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "status": status, "checks": report.checks }))
}
