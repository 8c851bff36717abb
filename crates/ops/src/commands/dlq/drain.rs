//! Going through dead queues and acting: page by page, within a budget and a pace, each act written down before and
//! after. Memory holds one page and a short sample of what was done.

use std::time::Duration;

use anyhow::{Result, ensure};
use domain::ids::MessageId;
use indicatif::ProgressBar;
use messaging::WorkQueue;
use messaging::dead_letters::{Act, DeadLetter, DeadLetters, Held, PAGE, Settled, Sweep, replay_id};
use serde::Serialize;
use storage::DbClient;
use storage::ops::dead_letters::{self as ledger, ActionResult, NewDeadLetterAction, OperatorRun};
use tokio::time::Instant;

use super::facts::Sources;
use super::fate::{Fate, fate};
use super::view;
use crate::output::note;

/// Entries shown by name in the result; the table `dead_letter_actions` has them all.
const SAMPLE: usize = 100;
/// RabbitMQ ends a channel that holds a message for half an hour: a sweep ends before.
const LONGEST: Duration = Duration::from_mins(25);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Replay,
    Discard,
    Reseal,
}

impl Verb {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
            Self::Reseal => "reseal",
        }
    }
}

/// What is to be done, and how much of it how fast.
pub struct Order<'a> {
    pub verb: Verb,
    pub run: OperatorRun<'a>,
    /// At most so many entries are acted upon or looked at in vain.
    pub max: u64,
    /// Entries a second; `None` is "as fast as it goes".
    pub rate: Option<u32>,
    pub dry_run: bool,
}

/// One entry in the result.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub id: String,
    pub queue: &'static str,
    pub class: String,
    pub tx_ref: Option<String>,
    /// `replay`, `close`, `discard`, `reseal`; `keep` stays in place.
    pub act: &'static str,
    pub new_id: Option<MessageId>,
    /// Why it is closed or stays.
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub replayed: u64,
    pub closed: u64,
    pub discarded: u64,
    pub resealed: u64,
    /// Left in place: no seal of ours, or not the time for it.
    pub kept: u64,
    /// Left in place because the act on it failed.
    pub failed: u64,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.replayed + self.closed + self.discarded + self.resealed + self.kept + self.failed
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    pub counts: Counts,
    pub sample: Vec<Line>,
}

/// A page's entry with what was decided about it.
struct Planned {
    held: Held,
    act: Act,
    line: Line,
}

pub struct Drain<'a> {
    pub dead: &'a DeadLetters,
    pub sources: &'a Sources<'a>,
    pub client: &'a DbClient,
    pub order: Order<'a>,
    pub progress: ProgressBar,
    pub tally: Tally,
    started: Instant,
}

impl<'a> Drain<'a> {
    pub fn new(
        dead: &'a DeadLetters,
        sources: &'a Sources<'a>,
        client: &'a DbClient,
        order: Order<'a>,
        progress: ProgressBar,
    ) -> Self {
        Self {
            dead,
            sources,
            client,
            order,
            progress,
            tally: Tally::default(),
            started: Instant::now(),
        }
    }

    /// One queue; entries that do not `fit` are left alone and cost nothing of the budget.
    pub async fn queue(&mut self, queue: WorkQueue, mut fits: impl FnMut(&DeadLetter) -> bool) -> Result<()> {
        let mut sweep = self.dead.sweep(queue).await?;
        let result = self.pages(&mut sweep, &mut fits).await;
        let finished = sweep.finish().await;
        result?;
        Ok(finished?)
    }

    /// No more than a second's worth at once.
    pub fn page_size(&self) -> u16 {
        let rate = self.order.rate.map(|rate| u16::try_from(rate).unwrap_or(PAGE));
        rate.map_or(PAGE, |rate| rate.clamp(1, PAGE))
    }

    pub fn left(&self) -> u64 {
        self.order.max.saturating_sub(self.tally.counts.total())
    }

    async fn pages(
        &mut self,
        sweep: &mut Sweep<'_>,
        fits: &mut impl FnMut(&DeadLetter) -> bool,
    ) -> Result<()> {
        let begun = Instant::now();
        let most = self.page_size();
        while self.left() > 0 {
            if begun.elapsed() > LONGEST {
                note("note: this queue was held long enough; run the command again for the rest");
                break;
            }
            let page = sweep.page(most).await?;
            if page.is_empty() {
                break;
            }
            let budget = usize::try_from(self.left()).unwrap_or(usize::MAX);
            let chosen: Vec<Held> = page
                .into_iter()
                .filter(|held| fits(&held.entry))
                .take(budget)
                .collect();
            if chosen.is_empty() {
                continue;
            }
            self.settle(sweep, chosen).await?;
        }
        Ok(())
    }

    /// Entries of one page, chosen by the caller, who minds the budget.
    pub async fn settle(&mut self, sweep: &mut Sweep<'_>, chosen: Vec<Held>) -> Result<()> {
        let planned = self.plan(chosen).await?;
        for line in self.carry_out(sweep, planned).await? {
            self.count(line);
        }
        self.pace().await;
        Ok(())
    }

