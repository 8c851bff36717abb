//! The public routes, at `/` and again under `/api/v1`.

pub mod health;
pub mod mint_intents;
pub mod mpesa;
pub mod openapi;
pub mod read_intent;
mod target;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use crate::error::{Code, Problem};
use crate::exchange::{Exchange, Reply};
use crate::state::Gateway;

/// Mounts all routes. Other paths are answered 404, other methods of a known path 405.
pub fn mount(config: &mut ServiceConfig) {
    for prefix in ["", "/api/v1"] {
        let at = |path: &str| format!("{prefix}{path}");
        config
            .service(
                web::resource(at("/mint-intents"))
                    .post(mint_intents::create)
                    .default_service(other("POST")),
            )
            .service(
                web::resource(at("/mint-intents/{intentId}"))
                    .get(read_intent::read)
                    .default_service(other("GET")),
            )
            .service(
                web::resource(at("/callbacks/mpesa"))
                    .post(mpesa::report)
                    .default_service(other("POST")),
            )
            .service(
                web::resource(at("/openapi.json"))
                    .get(openapi::read)
                    .default_service(other("GET")),
            )
            .service(
                web::resource(at("/health"))
                    .get(health::health)
                    .default_service(other("GET")),
            )
            .service(
                web::resource(at("/livez"))
                    .get(health::live)
                    .default_service(other("GET")),
            )
            .service(
                web::resource(at("/readyz"))
                    .get(health::ready)
                    .default_service(other("GET")),
            );
    }
    config.default_service(web::to(not_found));
}

/// Answers a method that a route does not have.
fn other(allow: &'static str) -> actix_web::Route {
    web::to(
        move |request: HttpRequest, gateway: web::Data<Gateway>| async move {
            let exchange = Exchange::begin(&request, &gateway, "other");
            let detail = format!("Use {allow}.");
            let problem = Problem {
                allow: Some(allow),
                ..Problem::new(Code::MethodNotAllowed, detail)
            };
            exchange.finish(&gateway, Err::<Reply, _>(problem))
        },
    )
}

async fn not_found(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let exchange = Exchange::begin(&request, &gateway, "other");
    let problem = Problem::new(Code::NotFound, "Look at /openapi.json for what is here.");
    exchange.finish(&gateway, Err::<Reply, _>(problem))
}
