//! `dlq stats`: counts parked messages by class and age.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use super::selection::DeadLetterSelection;
use super::{dead_letters, view, visit_entries};
use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style};
use crate::text::timestamp;

/// Maximum number of classes counted separately: a class is a header, which anyone who can write to the broker can make
/// up.
const MAX_CLASSES: usize = 200;

/// Count parked messages by queue and error class, with the oldest and the newest; no message is removed
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq stats\n  \
    fiatrails dlq stats --queue mpesa.result --newer-than 1h --json")]
pub struct DeadLetterStats {
    #[command(flatten)]
    which: DeadLetterSelection,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClassStats {
    queue: &'static str,
    class: String,
    count: u64,
    /// The number of entries by the state of their seal.
    seals: BTreeMap<&'static str, u64>,
    bytes: u64,
    oldest: Option<String>,
    newest: Option<String>,
    #[serde(skip)]
    times: Option<(OffsetDateTime, OffsetDateTime)>,
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &DeadLetterStats) -> Result<Completion> {
    let dead = dead_letters(context)?;
    let filter = args.which.filter(context.clock.now())?;
    let mut groups: BTreeMap<(&'static str, String), ClassStats> = BTreeMap::new();
    visit_entries(&dead, &args.which.queues(), |entry| {
        if !filter.matches(entry) {
            return Ok(true);
        }
        let mut key = (entry.origin.operation(), entry.class.clone());
        if groups.len() >= MAX_CLASSES && !groups.contains_key(&key) {
            "(other)".clone_into(&mut key.1);
        }
        let group = groups.entry(key.clone()).or_insert_with(|| ClassStats {
            queue: key.0,
            class: key.1,
            count: 0,
            seals: BTreeMap::new(),
            bytes: 0,
            oldest: None,
            newest: None,
            times: None,
        });
        group.count += 1;
        group.bytes += u64::try_from(entry.payload.len()).unwrap_or_default();
        *group.seals.entry(view::seal(entry, &dead.opener)).or_default() += 1;
        if let Some(at) = entry.failed_at {
            let (first, last) = group.times.unwrap_or((at, at));
            group.times = Some((first.min(at), last.max(at)));
        }
        Ok(true)
    })
    .await?;
    dead.broker.close().await;
    let mut groups: Vec<ClassStats> = groups.into_values().collect();
    for group in &mut groups {
        group.oldest = group.times.map(|(first, _)| timestamp(first));
        group.newest = group.times.map(|(_, last)| timestamp(last));
    }
    out.show(&groups, |page| {
        if groups.is_empty() {
            page.styled(Style::Good, "nothing is parked");
            return;
        }
        let headers = ["queue", "class", "count", "seals", "oldest", "newest"];
        page.table(&headers, &groups.iter().map(row).collect::<Vec<_>>());
    })?;
    Ok(Completion::Success)
}

fn row(group: &ClassStats) -> Vec<String> {
    let seals: Vec<String> = group
        .seals
        .iter()
        .map(|(seal, count)| format!("{count} {seal}"))
        .collect();
    vec![
        group.queue.to_owned(),
        group.class.clone(),
        group.count.to_string(),
        seals.join(", "),
        group.oldest.clone().unwrap_or_default(),
        group.newest.clone().unwrap_or_default(),
    ]
}
