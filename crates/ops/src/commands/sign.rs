//! `sign`: prints the headers of a request or a callback, or a complete curl command (docs/SIGNING.md).

mod body;
mod secret;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use domain::idempotency::IdempotencyKey;
use domain::signature::{KeyId, SignedRequest, SigningScheme, parse_timestamp};
use serde::Serialize;

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::Output;
use crate::settings::SignSettings;
use crate::user_error::user_error;

/// Sign a request or an M-Pesa callback: prints the headers, or a ready curl command
#[derive(Subcommand)]
pub enum SignCommand {
    Request(SignRequest),
    Read(SignIntentRead),
    Callback(SignCallback),
}

/// Sign POST /mint-intents (or any other request of an integrator)
///
/// The body is either given (--body, --body-file) or built from --user, --amount and related options. Without
/// --curl the headers are printed, one per line, followed by an empty line and the body if it was built here.
#[derive(Args)]
#[command(
    after_long_help = "The secret is taken from the first of these that is set, never from the command line:\n  \
    FIATRAILS_REQUEST_SECRET_HEX (or _FILE), with FIATRAILS_REQUEST_KID or --kid;\n  \
    the key directory FIATRAILS_KEYS_DIR, with --kid (else its greatest key id).\n\n\
    Examples:\n  \
    fiatrails sign request --user 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --amount 150 --curl\n  \
    fiatrails sign request --user 0x7099...79C8 --amount 150 --tx-ref TX0000000001 --curl | sh\n  \
    fiatrails sign request --body-file intent.json > headers\n  \
    curl -H @headers --data-binary @intent.json $FIATRAILS_GATEWAY_URL/mint-intents"
)]
pub struct SignRequest {
    #[command(flatten)]
    how: SignOptions,
    /// Method to sign
    #[arg(long, default_value = "POST", value_parser = method)]
    method: String,
    /// Raw path to sign and call
    #[arg(long, default_value = "/mint-intents", value_parser = path)]
    path: String,
    /// Raw query without '?'
    #[arg(long, default_value = "", hide_default_value = true, value_parser = query)]
    query: String,
    /// X-Idempotency-Key [default: a new key]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<IdempotencyKey>,
    #[command(flatten)]
    given: GivenBody,
    #[command(flatten)]
    intent: body::IntentFields,
}

/// Sign GET /mint-intents/{intentId}
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails sign read 0xea77772f8ee613a38310be6efdfaabab62ccddfd822ba2739a82686d36d776cb --curl | sh")]
pub struct SignIntentRead {
    /// The intent's id, 0x and 64 hexadecimal digits
    intent_id: String,
    #[command(flatten)]
    how: SignOptions,
}

/// Sign POST /callbacks/mpesa, as M-Pesa does
#[derive(Args)]
#[command(
    after_long_help = "The secret is taken from the first of these that is set, never from the command line:\n  \
    FIATRAILS_MPESA_SECRET_HEX (or _FILE), with FIATRAILS_MPESA_KID or --kid;\n  \
    the key directory FIATRAILS_KEYS_DIR, with --kid (else its greatest key id).\n\n\
    Examples:\n  \
    fiatrails sign callback --tx-ref TX0000000001 --amount 150 --curl | sh\n  \
    fiatrails sign callback --tx-ref TX0000000001 --amount 150 --result-code 1032 --curl\n  \
    fiatrails sign callback --body-file report.json > headers"
)]
pub struct SignCallback {
    #[command(flatten)]
    how: SignOptions,
    /// Raw path to sign and call
    #[arg(long, default_value = "/callbacks/mpesa", value_parser = path)]
    path: String,
    #[command(flatten)]
    given: GivenBody,
    #[command(flatten)]
    report: body::ReportFields,
}