    async fn plan(&self, chosen: Vec<Held>) -> Result<Vec<Planned>> {
        let fates: Vec<Option<Fate>> = match self.order.verb {
            Verb::Replay => {
                let entries: Vec<&DeadLetter> = chosen.iter().map(|held| &held.entry).collect();
                let facts = self.sources.of(self.client, &entries).await?;
                let fates = entries
                    .iter()
                    .zip(&facts)
                    .map(|(entry, facts)| fate(entry.origin, facts));
                fates.map(Some).collect()
            }
            Verb::Discard => vec![None; chosen.len()],
            Verb::Reseal => chosen.iter().map(|held| self.unopened(&held.entry)).collect(),
        };
        let planned = chosen.into_iter().zip(fates).map(|(held, fate)| {
            let (act, word, note) = match (self.order.verb, fate) {
                (_, Some(Fate::Keep(why))) => (Act::Keep, "keep", Some(why)),
                (_, Some(Fate::Close(why))) => (Act::Discard, "close", Some(why)),
                (Verb::Replay, _) => (Act::Replay, "replay", None),
                (Verb::Discard, _) => (Act::Discard, "discard", None),
                (Verb::Reseal, _) => (Act::Reseal, "reseal", None),
            };
            let entry = &held.entry;
            let new_id = entry
                .message_id
                .filter(|_| act == Act::Replay)
                .map(|id| replay_id(entry.origin, id));
            let line = Line {
                id: entry.id.clone(),
                queue: entry.origin.name(),
                class: entry.class.clone(),
                tx_ref: view::tx_ref(entry),
                act: word,
                new_id,
                note,
            };
            Planned { held, act, line }
        });
        Ok(planned.collect())
    }

    /// What cannot be opened is not sealed anew.
    fn unopened(&self, entry: &DeadLetter) -> Option<Fate> {
        let opened = self.sources.opener.open(entry.origin, &entry.payload);
        opened.err().map(|error| Fate::Keep(error.to_string()))
    }

    /// Writes the intention, acts, writes the end. Lines come back with what really happened.
    async fn carry_out(&self, sweep: &mut Sweep<'_>, planned: Vec<Planned>) -> Result<Vec<Line>> {
        if self.order.dry_run {
            return Ok(planned.into_iter().map(|one| one.line).collect());
        }
        let acts: Vec<NewDeadLetterAction> = planned
            .iter()
            .filter(|one| one.act != Act::Keep)
            .map(Planned::row)
            .collect();
        let mut rows = ledger::start(self.client, &self.order.run, &acts)
            .await?
            .into_iter();
        let (mut lines, mut decided) = (Vec::new(), Vec::new());
        for one in planned {
            lines.push(one.line);
            decided.push((one.held, one.act));
        }
        let settled = sweep.settle(decided).await?;
        ensure!(settled.len() == lines.len(), "every entry is settled");
        let mut ended = Vec::with_capacity(acts.len());
        for (line, Settled { act, result, .. }) in lines.iter_mut().zip(settled) {
            let error = result.err().map(|error| error.to_string());
            if act != Act::Keep {
                ended.extend(rows.next().map(|id| ActionResult {
                    id,
                    error: error.clone(),
                }));
            }
            if let Some(error) = error {
                (line.act, line.new_id, line.note) = ("failed", None, Some(error));
            }
        }
        ledger::finish(self.client, &ended).await?;
        Ok(lines)
    }

    fn count(&mut self, line: Line) {
        self.progress.inc(1);
        let counts = &mut self.tally.counts;
        let counter = match line.act {
            "replay" => &mut counts.replayed,
            "close" => &mut counts.closed,
            "discard" => &mut counts.discarded,
            "reseal" => &mut counts.resealed,
            "keep" => &mut counts.kept,
            _ => &mut counts.failed,
        };
        *counter += 1;
        if self.tally.sample.len() < SAMPLE {
            self.tally.sample.push(line);
        }
    }

    /// Waits until so many entries may have been handled at the rate asked for.
    async fn pace(&self) {
        let Some(rate) = self.order.rate.filter(|_| !self.order.dry_run) else {
            return;
        };
        let millis = self.tally.counts.total().saturating_mul(1000) / u64::from(rate.max(1));
        tokio::time::sleep_until(self.started + Duration::from_millis(millis)).await;
    }
}

impl Planned {
    fn row(&self) -> NewDeadLetterAction {
        let entry = &self.held.entry;
        NewDeadLetterAction {
            action: self.line.act,
            queue: self.line.queue,
            entry_id: entry.id.clone(),
            message_id: entry.message_id,
            new_message_id: self.line.new_id,
            intent_id: entry.intent_id,
            tx_ref: self.line.tx_ref.clone(),
            error_class: entry.class.clone(),
            resolution_note: self.line.note.clone(),
        }
    }
}
