//! `gateway_redrives`: when an intent or a report was last sent again, so that re-drives are paced.

use crate::error::StorageError;
use crate::session::{Session, execute};

statements! {
    MARK = "\
insert into gateway_redrives as d (subject, times, last_sent_at)
select subject, 1, now() from unnest($1::text[]) as s (subject)
on conflict (subject) do update set times = d.times + 1, last_sent_at = now()";

    PURGE = "\
delete from gateway_redrives where subject in (
    select subject from gateway_redrives
    where last_sent_at < now() - make_interval(secs => $1::float8)
    order by last_sent_at limit $2)";
}

/// Give the subjects in order, each once.
pub async fn mark(session: &impl Session, subjects: &[String]) -> Result<u64, StorageError> {
    execute(session, MARK, &[&subjects]).await
}

/// Deletes at most `limit` marks that are older than `seconds`.
pub async fn purge(session: &impl Session, seconds: f64, limit: i64) -> Result<u64, StorageError> {
    execute(session, PURGE, &[&seconds, &limit]).await
}
