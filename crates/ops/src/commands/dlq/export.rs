//! `dlq export`: entries as they are, for evidence or for a look elsewhere.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use clap::Args;
use serde_json::json;
use storage::ops::audit;

use super::choose::Which;
use super::{dead_letters, look, view};
use crate::Verdict;
use crate::context::Context;
use crate::output::{Output, Style};

/// Write parked messages to a new file, one JSON document a line; nothing is removed
///
/// A line holds what `dlq show` tells, and in payloadBase64 the exact bytes. Reports name payers: the file gets mode
/// 0600, and that it was written is in the audit log.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq export --out inc-42.jsonl --reason INC-42\n  \
    fiatrails dlq export --class seal_invalid --out forged.jsonl --reason 'evidence, INC-42'")]
pub struct Export {
    #[command(flatten)]
    which: Which,
    /// The file to make; an existing one is not overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
}

pub async fn run(context: &Context, out: &mut Output, args: &Export) -> Result<Verdict> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let (dead, client) = (dead_letters(context)?, context.client().await?);
    let filter = args.which.filter(context.clock.now())?;
    let path = args.out.display().to_string();
    let audited = async |act, entries: Option<u64>| {
        let act = audit::AuditEntry {
            actor: who,
            action: act,
            target: &path,
            reason: why,
            detail: json!({ "selection": args.which.document(None), "entries": entries }),
        };
        audit::record(&client, &act).await
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.out)
        .with_context(|| format!("make {path}"))?;
    // Before the first payer is in the file: an export that dies half-way is on record.
    audited("dlq.export", None).await?;
    let mut writer = BufWriter::new(file);
    let mut count = 0_u64;
    look(&dead, &args.which.queues(), |entry| {
        if filter.fits(entry) {
            let mut line = view::document(entry, &dead.opener, true);
            line["payloadBase64"] = base64::engine::general_purpose::STANDARD
                .encode(&entry.payload)
                .into();
            serde_json::to_writer(&mut writer, &line)?;
            writer.write_all(b"\n")?;
            count += 1;
        }
        Ok(true)
    })
    .await?;
    writer.flush().with_context(|| format!("write {path}"))?;
    writer.get_ref().sync_all()?;
    dead.broker.close().await;
    audited("dlq.export.done", Some(count)).await?;
    out.show(&json!({ "file": path, "entries": count }), |page| {
        page.styled(Style::Good, format!("{count} entries in {path}"));
    })?;
    Ok(Verdict::Yes)
}
