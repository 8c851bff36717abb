//! What the sealed envelope of a work item tells to whoever watches: since when its stage has been running. Nothing
//! here permits anything.

use std::time::Duration;

use messaging::wire::{MintExecute, MintSubmit};
use messaging::{Opened, Opener};
use storage::executor::items::{ItemRow, WorkCommand};
use time::OffsetDateTime;

use crate::observe::Stage;
use crate::verify::queue_of;

/// The stage that ends when a block holds the item, and how long it took.
pub fn stage_to(opener: &Opener, item: &ItemRow, now: OffsetDateTime) -> Option<(Stage, Duration)> {
    let opened = opener.open(queue_of(item.command), &item.envelope).ok()?;
    let (stage, began) = match item.command {
        WorkCommand::Submit => (Stage::AcceptToEscrowed, accepted(&opened)?),
        WorkCommand::Execute => (Stage::PaidToMined, paid(&opened)?),
        WorkCommand::Refund => return None,
    };
    Some((stage, Duration::try_from(now - began).unwrap_or_default()))
}

/// The sealed time is in whole seconds. The first message of an intent was made in that second, and says when.
fn accepted(opened: &Opened) -> Option<OffsetDateTime> {
    let sealed = opened.body::<MintSubmit>().ok()?.accepted_at;
    let hint = opened.hints().first_seen;
    if hint.unix_timestamp() == sealed {
        return Some(hint);
    }
    OffsetDateTime::from_unix_timestamp(sealed).ok()
}

fn paid(opened: &Opened) -> Option<OffsetDateTime> {
    let millis = opened.body::<MintExecute>().ok()?.report.received_at;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()
}
