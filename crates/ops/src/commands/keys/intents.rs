//! `keys renew`: recomputes the MACs of stored intents, which never expire, under the current stored-answer key, so that
//! the old key can be retired.

use anyhow::Result;
use clap::Args;
use domain::intent_mac::mac_input;
use domain::signature::{HmacSecret, KeyId};
use serde_json::json;
use storage::DbClient;
use storage::ops::audit::{self, AuditEntry};
use storage::ops::intent_macs::{self, IntentMacRow};

use super::replacement::{stored_answer, successor};
use crate::completion::Completion;
use crate::confirm::confirm;
use crate::context::CommandContext;
use crate::key_files::KeyFiles;
use crate::output::{Output, Style};

const PAGE: i64 = 1000;

/// Renew the MACs of stored intents under the current stored-answer key
///
/// Each MAC is verified under the old key first; an intent whose MAC does not verify is left unchanged and stays refused.
/// The command can be interrupted and run again. Afterwards `keys retire` removes the old key.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails keys renew sk_2026_01 --reason 'yearly rotation' --yes")]
pub struct RenewIntentMacs {
    /// The stored-answer key to replace
    kid: KeyId,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &RenewIntentMacs) -> Result<Completion> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let files = KeyFiles::of(&context.environment)?;
    let old = stored_answer(&files, &args.kid)?;
    let new = successor(&files, &old)?;
    let (old_secret, new_secret) = (files.read(&old)?, files.read(&new)?);
    let (old, new) = (&old.key_id, &new.key_id);
    confirm(
        args.yes,
        &format!("Renew the MACs of intents, from {old} to {new}?"),
    )?;
    let client = context.client().await?;
    let act = AuditEntry {
        actor: who,
        action: "keys.renew",
        target: old.as_str(),
        reason: why,
        detail: json!({ "to": new }),
    };
    audit::record(&client, &act).await?;
    let (mut renewed, mut refused) = (0, 0);
    let mut pages = MacPages::default();
    while let Some(rows) = pages.next(&client, old).await? {
        let (genuine, changed): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| is_genuine(row, &old_secret));
        refused += changed.len();
        let macs: Vec<_> = genuine
            .iter()
            .map(|row| {
                let text = mac_input(new, &row.intent_id, &row.integrator, row.created_at);
                (row.intent_id, new_secret.mac(&text))
            })
            .collect();
        renewed += intent_macs::renew(&client, old, new, &macs).await?;
    }
    let value = json!({ "from": old, "to": new, "renewed": renewed, "refused": refused });
    out.show(&value, |page| {
        page.styled(Style::Good, format!("{renewed} intents are protected by {new}"));
        if refused > 0 {
            page.styled(
                Style::Bad,
                format!("{refused} do not verify: somebody changed their rows"),
            );
        }
    })?;
    Ok(if refused == 0 {
        Completion::Success
    } else {
        Completion::Negative
    })
}

/// Counts the intents whose MAC verifies under the key, and would no longer verify without it.
pub async fn count_under(client: &DbClient, key_id: &KeyId, secret: &HmacSecret) -> Result<u64> {
    let (mut count, mut pages) = (0, MacPages::default());
    while let Some(rows) = pages.next(client, key_id).await? {
        let genuine = rows.iter().filter(|row| is_genuine(row, secret)).count();
        count += u64::try_from(genuine)?;
    }
    Ok(count)
}

fn is_genuine(row: &IntentMacRow, secret: &HmacSecret) -> bool {
    let text = mac_input(&row.key_id, &row.intent_id, &row.integrator, row.created_at);
    secret.verify(&text, &row.mac)
}

/// Reads all intents page by page.
#[derive(Default)]
struct MacPages {
    after: Vec<u8>,
}

impl MacPages {
    /// Returns the rows of the next page that are under the key; `None` at the end.
    async fn next(&mut self, client: &DbClient, key_id: &KeyId) -> Result<Option<Vec<IntentMacRow>>> {
        let page = intent_macs::page(client, &self.after, PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(None);
        };
        self.after = last.as_bytes().to_vec();
        // A row that cannot be parsed is refused anyway, whatever its key.
        let rows = page.into_iter().filter_map(|(_, row)| row.ok());
        Ok(Some(rows.filter(|row| row.key_id == *key_id).collect()))
    }
}
