//! What a request is about, as its signature covers it.

use actix_web::HttpRequest;

use crate::error::{Code, Problem};

/// Maximum length of a query string, in bytes. No route needs one.
const MAX_QUERY: usize = 1024;

/// The path and the query exactly as received.
pub fn raw_target(request: &HttpRequest) -> Result<(&str, &str), Problem> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    if query.len() > MAX_QUERY {
        return Err(Problem::new(
            Code::ValidationFailed,
            "The query string is too long.",
        ));
    }
    Ok((path, query))
}
