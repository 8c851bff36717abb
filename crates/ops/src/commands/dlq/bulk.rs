//! Acts on dead-letter entries in bulk: page by page, within a maximum number and rate. Each action is recorded before and
//! after. Memory holds one page and a short sample of the results.

use std::time::Duration;

use anyhow::{Result, ensure};
use domain::ids::MessageId;
use indicatif::ProgressBar;
use messaging::WorkQueue;
use messaging::dead_letters::{
    DeadLetter, DeadLetterAction, DeadLetterCursor, DeadLetters, HeldDeadLetter, MAX_PAGE, SettledDeadLetter,
    replay_id,
};
use reconcile::dead_letters::{ReplayFate, replay_fate};
use serde::Serialize;
use storage::DbClient;
use storage::ops::dead_letters::{self, ActionResult, NewDeadLetterAction, OperatorRun};
use strum::IntoStaticStr;
use tokio::time::Instant;

use super::facts::FactSources;
use super::view;
use crate::output::print_note;

/// Maximum number of entries listed in the output; the table `dead_letter_actions` has them all.
const MAX_SAMPLE: usize = 100;
/// How long one queue's cursor may stay open. RabbitMQ closes a channel that holds a message for half an hour.
const MAX_HOLD: Duration = Duration::from_mins(25);

#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum EntryAction {
    Replay,
    Discard,
    Reseal,
}

impl EntryAction {
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// What to do, with how many entries, and how fast.
pub struct BulkRequest<'a> {
    pub action: EntryAction,
    pub run: OperatorRun<'a>,
    /// Maximum number of selected entries, including those that are kept or fail.
    pub max: u64,
    /// Maximum entries per second; `None` is unlimited.
    pub rate: Option<u32>,
    pub dry_run: bool,
}

/// The result for one entry.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryResult {
    pub id: String,
    pub queue: &'static str,
    pub class: String,
    pub tx_ref: Option<String>,
    /// `replay`, `close`, `discard` or `reseal`; `keep` if the entry stays in its queue, `failed` if the action failed.
    pub action: &'static str,
    pub new_id: Option<MessageId>,
    /// Why the entry is closed or kept, or why the action failed.
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub replayed: u64,
    pub closed: u64,
    pub discarded: u64,
    pub resealed: u64,
    /// Left in the queue: the seal does not verify, or it is too early.
    pub kept: u64,
    /// Left in the queue because the action failed.
    pub failed: u64,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.replayed + self.closed + self.discarded + self.resealed + self.kept + self.failed
    }
}

#[derive(Debug, Default)]
pub struct BulkSummary {
    pub counts: Counts,
    pub sample: Vec<EntryResult>,
}

/// An entry with the action that was decided for it.
struct PlannedAction {
    held: HeldDeadLetter,
    action: DeadLetterAction,
    result: EntryResult,
}

pub struct BulkRun<'a> {
    pub dead: &'a DeadLetters,
    pub sources: &'a FactSources<'a>,
    pub client: &'a DbClient,
    pub request: BulkRequest<'a>,
    pub progress: ProgressBar,
    pub summary: BulkSummary,
    started: Instant,
}

impl<'a> BulkRun<'a> {
    pub fn new(
        dead: &'a DeadLetters,
        sources: &'a FactSources<'a>,
        client: &'a DbClient,
        request: BulkRequest<'a>,
        progress: ProgressBar,
    ) -> Self {
        Self {
            dead,
            sources,
            client,
            request,
            progress,
            summary: BulkSummary::default(),
            started: Instant::now(),
        }
    }

    /// Processes one queue. Entries that do not match are left alone and do not count towards the maximum.
    pub async fn queue(
        &mut self,
        queue: WorkQueue,
        mut matches: impl FnMut(&DeadLetter) -> bool,
    ) -> Result<()> {
        let mut cursor = self.dead.cursor(queue).await?;
        let result = self.pages(&mut cursor, &mut matches).await;
        let finished = cursor.finish().await;
        result?;
        Ok(finished?)
    }

    /// The page size: at most one second's worth of entries.
    pub fn page_size(&self) -> u16 {
        let rate = self
            .request
            .rate
            .map(|rate| u16::try_from(rate).unwrap_or(MAX_PAGE));
        rate.map_or(MAX_PAGE, |rate| rate.clamp(1, MAX_PAGE))
    }

    pub fn budget_left(&self) -> u64 {
        self.request.max.saturating_sub(self.summary.counts.total())
    }

    async fn pages(
        &mut self,
        cursor: &mut DeadLetterCursor<'_>,
        matches: &mut impl FnMut(&DeadLetter) -> bool,
    ) -> Result<()> {
        let begun = Instant::now();
        let most = self.page_size();
        while self.budget_left() > 0 {
            if begun.elapsed() > MAX_HOLD {
                print_note("note: this queue was held long enough; run the command again for the rest");
                break;
            }
            let page = cursor.next_page(most).await?;
            if page.is_empty() {
                break;
            }
            let budget = usize::try_from(self.budget_left()).unwrap_or(usize::MAX);
            let chosen: Vec<HeldDeadLetter> = page
                .into_iter()
                .filter(|held| matches(&held.entry))
                .take(budget)
                .collect();
            if chosen.is_empty() {
                continue;
            }
            self.process(cursor, chosen).await?;
        }
        Ok(())
    }

