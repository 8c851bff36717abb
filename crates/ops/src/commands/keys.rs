//! `keys`: manages secrets (files) and their metadata (rows). Secrets are printed only on request.

mod add;
mod intents;
mod replacement;
mod retire;
mod revoke;

use std::collections::BTreeSet;

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::signature::KeyId;
use serde::Serialize;
use storage::ops::keys::{self, KeyRow};

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::key_files::{KeyFiles, KeyLocation};
use crate::output::Output;
use crate::text::{timestamp, yes_no};

/// Add, list, revoke, renew or retire keys
#[derive(Subcommand)]
pub enum KeysCommand {
    Add(add::AddKey),
    List(ListKeys),
    Revoke(revoke::RevokeKey),
    Renew(intents::RenewIntentMacs),
    Retire(retire::RetireKey),
}

/// List every key: where its secret is, its state, and when it was last used
#[derive(Args)]
#[command(
    after_long_help = "\"file\" says whether the operator's key directory holds the secret. A key without a \
    state has no metadata and is not restricted.\n\n\
    Examples:\n  \
    fiatrails keys list\n  \
    fiatrails keys list --json | jq '.[] | select(.lastUsedAt == null)'"
)]
pub struct ListKeys {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyListEntry {
    key_id: String,
    purpose: Option<String>,
    owner: Option<String>,
    state: Option<String>,
    not_before: Option<String>,
    not_after: Option<String>,
    last_used_at: Option<String>,
    file: bool,
    tx_ref_prefixes: Vec<String>,
}

pub async fn run(context: &CommandContext, out: &mut Output, command: &KeysCommand) -> Result<Completion> {
    match command {
        KeysCommand::Add(args) => add::run(context, out, args).await,
        KeysCommand::List(_) => list(context, out).await,
        KeysCommand::Revoke(args) => revoke::run(context, out, args).await,
        KeysCommand::Renew(args) => intents::run(context, out, args).await,
        KeysCommand::Retire(args) => retire::run(context, out, args).await,
    }
}

async fn list(context: &CommandContext, out: &mut Output) -> Result<Completion> {
    let files = KeyFiles::of(&context.environment)?.list()?;
    let client = context.client().await?;
    let (rows, prefixes) = (keys::list(&client).await?, keys::prefixes(&client).await?);
    let of_owner = |owner: Option<&String>| {
        let own = prefixes.iter().filter(|prefix| Some(&prefix.owner) == owner);
        own.map(|prefix| prefix.prefix.clone()).collect::<Vec<_>>()
    };
    let uses = keys::pipeline_key_usage(&client).await?;
    let with_row: BTreeSet<&str> = rows.iter().map(|row| row.key_id.as_str()).collect();
    let mut lines: Vec<KeyListEntry> = rows
        .iter()
        .map(|row| {
            let place = files.iter().find(|place| place.key_id.as_str() == row.key_id);
            let mut line = line(row, place);
            if line.purpose.as_deref() == Some("integrator") {
                line.tx_ref_prefixes = of_owner(line.owner.as_ref());
            }
            line
        })
        .collect();
    // The same pipeline key id may exist for several queues.
    for place in files
        .iter()
        .filter(|place| !with_row.contains(place.key_id.as_str()))
    {
        let none = KeyRow {
            key_id: place.key_id.to_string(),
            purpose: None,
            owner: None,
            state: None,
            not_before: None,
            not_after: None,
            last_used_at: None,
        };
        let mut line = line(&none, Some(place));
        match place.purpose.as_str() {
            "integrator" => line.tx_ref_prefixes = of_owner(line.owner.as_ref()),
            "pipeline" => {
                let key = (place.owner.clone().unwrap_or_default(), place.key_id.to_string());
                line.last_used_at = uses.get(&key).copied().map(timestamp);
            }
            _ => {}
        }
        lines.push(line);
    }
    lines.sort_by(|a, b| (&a.purpose, &a.owner, &a.key_id).cmp(&(&b.purpose, &b.owner, &b.key_id)));
    out.show(&lines, |page| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let row = |l: &KeyListEntry| {
            vec![
                l.key_id.clone(),
                text(&l.purpose),
                text(&l.owner),
                text(&l.state),
                yes_no(l.file),
                text(&l.last_used_at),
                text(&l.not_before),
                text(&l.not_after),
                l.tx_ref_prefixes
                    .iter()
                    .map(|prefix| format!("{prefix:?}"))
                    .collect::<Vec<_>>()
                    .join(" "),
            ]
        };
        let headers = [
            "key id",
            "purpose",
            "owner",
            "state",
            "file",
            "last used",
            "not before",
            "not after",
            "txRef prefixes",
        ];
        page.table(&headers, &lines.iter().map(row).collect::<Vec<_>>());
    })?;
    Ok(Completion::Success)
}

fn line(row: &KeyRow, place: Option<&KeyLocation>) -> KeyListEntry {
    KeyListEntry {
        key_id: row.key_id.clone(),
        purpose: row
            .purpose
            .clone()
            .or_else(|| place.map(|place| place.purpose.clone())),
        owner: row
            .owner
            .clone()
            .or_else(|| place.and_then(|place| place.owner.clone())),
        state: row.state.clone(),
        not_before: row.not_before.map(timestamp),
        not_after: row.not_after.map(timestamp),
        last_used_at: row.last_used_at.map(timestamp),
        file: place.is_some(),
        tx_ref_prefixes: Vec::new(),
    }
}

/// Finds the file of an integrator or M-Pesa key in the operator's directory.
fn find(files: &KeyFiles, key_id: &KeyId) -> Result<Option<KeyLocation>> {
    let signing = |place: &KeyLocation| matches!(place.purpose.as_str(), "integrator" | "mpesa");
    Ok(files
        .list()?
        .into_iter()
        .find(|location| location.key_id == *key_id && signing(location)))
}
