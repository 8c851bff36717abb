//! `dlq export`: writes entries to a file, as evidence or for analysis.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use clap::Args;
use serde_json::json;
use storage::ops::audit;

use super::selection::DeadLetterSelection;
use super::{dead_letters, view, visit_entries};
use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style};

/// Write parked messages to a new file, one JSON document per line; no message is removed
///
/// Each line holds what `dlq show` prints, and the exact bytes as payloadBase64. Reports contain payers' data, so the file
/// gets mode 0600 and the export is recorded in the audit log.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq export --out inc-42.jsonl --reason INC-42\n  \
    fiatrails dlq export --class seal_invalid --out forged.jsonl --reason 'evidence, INC-42'")]
pub struct ExportDeadLetters {
    #[command(flatten)]
    which: DeadLetterSelection,
    /// File to create; an existing file is not overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &ExportDeadLetters) -> Result<Completion> {
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
    // Recorded before any payer's data is in the file, so that an interrupted export is audited too.
    audited("dlq.export", None).await?;
    let mut writer = BufWriter::new(file);
    let mut count = 0_u64;
    visit_entries(&dead, &args.which.queues(), |entry| {
        if filter.matches(entry) {
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
    Ok(Completion::Success)
}
