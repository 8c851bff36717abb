//! Messages that are stored in the transaction of their cause and relayed afterwards. One table per service.

use std::time::Duration;

use domain::ids::MessageId;
use strum::IntoStaticStr;
use uuid::Uuid;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_one};

/// The service whose outbox it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Outbox {
    Gateway,
    Callback,
    Executor,
    Ops,
}

/// A sealed message that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    pub message_id: MessageId,
    /// Versioned name of the work queue.
    pub queue: &'static str,
    /// The intent id or txRef the message is about.
    pub subject: String,
    /// The envelope's exact bytes.
    pub envelope: Vec<u8>,
}

/// A row this process may publish until its claim ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRow {
    pub id: i64,
    pub message_id: MessageId,
    pub queue: String,
    pub envelope: Vec<u8>,
}

struct OutboxSql {
    table: &'static str,
    push: &'static str,
    claim: &'static str,
    delete: &'static str,
    release: &'static str,
    oldest: &'static str,
    has_subject: &'static str,
}

macro_rules! outbox_statements {
    ($($const:ident $table:literal $push:ident $claim:ident $delete:ident $release:ident $oldest:ident $has:ident;)+) => {
        statements! {
            $(
                $push = concat!(
                    "insert into ", $table, " (message_id, queue, subject, envelope) \
                     select * from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[])");
                $claim = concat!(
                    "update ", $table, " set claimed_until = clock_timestamp() + $2::float8 * interval '1 second' \
                     where id in (select id from ", $table, " \
                     where (claimed_until is null or claimed_until < clock_timestamp()) and queue <> all($3::text[]) \
                     order by id limit $1 for update skip locked) \
                     returning id, message_id, queue, envelope");
                $delete = concat!("delete from ", $table, " where id = any($1::bigint[])");
                $release = concat!(
                    "update ", $table, " set claimed_until = null where id = any($1::bigint[])");
                $oldest = concat!(
                    "select coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as age, \
                     count(*) as rows from (select created_at from ", $table, " order by id limit 100000) as waiting");
                $has = concat!("select exists (select from ", $table, " where subject = $1) as found");
            )+
        }
        $(
            const $const: OutboxSql = OutboxSql {
                table: $table, push: $push, claim: $claim, delete: $delete,
                release: $release, oldest: $oldest, has_subject: $has,
            };
        )+
    };
}

outbox_statements! {
    GATEWAY "gateway_outbox" GATEWAY_PUSH GATEWAY_CLAIM GATEWAY_DELETE GATEWAY_RELEASE GATEWAY_OLDEST GATEWAY_HAS;
    CALLBACK "callback_outbox" CALLBACK_PUSH CALLBACK_CLAIM CALLBACK_DELETE CALLBACK_RELEASE CALLBACK_OLDEST CALLBACK_HAS;
    EXECUTOR "executor_outbox" EXECUTOR_PUSH EXECUTOR_CLAIM EXECUTOR_DELETE EXECUTOR_RELEASE EXECUTOR_OLDEST EXECUTOR_HAS;
    OPS "ops_outbox" OPS_PUSH OPS_CLAIM OPS_DELETE OPS_RELEASE OPS_OLDEST OPS_HAS;
}

/// Number of waiting messages, and the age of the oldest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    pub oldest_seconds: f64,
    /// Counted up to 100,000.
    pub rows: u64,
}

impl Outbox {
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    const fn sql(self) -> &'static OutboxSql {
        match self {
            Self::Gateway => &GATEWAY,
            Self::Callback => &CALLBACK,
            Self::Executor => &EXECUTOR,
            Self::Ops => &OPS,
        }
    }

    /// Stores messages in the transaction of their cause.
    pub async fn push_many(self, tx: &DbTransaction<'_>, rows: &[OutboxRow]) -> Result<(), StorageError> {
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.message_id.0).collect();
        let queues: Vec<&str> = rows.iter().map(|row| row.queue).collect();
        let subjects: Vec<&str> = rows.iter().map(|row| row.subject.as_str()).collect();
        let envelopes: Vec<&[u8]> = rows.iter().map(|row| row.envelope.as_slice()).collect();
        execute(tx, self.sql().push, &[&ids, &queues, &subjects, &envelopes]).await?;
        Ok(())
    }

    /// Claims up to `limit` rows, oldest first, that no other relay holds and that are for none of `excluded_queues`.
    /// The claim expires after `claim_for`, so that the rows of a killed relay are claimed again.
    pub async fn claim(
        self,
        session: &impl DbSession,
        limit: u32,
        claim_for: Duration,
        excluded_queues: &[&str],
    ) -> Result<Vec<ClaimedRow>, StorageError> {
        let sql = self.sql();
        let rows = query(
            session,
            sql.claim,
            &[&i64::from(limit), &claim_for.as_secs_f64(), &excluded_queues],
        )
        .await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: i64 = row.try_get("id")?;
            let reader = RowReader::new(row, sql.table, id);
            claimed.push(ClaimedRow {
                id,
                message_id: MessageId(reader.get("message_id")?),
                queue: reader.get("queue")?,
                envelope: reader.get("envelope")?,
            });
        }
        claimed.sort_unstable_by_key(|row| row.id);
        Ok(claimed)
    }

    /// Deletes the messages that the broker confirmed.
    pub async fn delete_many(self, session: &impl DbSession, ids: &[i64]) -> Result<(), StorageError> {
        if !ids.is_empty() {
            execute(session, self.sql().delete, &[&ids]).await?;
        }
        Ok(())
    }

    /// Releases rows before their claim expires.
    pub async fn release_many(self, session: &impl DbSession, ids: &[i64]) -> Result<(), StorageError> {
        if !ids.is_empty() {
            execute(session, self.sql().release, &[&ids]).await?;
        }
        Ok(())
    }

    pub async fn backlog(self, session: &impl DbSession) -> Result<Backlog, StorageError> {
        let row = query_one(session, self.sql().oldest, &[]).await?;
        let reader = RowReader::new(&row, self.sql().table, "backlog");
        Ok(Backlog {
            oldest_seconds: reader.get("age")?,
            rows: reader.unsigned("rows")?,
        })
    }

    /// Whether a message about this intent id or txRef still waits to be sent.
    pub async fn has_subject(self, session: &impl DbSession, subject: &str) -> Result<bool, StorageError> {
        let row = query_one(session, self.sql().has_subject, &[&subject]).await?;
        Ok(row.try_get("found")?)
    }
}
