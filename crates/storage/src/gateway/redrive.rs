//! `gateway_redrives`: when an intent or a report was last sent again, so that re-drives are paced. A mark stays until
//! something came of its subject, so the walk over young rows need not look back at it.

use time::OffsetDateTime;

use crate::error::StorageError;
use crate::session::{Session, execute, query_one};

statements! {
    MARK = "\
insert into gateway_redrives as d (subject, redrive_count, last_sent_at)
select subject, 1, now() from unnest($1::text[]) as s (subject)
on conflict (subject) do update set redrive_count = d.redrive_count + 1, last_sent_at = now()";

    PURGE = "\
delete from gateway_redrives where subject in (
    select d.subject from gateway_redrives d
    where exists (select 1 from chain_legs l where l.tx_ref = d.subject)
       or exists (select 1 from report_outcomes o
                  where o.report_id = case when length(d.subject) = 36 then d.subject::uuid end)
    limit $1)";
}

/// Rows that one statement of a walk looks at: it stays short however much was never looked at.
const PAGE: i64 = 20_000;

/// What may be sent again.
#[derive(Clone, Copy, Debug)]
pub struct RedriveWindow {
    /// Everything older is known to have arrived, or has a mark.
    pub since: OffsetDateTime,
    /// Youngest age. The pause after the first re-drive of a subject is twice as long, after the next four times, up
    /// to an hour.
    pub after_seconds: f64,
    pub limit: i64,
}

/// Walks on from the watermark to the first row that waits, or to the youngest that is old enough.
pub(super) async fn walk(
    session: &impl Session,
    page: &'static str,
    window: &RedriveWindow,
) -> Result<OffsetDateTime, StorageError> {
    let mut since = window.since;
    loop {
        let row = query_one(session, page, &[&since, &window.after_seconds, &PAGE]).await?;
        let reached = row.try_get("reached")?;
        if !row.try_get::<_, bool>("more")? || reached == since {
            return Ok(reached);
        }
        since = reached;
    }
}

/// Give the subjects in order, each once.
pub async fn mark(session: &impl Session, subjects: &[String]) -> Result<u64, StorageError> {
    execute(session, MARK, &[&subjects]).await
}

/// Deletes at most `limit` marks of which something came.
pub async fn purge(session: &impl Session, limit: i64) -> Result<u64, StorageError> {
    execute(session, PURGE, &[&limit]).await
}
