//! Reads a request body, with limits on size and time.

use std::time::Duration;

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::error::{Code, Problem};

/// Maximum size of a body, in bytes.
pub const MAX_BODY: usize = 16 * 1024;

/// Reads the whole raw body.
pub async fn read(request: &HttpRequest, payload: web::Payload, timeout: Duration) -> Result<Bytes, Problem> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if announced
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|n| n > MAX_BODY as u64)
    {
        return Err(too_large());
    }
    match tokio::time::timeout(timeout, collect(payload)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(Code::RequestTimeout, "Send the whole body at once.")),
    }
}

async fn collect(mut payload: web::Payload) -> Result<Bytes, Problem> {
    let Some(first) = payload.next().await else {
        return Ok(Bytes::new());
    };
    let first = checked_chunk(first, 0)?;
    let Some(second) = payload.next().await else {
        return Ok(first);
    };
    let mut body = BytesMut::from(first.as_ref());
    let mut next = Some(second);
    while let Some(chunk) = next {
        body.extend_from_slice(&checked_chunk(chunk, body.len())?);
        next = payload.next().await;
    }
    Ok(body.freeze())
}

fn checked_chunk(
    chunk: Result<Bytes, actix_web::error::PayloadError>,
    before: usize,
) -> Result<Bytes, Problem> {
    // Only a client that disconnected or violated its own encoding gets here, so hardly anybody reads the answer.
    let chunk = chunk.map_err(|_| Problem::new(Code::InvalidJson, "The body ended early."))?;
    if before + chunk.len() > MAX_BODY {
        return Err(too_large());
    }
    Ok(chunk)
}

fn too_large() -> Problem {
    Problem::new(Code::BodyTooLarge, "A body has at most 16 KiB.")
}
