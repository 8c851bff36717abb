//! Messages written in the transaction that decided on them, relayed afterwards: one table per service.

use std::time::Duration;

use domain::ids::MessageId;
use uuid::Uuid;

use crate::error::StorageError;
use crate::pool::Transaction;
use crate::row::Reader;
use crate::session::{Session, execute, query, query_one};

/// Whose outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbox {
    Gateway,
    Callback,
    Executor,
    Ops,
}

/// A sealed message on its way out.
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

struct Sql {
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
            const $const: Sql = Sql {
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

/// How much waits and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    pub oldest_seconds: f64,
    /// Counted up to 100,000.
    pub rows: u64,
}

impl Outbox {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Callback => "callback",
            Self::Executor => "executor",
            Self::Ops => "ops",
        }
    }

    const fn sql(self) -> &'static Sql {
        match self {
            Self::Gateway => &GATEWAY,
            Self::Callback => &CALLBACK,
            Self::Executor => &EXECUTOR,
            Self::Ops => &OPS,
        }
    }

    /// Stores messages in the transaction of what they follow from.
    pub async fn push_many(self, tx: &Transaction<'_>, rows: &[OutboxRow]) -> Result<(), StorageError> {
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

    /// Takes up to `limit` rows, oldest first, that nobody else holds and that are for none of the queues `except`.
    /// The claim ends by itself after `hold`, so that the rows of a killed relay are taken again.
    pub async fn claim(
        self,
        session: &impl Session,
        limit: u32,
        hold: Duration,
        except: &[&str],
    ) -> Result<Vec<ClaimedRow>, StorageError> {
        let sql = self.sql();
        let rows = query(
            session,
            sql.claim,
            &[&i64::from(limit), &hold.as_secs_f64(), &except],
        )
        .await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: i64 = row.try_get("id")?;
            let reader = Reader::new(row, sql.table, id);
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

    /// Forgets what the broker confirmed.
    pub async fn delete_many(self, session: &impl Session, ids: &[i64]) -> Result<(), StorageError> {
        if !ids.is_empty() {
            execute(session, self.sql().delete, &[&ids]).await?;
        }
        Ok(())
    }

    /// Gives rows back before their claim ends.
    pub async fn release_many(self, session: &impl Session, ids: &[i64]) -> Result<(), StorageError> {
        if !ids.is_empty() {
            execute(session, self.sql().release, &[&ids]).await?;
        }
        Ok(())
    }

    pub async fn backlog(self, session: &impl Session) -> Result<Backlog, StorageError> {
        let row = query_one(session, self.sql().oldest, &[]).await?;
        let reader = Reader::new(&row, self.sql().table, "backlog");
        Ok(Backlog {
            oldest_seconds: reader.get("age")?,
            rows: reader.unsigned("rows")?,
        })
    }

    /// Whether a message about this intent id or txRef still waits to be sent.
    pub async fn has_subject(self, session: &impl Session, subject: &str) -> Result<bool, StorageError> {
        let row = query_one(session, self.sql().has_subject, &[&subject]).await?;
        Ok(row.try_get("found")?)
    }
}
