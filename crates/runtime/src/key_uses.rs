//! Records when each pipeline key was last used, as a gauge and as a row that `keys list` shows. During a rotation this
//! shows when the old key can be removed.

use std::collections::BTreeSet;

use domain::clock::{Clock, SystemSource};
use domain::signature::KeyId;
use messaging::{Service, SharedPipelineKeys, WorkQueue};
use storage::{PipelineKeyUsage, Pool, StorageError};

use crate::observe;
use crate::periodic::Periodic;

/// The uses of a service's pipeline keys.
#[derive(Debug)]
pub struct KeyUses {
    table: PipelineKeyUsage,
    keys: SharedPipelineKeys,
    pool: Pool,
    /// Not written yet.
    waiting: BTreeSet<(WorkQueue, KeyId)>,
}

impl KeyUses {
    /// `None` for the operator's commands, which the audit log records already.
    pub fn of(service: Service, keys: SharedPipelineKeys, pool: Pool) -> Option<Self> {
        let table = match service {
            Service::Gateway => PipelineKeyUsage::Gateway,
            Service::Callback => PipelineKeyUsage::Callback,
            Service::MintExecutor => PipelineKeyUsage::Executor,
            Service::Ops => return None,
        };
        Some(Self {
            table,
            keys,
            pool,
            waiting: BTreeSet::new(),
        })
    }
}

impl Periodic for KeyUses {
    type Error = StorageError;

    /// Uses that cannot be written are written next time.
    async fn run(&mut self) -> Result<(), StorageError> {
        let now = meter::number(SystemSource.unix_seconds());
        for (queue, kid) in self.keys.take_used() {
            observe::PIPELINE_KEY_LAST_USE.set([queue.name(), kid.as_str()], now);
            self.waiting.insert((queue, kid));
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        let uses: Vec<(&str, KeyId)> = self
            .waiting
            .iter()
            .map(|(queue, kid)| (queue.operation(), kid.clone()))
            .collect();
        self.table.record(&self.pool.get().await?, &uses).await?;
        self.waiting.clear();
        Ok(())
    }
}
