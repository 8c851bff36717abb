//! Signed intents and the callbacks that pay for them.

use anyhow::{Context, Result};
use domain::address::Address;
use domain::clock::{Clock, SystemSource};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use testkit::sign::{self, RequestParts};

use crate::load::RequestSource;
use crate::settings::Settings;

/// Mints of one shilling that a user may have in a day leave room for this many; the policy allows 10,000.
pub const INTENTS_PER_USER: usize = 9_000;
const ONE_SHILLING: &str = "1000000000000000000";

/// The intents of one run. Reference and user follow from the index, so that the callbacks match them.
#[derive(Clone, Debug)]
pub struct Plan {
    pub run: i64,
    pub users: Vec<Address>,
    settings: Settings,
}

impl Plan {
    /// Uses new users, so that daily limits and balances of earlier runs do not matter.
    pub fn new(settings: &Settings, intents: usize) -> Result<Self> {
        let run = SystemSource.unix_seconds();
        let users = (0..intents.div_ceil(INTENTS_PER_USER))
            .map(|i| {
                let digest = domain::signature::sha256(format!("bench user {run} {i}").as_bytes());
                let mut bytes = [0; 20];
                bytes.copy_from_slice(&digest[..20]);
                Address::from_bytes(bytes)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            run,
            users,
            settings: settings.clone(),
        })
    }

    fn tx_ref(&self, index: usize) -> String {
        format!("B{}-{index}", self.run)
    }

    fn user(&self, index: usize) -> Result<Address> {
        self.users
            .get(index / INTENTS_PER_USER)
            .copied()
            .context("more intents than planned")
    }
}

/// `POST /mint-intents`, one shilling each.
pub struct Intents(pub Plan);

impl RequestSource for Intents {
    fn request(&self, index: usize) -> Result<Request<Full<Bytes>>> {
        let Plan { run, settings, .. } = &self.0;
        let body = format!(
            r#"{{"user":"{}","amount":"{ONE_SHILLING}","countryCode":"KES","txRef":"{}"}}"#,
            self.0.user(index)?,
            self.0.tx_ref(index)
        );
        let key = format!("bench-{run}-{index:012}");
        let parts = RequestParts {
            kid: &settings.request_kid,
            timestamp: SystemSource.unix_seconds(),
            method: "POST",
            path: "/mint-intents",
            query: "",
            idempotency_key: &key,
            body: body.as_bytes(),
        };
        let signature = sign::request(&settings.request_secret, &parts)?;
        post(settings, &parts)
            .header("x-idempotency-key", &key)
            .header("x-request-signature", signature)
            .body(Full::from(body))
            .map_err(Into::into)
    }
}

/// `POST /callbacks/mpesa`, paid, for the intent of the same index.
pub struct Callbacks(pub Plan);

impl RequestSource for Callbacks {
    fn request(&self, index: usize) -> Result<Request<Full<Bytes>>> {
        let Plan { run, settings, .. } = &self.0;
        let body = format!(
            r#"{{"txRef":"{}","amount":"1","phone":"254708374149","timestamp":{run},"receipt":"B{run}X{index}","resultCode":0}}"#,
            self.0.tx_ref(index)
        );
        let parts = RequestParts {
            kid: &settings.mpesa_kid,
            timestamp: SystemSource.unix_seconds(),
            method: "POST",
            path: "/callbacks/mpesa",
            query: "",
            idempotency_key: "",
            body: body.as_bytes(),
        };
        let signature = sign::mpesa(&settings.mpesa_secret, &parts)?;
        post(settings, &parts)
            .header("x-mpesa-signature", signature)
            .body(Full::from(body))
            .map_err(Into::into)
    }
}

fn post(settings: &Settings, parts: &RequestParts<'_>) -> hyper::http::request::Builder {
    Request::post(parts.path)
        .header("host", &settings.gateway)
        .header("content-type", "application/json")
        .header("x-request-timestamp", parts.timestamp)
}
