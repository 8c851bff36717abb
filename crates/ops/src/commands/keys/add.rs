//! `keys add`: generates a secret and writes its files and metadata.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use domain::ids::IntegratorId;
use domain::signature::KeyId;
use messaging::WorkQueue;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use storage::ops::audit::{self, AuditEntry};
use storage::ops::keys::{self, NewKey};
use time::OffsetDateTime;

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::key_files::{KeyFiles, KeyLocation};
use crate::output::{Output, Style};
use crate::text::time_argument;
use crate::user_error::user_error;

const SECRET_BYTES: usize = 32;

/// Generate a secret and write it where its services read it
///
/// The secret is written to files of mode 0600 below FIATRAILS_KEYS_DIR and, with FIATRAILS_KEYS_ROOT, below the directory
/// of each service that may know it (gateway, mint-executor, callback, ops). Services load it within seconds, without a
/// restart; they seal with a new pipeline or stored-answer key only after ten seconds, when all of them have loaded it.
/// Two active keys per owner are normal: add the new key, move the client to it, watch "last used" of the old one in
/// `keys list`, then revoke the old one (`keys retire` for a pipeline or stored-answer key).
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails keys add integrator acme --tx-ref-prefix ACME- --print-secret\n  \
    fiatrails keys add integrator acme --kid ik_acme_2 --not-after 2027-01-01T00:00:00Z\n  \
    fiatrails keys add mpesa\n  \
    fiatrails keys add pipeline mint.submit")]
pub struct AddKey {
    #[command(subcommand)]
    kind: KeyToAdd,
    /// Id of the key [default: derived from the time]
    #[arg(long, global = true, value_name = "KEY_ID")]
    kid: Option<KeyId>,
    /// Print the secret once, to hand it to its owner
    #[arg(long, global = true)]
    print_secret: bool,
    /// Reason, for the audit log
    #[arg(long, global = true, default_value = "new key")]
    reason: String,
}

#[derive(Subcommand)]
enum KeyToAdd {
    /// Authenticates an integrator's requests
    Integrator(IntegratorKeyArgs),
    /// Authenticates M-Pesa's callbacks
    Mpesa(ValidityPeriod),
    /// Seals the messages of one queue; the greatest key id seals, all verify
    Pipeline {
        /// mint.submit, mint.execute, mint.refund, mint.outcome or mpesa.result
        queue: WorkQueue,
    },
    /// Protects stored answers; the greatest key id protects, all verify
    StoredAnswer,
}

#[derive(Args)]
struct IntegratorKeyArgs {
    /// The integrator's name
    owner: IntegratorId,
    /// Prefix of the payment references that belong to this integrator ('' for all that no other integrator has); repeatable
    #[arg(long, value_name = "PREFIX")]
    tx_ref_prefix: Vec<String>,
    #[command(flatten)]
    window: ValidityPeriod,
}

#[derive(Args)]
struct ValidityPeriod {
    /// Time before which the key is not accepted, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    not_before: Option<OffsetDateTime>,
    /// Time after which the key is not accepted, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    not_after: Option<OffsetDateTime>,
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &AddKey) -> Result<Completion> {
    let files = KeyFiles::of(&context.environment)?;
    let location = locate(context, &files, args)?;
    let secret = generate()?;
    // The row comes first: a secret without a row is unrestricted, so it must not exist earlier.
    let prefixes = record(context, args, &location).await?;
    let written = files.write(&location, &secret).with_context(|| {
        format!(
            "key {} is registered, but its secret was not written; revoke it and add another",
            location.key_id
        )
    })?;
    show(out, args, &location, &prefixes, &written, &secret)?;
    if !files.reaches_services() {
        crate::output::print_note(
            "note: FIATRAILS_KEYS_ROOT is not set, so only the operator's directory has the secret; \
             copy the file to the services that verify with it",
        );
    }
    Ok(Completion::Success)
}

fn generate() -> Result<SecretString> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    SystemRandom::new()
        .fill(bytes.as_mut())
        .map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    Ok(hex::encode(bytes.as_ref()).into())
}

fn locate(context: &CommandContext, files: &KeyFiles, args: &AddKey) -> Result<KeyLocation> {
    let (purpose, owner, prefix) = match &args.kind {
        KeyToAdd::Integrator(integrator) => ("integrator", Some(integrator.owner.to_string()), "ik"),
        KeyToAdd::Mpesa(_) => ("mpesa", None, "mk"),
        KeyToAdd::Pipeline { queue } => ("pipeline", Some(queue.operation().to_owned()), "pk"),
        KeyToAdd::StoredAnswer => ("stored-answer", None, "sk"),
    };
    let key_id = match &args.kid {
        Some(key_id) => key_id.clone(),
        None => new_key_id(prefix, context.clock.now())?,
    };
    let location = KeyLocation {
        purpose: purpose.to_owned(),
        owner,
        key_id,
    };
    let present = files.list()?;
    // The gateway finds an integrator by the key id alone, while a pipeline key belongs to its queue.
    let same_owner = |p: &KeyLocation| p.owner == location.owner || location.purpose == "integrator";
    if let Some(same) = present
        .iter()
        .find(|p| p.key_id == location.key_id && p.purpose == location.purpose && same_owner(p))
    {
        return Err(user_error(
            format!("key {} exists already", same.key_id),
            "choose another --kid",
        ));
    }
    let sealing = matches!(purpose, "pipeline" | "stored-answer");
    let greater = present
        .iter()
        .find(|p| p.purpose == location.purpose && p.owner == location.owner && p.key_id > location.key_id);
    if let Some(greater) = greater.filter(|_| sealing) {
        return Err(user_error(
            format!(
                "key {} would never seal: {} is greater",
                location.key_id, greater.key_id
            ),
            format!("pass a --kid that sorts after {}", greater.key_id),
        ));
    }
    Ok(location)
}

