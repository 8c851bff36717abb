//! The rows of a block and of the escrow's events in it.

use chain::query::BlockHeader;
use chain::{EscrowEvent, EscrowLog};
use storage::executor::blocks::{BlockRow, EventRow};

pub fn block_row(header: &BlockHeader) -> BlockRow {
    BlockRow {
        number: header.number,
        hash: *header.hash.as_bytes(),
        parent: *header.parent.as_bytes(),
    }
}

/// `None` for a log about no intent.
pub fn event_row(log: &EscrowLog) -> Option<EventRow> {
    let intent_id = log.event.intent_id()?;
    let (user, amount, detail) = match &log.event {
        EscrowEvent::Submitted { user, amount, .. } | EscrowEvent::Executed { user, amount, .. } => {
            (Some(*user.as_bytes()), Some(amount.get()), None)
        }
        EscrowEvent::Refunded {
            user, amount, reason, ..
        } => (
            Some(*user.as_bytes()),
            Some(amount.get()),
            Some(printable(reason)),
        ),
        EscrowEvent::Credited {
            depositor, amount, ..
        } => (Some(*depositor.as_bytes()), Some(amount.get()), None),
        EscrowEvent::Skipped { outcome, .. } => (None, None, Some(outcome.name().to_owned())),
        EscrowEvent::Other { .. } => (None, None, None),
    };
    Some(EventRow {
        log_index: log.log_index,
        tx_hash: *log.tx_hash.as_bytes(),
        kind: log.event.name(),
        intent_id,
        user,
        amount,
        detail,
    })
}

/// PostgreSQL text holds no zero byte, and anyone may have written the reason.
fn printable(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(256).collect()
}
