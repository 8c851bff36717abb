//! Legs that the decider has not heard of: compared with its own copy, so a purged queue loses nothing.

use std::time::Duration;

use crate::error::StorageError;
use crate::executor::legs::{LegRow, read_row};
use crate::session::{Session, query};

statements! {
    UNHEARD =
        "select l.intent_id, l.tx_ref, l.preimage, l.leg, l.final, l.signer, l.tx_hash, l.block_number, l.reason, \
         l.version from chain_legs l left join decisions d on d.tx_ref = l.tx_ref \
         where l.updated_at < clock_timestamp() - $1::float8 * interval '1 second' \
         and (l.leg in ('escrowed', 'rejected', 'dropped') or (l.leg in ('executed', 'refunded') and l.final)) \
         and (d.tx_ref is null or d.chain_leg is distinct from l.leg \
              or (l.final and not d.chain_final) \
              or (l.leg = 'escrowed' and l.reason = 'not_compliant' and not d.refused)) \
         and (d.updated_at is null or d.updated_at < clock_timestamp() - $1::float8 * interval '1 second') \
         and not exists (select from executor_outbox o where o.subject = '0x' || encode(l.intent_id, 'hex')) \
         order by l.updated_at limit $2";
}

/// Legs older than `quiet` whose copy at the decider differs, with nothing on its way.
pub async fn unheard(
    session: &impl Session,
    quiet: Duration,
    limit: u32,
) -> Result<Vec<LegRow>, StorageError> {
    let rows = query(session, UNHEARD, &[&quiet.as_secs_f64(), &i64::from(limit)]).await?;
    rows.iter().map(read_row).collect()
}