/// A key id that sorts by creation time.
fn new_key_id(prefix: &str, now: OffsetDateTime) -> Result<KeyId> {
    let (date, time) = (now.date(), now.time());
    let text = format!(
        "{prefix}_{:04}{:02}{:02}_{:02}{:02}{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    Ok(text.parse()?)
}

/// Writes the rows of the key, if its kind has any, and the audit row. Returns the registered prefixes.
async fn record(context: &CommandContext, args: &AddKey, location: &KeyLocation) -> Result<Vec<String>> {
    let who = context.who()?;
    let why = crate::context::reason("--reason", &args.reason)?;
    let (window, prefixes) = match &args.kind {
        KeyToAdd::Integrator(integrator) => (Some(&integrator.window), integrator.tx_ref_prefix.clone()),
        KeyToAdd::Mpesa(window) => (Some(window), Vec::new()),
        _ => (None, Vec::new()),
    };
    if let Some((from, to)) = window.and_then(|w| w.not_before.zip(w.not_after))
        && from >= to
    {
        return Err(user_error(
            "--not-after is not later than --not-before",
            "exchange or correct them",
        ));
    }
    let owner = location.owner.as_deref().unwrap_or(&location.purpose);
    let mut client = context.client().await?;
    let tx = client.begin().await?;
    if let Some(window) = window {
        let (key_id, purpose) = (location.key_id.as_str(), location.purpose.as_str());
        let key = NewKey {
            key_id,
            purpose,
            owner,
            not_before: window.not_before,
            not_after: window.not_after,
        };
        if !keys::insert(&tx, &key).await? {
            return Err(user_error(
                format!("key id {key_id} was used before"),
                "choose another --kid; ids are for ever",
            ));
        }
    }
    for prefix in &prefixes {
        check_prefix(prefix)?;
        let holder = keys::claim_prefix(&tx, prefix, owner).await?;
        if holder != owner {
            return Err(user_error(
                format!("--tx-ref-prefix {prefix:?} belongs to {holder}"),
                "choose another prefix; a longer one may begin with it",
            ));
        }
    }
    let detail = json!({ "purpose": location.purpose, "owner": owner, "txRefPrefixes": prefixes });
    audit::record(
        &tx,
        &AuditEntry {
            actor: who,
            action: "keys.add",
            target: location.key_id.as_str(),
            reason: why,
            detail,
        },
    )
    .await?;
    tx.commit().await?;
    Ok(prefixes)
}

/// Checks that a prefix can start a txRef, or is empty.
fn check_prefix(prefix: &str) -> Result<()> {
    if prefix.is_empty() || prefix.parse::<domain::tx_ref::TxRef>().is_ok() {
        return Ok(());
    }
    Err(user_error(
        format!("--tx-ref-prefix {prefix:?} begins no txRef"),
        "use at most 31 of A-Z a-z 0-9 . _ : / -",
    ))
}

fn show(
    out: &mut Output,
    args: &AddKey,
    location: &KeyLocation,
    prefixes: &[String],
    written: &[PathBuf],
    secret: &SecretString,
) -> Result<()> {
    let paths: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    let mut value = json!({ "keyId": location.key_id, "purpose": location.purpose, "owner": location.owner,
                            "txRefPrefixes": prefixes, "files": paths });
    if args.print_secret {
        value["secretHex"] = secret.expose_secret().into();
    }
    out.show(&value, |page| {
        page.styled(Style::Good, format!("key {} is live", location.key_id));
        page.field_opt("owner", location.owner.as_ref());
        for prefix in prefixes {
            page.field("txRef prefix", format!("{prefix:?}"));
        }
        for path in &paths {
            page.field("secret in", path);
        }
        if args.print_secret {
            page.field("secret", secret.expose_secret());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_unique_and_long_enough() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.expose_secret().len(), 2 * SECRET_BYTES);
        assert_ne!(one.expose_secret(), two.expose_secret());
    }

    #[test]
    fn key_ids_sort_by_time() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let (one, two) = (
            new_key_id("pk", at(1_767_225_600)).unwrap(),
            new_key_id("pk", at(1_767_225_601)).unwrap(),
        );
        assert_eq!(one.as_str(), "pk_20260101_000000");
        assert!(one < two);
    }
}
