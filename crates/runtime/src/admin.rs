//! The admin port: metrics and health, for machines inside.

use std::net::{SocketAddr, TcpListener};

use actix_web::dev::Server;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{App, HttpResponse, HttpServer, web};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::health::Health;

/// Binds `addr` (port 0 takes a free one); the server runs when polled. Signals are not its business.
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

/// Answers at all: whatever is wrong, a restart would not help.
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