#[derive(Args)]
struct SignOptions {
    /// Key id to sign with
    #[arg(long)]
    kid: Option<KeyId>,
    /// Unix seconds to sign [default: now]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<String>,
    /// Print a curl command that sends the request
    #[arg(long)]
    curl: bool,
    /// Gateway to call [default: $FIATRAILS_GATEWAY_URL, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

#[derive(Args)]
#[group(multiple = false)]
struct GivenBody {
    /// The exact body
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// Read the exact body from a file, or from standard input with -
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
}

fn method(text: &str) -> Result<String, String> {
    let ok = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase());
    if ok {
        Ok(text.to_owned())
    } else {
        Err("a method is capital letters, e.g. POST".into())
    }
}

fn path(text: &str) -> Result<String, String> {
    let ok = text.starts_with('/')
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#');
    if ok {
        Ok(text.to_owned())
    } else {
        Err("a raw path begins with / and holds no space, ? or #".into())
    }
}

fn query(text: &str) -> Result<String, String> {
    let ok = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if ok {
        Ok(text.to_owned())
    } else {
        Err("a raw query holds no space and no #".into())
    }
}

/// The header and the keys of a signing scheme.
struct SecretKind {
    scheme: SigningScheme,
    header: &'static str,
    secret_variable: &'static str,
    kid_variable: &'static str,
    purpose: &'static str,
}

const REQUEST: SecretKind = SecretKind {
    scheme: SigningScheme::Request,
    header: "X-Request-Signature",
    secret_variable: "FIATRAILS_REQUEST_SECRET_HEX",
    kid_variable: "FIATRAILS_REQUEST_KID",
    purpose: "integrator",
};
const MPESA: SecretKind = SecretKind {
    scheme: SigningScheme::Mpesa,
    header: "X-Mpesa-Signature",
    secret_variable: "FIATRAILS_MPESA_SECRET_HEX",
    kid_variable: "FIATRAILS_MPESA_KID",
    purpose: "mpesa",
};

/// The request to be signed.
struct UnsignedRequest<'a> {
    kind: &'a SecretKind,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    idempotency_key: Option<String>,
    body: Vec<u8>,
    /// Whether the body was built here, so that the caller does not have it yet.
    built: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignedOutput {
    method: String,
    url: String,
    headers: serde_json::Map<String, serde_json::Value>,
    body: String,
    curl: String,
}

pub fn run(context: &CommandContext, out: &mut Output, command: &SignCommand) -> Result<Completion> {
    match command {
        SignCommand::Request(args) => request(context, out, args),
        SignCommand::Read(args) => read(context, out, args),
        SignCommand::Callback(args) => callback(context, out, args),
    }
}

fn request(context: &CommandContext, out: &mut Output, args: &SignRequest) -> Result<Completion> {
    let given = args.given.read()?;
    let built = given.is_none() && args.method != "GET";
    let body = match given {
        Some(bytes) => bytes,
        None if args.method == "GET" => Vec::new(),
        None => args.intent.build(context)?,
    };
    let fresh = || context.ids.uuid().to_string();
    let idempotency_key = match args.method.as_str() {
        "GET" => None,
        _ => Some(
            args.idempotency_key
                .as_ref()
                .map_or_else(fresh, |key| key.as_str().to_owned()),
        ),
    };
    let (path, query) = (args.path.as_str(), args.query.as_str());
    let message = UnsignedRequest {
        kind: &REQUEST,
        method: &args.method,
        path,
        query,
        idempotency_key,
        body,
        built,
    };
    show(context, out, &args.how, &message)
}

fn read(context: &CommandContext, out: &mut Output, args: &SignIntentRead) -> Result<Completion> {
    let id: domain::ids::IntentId = args.intent_id.parse().map_err(|error| {
        user_error(
            format!("INTENT_ID: {error}"),
            "copy it from the answer to POST /mint-intents",
        )
    })?;
    let path = format!("/mint-intents/{id}");
    let (idempotency_key, body) = (None, Vec::new());
    let message = UnsignedRequest {
        kind: &REQUEST,
        method: "GET",
        path: &path,
        query: "",
        idempotency_key,
        body,
        built: false,
    };
    show(context, out, &args.how, &message)
}

