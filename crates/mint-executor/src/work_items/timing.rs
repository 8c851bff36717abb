//! What logs, traces and metrics need from the sealed envelope of a work item: its trace, its reference, and how long its
//! stage took. No decision depends on it.

use std::time::Duration;

use domain::command::Command;
use messaging::envelope::Hints;
use messaging::wire::{MintExecute, MintRefund, MintSubmit};
use messaging::{OpenError, Opener};
use storage::executor::items::WorkItemRow;
use time::OffsetDateTime;

use crate::observe::{ItemTiming, Stage};
use crate::rules::queue::queue_of;

/// `None` when the envelope does not open any more.
pub fn read_timing(opener: &Opener, item: &WorkItemRow, now: OffsetDateTime) -> Option<ItemTiming> {
    read(opener, item, now).ok()
}

fn read(opener: &Opener, item: &WorkItemRow, now: OffsetDateTime) -> Result<ItemTiming, OpenError> {
    let opened = opener.open(queue_of(item.command), &item.envelope)?;
    let since = |began: Option<OffsetDateTime>| Duration::try_from(now - began?).ok();
    let (tx_ref, stage) = match item.command {
        Command::Submit => {
            let body: MintSubmit = opened.body()?;
            let took = since(accepted(body.accepted_at, opened.hints()));
            (
                body.intent.tx_ref,
                took.map(|took| (Stage::AcceptToEscrowed, took)),
            )
        }
        Command::Execute => {
            let body: MintExecute = opened.body()?;
            let took = since(paid(body.report.received_at));
            (body.intent.tx_ref, took.map(|took| (Stage::PaidToMined, took)))
        }
        Command::Refund => (opened.body::<MintRefund>()?.intent.tx_ref, None),
    };
    Ok(ItemTiming {
        tx_ref,
        traceparent: opened.hints().traceparent.clone(),
        stage,
    })
}

/// The sealed time is in whole seconds. If the first message was created in that second, its own time is more exact.
fn accepted(sealed: i64, hints: &Hints) -> Option<OffsetDateTime> {
    if hints.first_seen.unix_timestamp() == sealed {
        return Some(hints.first_seen);
    }
    OffsetDateTime::from_unix_timestamp(sealed).ok()
}

fn paid(millis: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()
}
