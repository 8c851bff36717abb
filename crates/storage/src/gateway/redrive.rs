//! `gateway_redrives`: when an intent or a report was last re-driven, so that the waits grow. A row stays until its
//! subject was handled, so the watermark need not go back for it.

use const_format::concatcp;
use time::OffsetDateTime;

use crate::error::StorageError;
use crate::session::{DbSession, execute, query_one};

/// How often the pause of the mark `d` has doubled; bounded, so that the power stays a number.
const DOUBLINGS: &str = "least(d.redrive_count, 30)";
/// The pause after the last time of the mark `d` is over: twice as long each time, up to an hour.
pub(super) const PAUSE_IS_OVER: &str = concatcp!(
    "d.last_sent_at < now() - make_interval(secs => least($2::float8 * power(2, ",
    DOUBLINGS,
    "), greatest($2::float8, 3600)))"
);

statements! {
    RECORD = "\
insert into gateway_redrives as d (subject, redrive_count, last_sent_at)
select subject, 1, now() from unnest($1::text[]) as s (subject)
on conflict (subject) do update set redrive_count = d.redrive_count + 1, last_sent_at = now()";

    PURGE = "\
delete from gateway_redrives where subject in (
    select d.subject from gateway_redrives d
    where exists (select 1 from published.chain_legs l where l.tx_ref = d.subject)
       or exists (select 1 from published.report_outcomes o
                  where o.report_id = case when length(d.subject) = 36 then d.subject::uuid end)
    limit $1)";
}

/// Maximum number of rows per statement, so that each stays short however many rows are new.
const PAGE_SIZE: i64 = 20_000;

/// Which rows may be re-driven.
#[derive(Clone, Copy, Debug)]
pub struct RedriveWindow {
    /// Every older row is known to be handled, or has a row in `gateway_redrives`.
    pub since: OffsetDateTime,
    /// Minimum age. The pause after the first re-drive of a subject is twice as long, after the next four times, up to
    /// an hour.
    pub after_seconds: f64,
    pub limit: i64,
}

/// Moves the watermark on to the first row that is not handled, or to the youngest row of the minimum age.
pub(super) async fn advance_watermark(
    session: &impl DbSession,
    page: &'static str,
    window: &RedriveWindow,
) -> Result<OffsetDateTime, StorageError> {
    let mut since = window.since;
    loop {
        let row = query_one(session, page, &[&since, &window.after_seconds, &PAGE_SIZE]).await?;
        let reached = row.try_get("reached")?;
        if !row.try_get::<_, bool>("more")? || reached == since {
            return Ok(reached);
        }
        since = reached;
    }
}

/// Records a re-drive of each subject. Give them in order, each once.
pub async fn record(session: &impl DbSession, subjects: &[String]) -> Result<u64, StorageError> {
    execute(session, RECORD, &[&subjects]).await
}

/// Deletes at most `limit` rows whose subject was handled.
pub async fn purge(session: &impl DbSession, limit: i64) -> Result<u64, StorageError> {
    execute(session, PURGE, &[&limit]).await
}