fn callback(context: &CommandContext, out: &mut Output, args: &SignCallback) -> Result<Completion> {
    let given = args.given.read()?;
    let built = given.is_none();
    let body = match given {
        Some(bytes) => bytes,
        None => args.report.build(context)?,
    };
    let (path, idempotency_key) = (args.path.as_str(), None);
    let message = UnsignedRequest {
        kind: &MPESA,
        method: "POST",
        path,
        query: "",
        idempotency_key,
        body,
        built,
    };
    show(context, out, &args.how, &message)
}

/// The time to sign: the one given, or now.
fn timestamp(context: &CommandContext, how: &SignOptions) -> Result<String> {
    match &how.timestamp {
        None => Ok(context.clock.unix_seconds().to_string()),
        Some(text) if parse_timestamp(text).is_some() => Ok(text.clone()),
        Some(_) => Err(user_error(
            "--timestamp is not unix seconds",
            "write whole seconds, e.g. 1767225600",
        )),
    }
}

fn show(
    context: &CommandContext,
    out: &mut Output,
    how: &SignOptions,
    message: &UnsignedRequest<'_>,
) -> Result<Completion> {
    let (key_id, secret) = secret::find(context, how.kid.as_ref(), message.kind)?;
    let timestamp = timestamp(context, how)?;
    let header = SignedRequest {
        scheme: message.kind.scheme,
        key_id: &key_id,
        timestamp: &timestamp,
        method: message.method,
        path: message.path,
        query: message.query,
        idempotency_key: message.idempotency_key.as_deref().unwrap_or_default(),
        body: &message.body,
    }
    .sign(&secret);
    let mut headers = vec![("X-Request-Timestamp", timestamp.clone())];
    headers.extend(
        message
            .idempotency_key
            .clone()
            .map(|key| ("X-Idempotency-Key", key)),
    );
    headers.push((message.kind.header, header.to_string()));
    if !message.body.is_empty() {
        headers.push(("Content-Type", "application/json".to_owned()));
    }
    let body = String::from_utf8(message.body.clone()).context("the body is not UTF-8 text")?;
    let url = url(context, how, message)?;
    let curl = curl(message.method, &url, &headers, &body);
    let signed = SignedOutput {
        method: message.method.to_owned(),
        url,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
            .collect(),
        body,
        curl,
    };
    out.show(&signed, |page| {
        if how.curl {
            page.verbatim(&signed.curl);
            return;
        }
        for (name, value) in &headers {
            page.verbatim(&format!("{name}: {value}"));
        }
        if message.built {
            page.verbatim(&format!("\n{}", signed.body));
        }
    })?;
    Ok(Completion::Success)
}

fn url(context: &CommandContext, how: &SignOptions, message: &UnsignedRequest<'_>) -> Result<String> {
    let base = match &how.url {
        Some(url) => url.clone(),
        None => context.environment.read::<SignSettings>()?.gateway_url,
    };
    let base = base.trim_end_matches('/');
    let mark = if message.query.is_empty() { "" } else { "?" };
    Ok(format!("{base}{}{mark}{}", message.path, message.query))
}

/// A command that a shell can run, with every value in single quotes.
fn curl(method: &str, url: &str, headers: &[(&str, String)], body: &str) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut words = vec![format!("curl -sS -X {method} {}", quote(url))];
    words.extend(
        headers
            .iter()
            .map(|(name, value)| format!("-H {}", quote(&format!("{name}: {value}")))),
    );
    if !body.is_empty() {
        words.push(format!("--data-raw {}", quote(body)));
    }
    words.join(" \\\n  ")
}

impl GivenBody {
    fn read(&self) -> Result<Option<Vec<u8>>> {
        match (&self.body, &self.body_file) {
            (Some(text), _) => Ok(Some(text.clone().into_bytes())),
            (None, Some(path)) if path.as_os_str() == "-" => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
                    .context("read standard input")?;
                Ok(Some(bytes))
            }
            (None, Some(path)) => {
                Ok(Some(std::fs::read(path).with_context(|| {
                    format!("read --body-file {}", path.display())
                })?))
            }
            (None, None) => Ok(None),
        }
    }
}
