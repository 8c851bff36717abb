//! When each pipeline key was last used: one table per service.

use domain::signature::KeyId;

use crate::error::StorageError;
use crate::session::{DbSession, execute};

/// The service whose usage is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineKeyUsage {
    Gateway,
    Callback,
    Executor,
}

macro_rules! uses {
    ($table:literal) => {
        concat!(
            "insert into ", $table, " as u (queue, key_id, last_used_at) \
             select t.queue, t.key_id, clock_timestamp() from unnest($1::text[], $2::text[]) as t (queue, key_id) \
             on conflict (queue, key_id) do update set last_used_at = excluded.last_used_at"
        )
    };
}

statements! {
    GATEWAY = uses!("gateway_pipeline_key_usage");
    CALLBACK = uses!("callback_pipeline_key_usage");
    EXECUTOR = uses!("executor_pipeline_key_usage");
}

impl PipelineKeyUsage {
    /// Records that these keys, by queue, were used now. Give each pair once.
    pub async fn record(self, session: &impl DbSession, uses: &[(&str, KeyId)]) -> Result<(), StorageError> {
        let sql = match self {
            Self::Gateway => GATEWAY,
            Self::Callback => CALLBACK,
            Self::Executor => EXECUTOR,
        };
        let queues: Vec<&str> = uses.iter().map(|(queue, _)| *queue).collect();
        let kids: Vec<&str> = uses.iter().map(|(_, kid)| kid.as_str()).collect();
        execute(session, sql, &[&queues, &kids]).await?;
        Ok(())
    }
}
