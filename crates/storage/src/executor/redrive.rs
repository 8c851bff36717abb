//! Finds legs that would never change again: the callback service's copy differs and no message is pending, or no
//! command is left that would move them. Thanks to this a purged queue or a discarded command loses
//! nothing.

use std::time::Duration;

use const_format::concatcp;
use domain::ids::IntentId;
use domain::item_result::LegReason;

use crate::error::StorageError;
use crate::executor::legs::{self, ChainLegRow, read_row};
use crate::pool::DbTransaction;
use crate::session::{DbSession, execute, query};
use crate::settled::{OPEN_ITEMS, terminal};

/// The payment window of the leg `l` is over: its intent's age decides where the intent is known.
const WINDOW_OVER: &str =
    "coalesce(i.created_at, l.updated_at) < clock_timestamp() - $1::float8 * interval '1 second'";

statements! {
    // Each re-drive of the same version doubles the wait, up to an hour. Those re-driven least recently come first, so
    // that a page of legs without a reaction hides no other.
    UNACKNOWLEDGED = concatcp!(
        "select l.intent_id, l.tx_ref, l.preimage, l.leg, l.final, l.signer, l.tx_hash, l.block_number, l.reason, \
         l.version, l.trace_parent, extract(epoch from clock_timestamp() - l.updated_at)::float8 as quiet \
         from chain_legs l left join published.decisions d on d.tx_ref = l.tx_ref \
         left join outcome_redrives r on r.intent_id = l.intent_id and r.leg_version = l.version \
         where l.updated_at < clock_timestamp() - $1::float8 * interval '1 second' \
         and (l.leg = 'escrowed' or ", terminal!("l.leg", "l.final"), ") \
         and (d.tx_ref is null or d.chain_leg is distinct from l.leg \
              or (l.final and not d.chain_final) \
              or (l.leg = 'escrowed' and l.reason = $3 and not d.mint_refused)) \
         and (d.updated_at is null or d.updated_at < clock_timestamp() - $1::float8 * interval '1 second') \
         and (r.last_sent_at is null or r.last_sent_at < clock_timestamp() \
              - least($1::float8 * power(2, least(r.redrive_count, 12)), greatest($1::float8, 3600)) * interval '1 second') \
         and not exists (select from executor_outbox o where o.subject = '0x' || encode(l.intent_id, 'hex')) \
         order by r.last_sent_at nulls first, l.updated_at limit $2"
    );
    RECORD_REDRIVE =
        "insert into outcome_redrives as r (intent_id, leg_version, redrive_count, last_sent_at) \
         select l.intent_id, l.version, 1, clock_timestamp() from chain_legs l where l.intent_id = any($1::bytea[]) \
         on conflict (intent_id) do update set leg_version = excluded.leg_version, last_sent_at = excluded.last_sent_at, \
         redrive_count = case when r.leg_version = excluded.leg_version then r.redrive_count + 1 else 1 end";
    // The time for a deposit is over, and no deposit command is open. Drawn at random, because some may have to wait
    // for a transaction that is not final.
    STRANDED = concatcp!(
        "select l.intent_id from chain_legs l left join published.mint_intents i on i.intent_id = l.intent_id \
         where l.leg in ('queued', 'submitting') \
         and ", WINDOW_OVER, " \
         and not exists (select from work_items w where w.intent_id = l.intent_id and w.command = 'submit' \
                         and w.state in ", OPEN_ITEMS, ") \
         order by random() limit $2"
    );
}

/// Legs unchanged for `min_age` whose copy in `decisions` differs, with no message pending.
pub async fn unacknowledged(
    session: &impl DbSession,
    min_age: Duration,
    limit: u32,
) -> Result<Vec<ChainLegRow>, StorageError> {
    let rows = query(
        session,
        UNACKNOWLEDGED,
        &[
            &min_age.as_secs_f64(),
            &i64::from(limit),
            &LegReason::NOT_COMPLIANT.name(),
        ],
    )
    .await?;
    rows.iter().map(read_row).collect()
}

/// Records that the outcomes of these intents are sent once more.
pub async fn record_redrive(tx: &DbTransaction<'_>, ids: &[IntentId]) -> Result<(), StorageError> {
    execute(tx, RECORD_REDRIVE, &[&legs::bytes(ids)]).await?;
    Ok(())
}

/// Intents without a deposit, older than the payment window, that no command will move.
pub async fn stranded(
    session: &impl DbSession,
    window: Duration,
    limit: u32,
) -> Result<Vec<IntentId>, StorageError> {
    let rows = query(session, STRANDED, &[&window.as_secs_f64(), &i64::from(limit)]).await?;
    legs::intent_ids(&rows, "chain_legs")
}