    /// Processes entries of one page, which the caller selected within the budget.
    pub async fn process(
        &mut self,
        cursor: &mut DeadLetterCursor<'_>,
        chosen: Vec<HeldDeadLetter>,
    ) -> Result<()> {
        let planned = self.plan(chosen).await?;
        for line in self.execute(cursor, planned).await? {
            self.count(line);
        }
        self.throttle().await;
        Ok(())
    }

    async fn plan(&self, chosen: Vec<HeldDeadLetter>) -> Result<Vec<PlannedAction>> {
        let fates: Vec<Option<ReplayFate>> = match self.request.action {
            EntryAction::Replay => {
                let entries: Vec<&DeadLetter> = chosen.iter().map(|held| &held.entry).collect();
                let facts = self.sources.gather(self.client, &entries).await?;
                facts.iter().map(replay_fate).map(Some).collect()
            }
            EntryAction::Discard => vec![None; chosen.len()],
            EntryAction::Reseal => chosen
                .iter()
                .map(|held| self.keep_if_unverified(&held.entry))
                .collect(),
        };
        let planned = chosen.into_iter().zip(fates).map(|(held, fate)| {
            let (action, name, note) = match (self.request.action, fate) {
                (_, Some(ReplayFate::Keep(why))) => (DeadLetterAction::Keep, "keep", Some(why)),
                (_, Some(ReplayFate::Close(why))) => (DeadLetterAction::Discard, "close", Some(why)),
                (EntryAction::Replay, _) => (DeadLetterAction::Replay, "replay", None),
                (EntryAction::Discard, _) => (DeadLetterAction::Discard, "discard", None),
                (EntryAction::Reseal, _) => (DeadLetterAction::Reseal, "reseal", None),
            };
            let entry = &held.entry;
            let new_id = entry
                .message_id
                .filter(|_| action == DeadLetterAction::Replay)
                .map(|id| replay_id(entry.origin, id));
            let line = EntryResult {
                id: entry.id.clone(),
                queue: entry.origin.name(),
                class: entry.class.clone(),
                tx_ref: view::tx_ref(entry),
                action: name,
                new_id,
                note,
            };
            PlannedAction {
                held,
                action,
                result: line,
            }
        });
        Ok(planned.collect())
    }

    /// Keeps an entry whose seal does not verify: it must not be resealed.
    fn keep_if_unverified(&self, entry: &DeadLetter) -> Option<ReplayFate> {
        let opened = self.sources.opener.open(entry.origin, &entry.payload);
        opened.err().map(|error| ReplayFate::Keep(error.to_string()))
    }

    /// Records the intention, acts, and records the end. Returns what really happened to each entry.
    async fn execute(
        &self,
        cursor: &mut DeadLetterCursor<'_>,
        planned: Vec<PlannedAction>,
    ) -> Result<Vec<EntryResult>> {
        if self.request.dry_run {
            return Ok(planned.into_iter().map(|one| one.result).collect());
        }
        let actions: Vec<NewDeadLetterAction> = planned
            .iter()
            .filter(|one| one.action != DeadLetterAction::Keep)
            .map(PlannedAction::row)
            .collect();
        let mut rows = dead_letters::start(self.client, &self.request.run, &actions)
            .await?
            .into_iter();
        let (mut lines, mut decided) = (Vec::new(), Vec::new());
        for one in planned {
            lines.push(one.result);
            decided.push((one.held, one.action));
        }
        let settled = cursor.settle(decided).await?;
        ensure!(settled.len() == lines.len(), "every entry is settled");
        let mut ended = Vec::with_capacity(actions.len());
        for (line, SettledDeadLetter { action, result, .. }) in lines.iter_mut().zip(settled) {
            let error = result.err().map(|error| error.to_string());
            if action != DeadLetterAction::Keep {
                ended.extend(rows.next().map(|id| ActionResult {
                    id,
                    error: error.clone(),
                }));
            }
            if let Some(error) = error {
                (line.action, line.new_id, line.note) = ("failed", None, Some(error));
            }
        }
        dead_letters::finish(self.client, &ended).await?;
        Ok(lines)
    }

    fn count(&mut self, line: EntryResult) {
        self.progress.inc(1);
        let counts = &mut self.summary.counts;
        let counter = match line.action {
            "replay" => &mut counts.replayed,
            "close" => &mut counts.closed,
            "discard" => &mut counts.discarded,
            "reseal" => &mut counts.resealed,
            "keep" => &mut counts.kept,
            _ => &mut counts.failed,
        };
        *counter += 1;
        if self.summary.sample.len() < MAX_SAMPLE {
            self.summary.sample.push(line);
        }
    }

    /// Waits as long as the requested rate requires for the entries processed so far.
    async fn throttle(&self) {
        let Some(rate) = self.request.rate.filter(|_| !self.request.dry_run) else {
            return;
        };
        let millis = self.summary.counts.total().saturating_mul(1000) / u64::from(rate.max(1));
        tokio::time::sleep_until(self.started + Duration::from_millis(millis)).await;
    }
}

impl PlannedAction {
    fn row(&self) -> NewDeadLetterAction {
        let entry = &self.held.entry;
        NewDeadLetterAction {
            action: self.result.action,
            queue: self.result.queue,
            entry_id: entry.id.clone(),
            message_id: entry.message_id,
            new_message_id: self.result.new_id,
            intent_id: entry.intent_id,
            tx_ref: self.result.tx_ref.clone(),
            error_class: entry.class.clone(),
            resolution_note: self.result.note.clone(),
        }
    }
}
