//! The description of the API, generated from the handlers and committed as `docs/openapi.json`.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use utoipa::OpenApi;

use super::{health, mint_intents, mpesa, read_intent};
use crate::exchange::{Exchange, Reply};
use crate::state::Gateway;

/// Everything public.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "FiatRails",
        description = "Turns a confirmed mobile-money payment into a compliant on-chain mint, exactly once. \
                       Requests are signed with HMAC-SHA256; answers to signed requests carry \
                       X-Response-Signature. The same routes exist under /api/v1.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(mint_intents::create, read_intent::read, mpesa::report, health::health)
)]
pub struct ApiDescription;

/// The description never changes, so it is rendered once.
static API: LazyLock<String> = LazyLock::new(|| ApiDescription::openapi().to_json().unwrap_or_default());

/// This description.
pub async fn read(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let exchange = Exchange::begin(&request, &gateway, "/openapi.json");
    exchange.finish(
        &gateway,
        Ok(Reply::json(StatusCode::OK, API.clone().into_bytes())),
    )
}
