//! `keys`: secrets as files, metadata as rows. A secret is shown only when asked for.

mod add;
mod intents;
mod retire;
mod revoke;

use std::collections::BTreeSet;

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::signature::KeyId;
use serde::Serialize;
use storage::ops::keys::{self, KeyRow};

use crate::Verdict;
use crate::context::Context;
use crate::key_files::{KeyFiles, Place};
use crate::output::Output;
use crate::text::{moment, yes};

/// Add, list, revoke, renew or retire keys
#[derive(Subcommand)]
pub enum Keys {
    Add(add::Add),
    List(List),
    Revoke(revoke::Revoke),
    Renew(intents::Renew),
    Retire(retire::Retire),
}

/// List every key: where its secret is, its state, and when it was last used
#[derive(Args)]
#[command(
    after_long_help = "\"file\" says whether the operator's key directory holds the secret. A key without a \
    state has no metadata and is not narrowed.\n\n\
    Examples:\n  \
    fiatrails keys list\n  \
    fiatrails keys list --json | jq '.[] | select(.lastUsedAt == null)'"
)]
pub struct List {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
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

pub async fn run(context: &Context, out: &mut Output, command: &Keys) -> Result<Verdict> {
    match command {
        Keys::Add(args) => add::run(context, out, args).await,
        Keys::List(_) => list(context, out).await,
        Keys::Revoke(args) => revoke::run(context, out, args).await,
        Keys::Renew(args) => intents::run(context, out, args).await,
        Keys::Retire(args) => retire::run(context, out, args).await,
    }
}

async fn list(context: &Context, out: &mut Output) -> Result<Verdict> {
    let files = KeyFiles::of(&context.environment)?.list()?;
    let client = context.client().await?;
    let (rows, prefixes) = (keys::list(&client).await?, keys::prefixes(&client).await?);
    let of_owner = |owner: Option<&String>| {
        let own = prefixes.iter().filter(|prefix| Some(&prefix.owner) == owner);
        own.map(|prefix| prefix.prefix.clone()).collect::<Vec<_>>()
    };
    let uses = keys::pipeline_key_usage(&client).await?;
    let with_row: BTreeSet<&str> = rows.iter().map(|row| row.key_id.as_str()).collect();
    let mut lines: Vec<Line> = rows
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
    // A pipeline key lies under several queues.
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
                line.last_used_at = uses.get(&key).copied().map(moment);
            }
            _ => {}
        }
        lines.push(line);
    }
    lines.sort_by(|a, b| (&a.purpose, &a.owner, &a.key_id).cmp(&(&b.purpose, &b.owner, &b.key_id)));
    out.show(&lines, |page| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let row = |l: &Line| {
            vec![
                l.key_id.clone(),
                text(&l.purpose),
                text(&l.owner),
                text(&l.state),
                yes(l.file),
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
    Ok(Verdict::Yes)
}

fn line(row: &KeyRow, place: Option<&Place>) -> Line {
    Line {
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
        not_before: row.not_before.map(moment),
        not_after: row.not_after.map(moment),
        last_used_at: row.last_used_at.map(moment),
        file: place.is_some(),
        tx_ref_prefixes: Vec::new(),
    }
}

/// The one place of a key id below the operator's directory.
fn find(files: &KeyFiles, key_id: &KeyId) -> Result<Option<Place>> {
    let signing = |place: &Place| matches!(place.purpose.as_str(), "integrator" | "mpesa");
    Ok(files
        .list()?
        .into_iter()
        .find(|place| place.key_id == *key_id && signing(place)))
}
