//! Records when each pipeline key was last used, as a gauge and as a row that `keys list` shows. During a rotation this
//! shows when the old key can be removed.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::clock::{Clock, SystemSource};
use domain::signature::KeyId;
use messaging::{Service, SharedPipelineKeys, WorkQueue};
use storage::{PipelineKeyUsage, Pool};

use crate::lifecycle::Stop;
use crate::observe;

const EVERY: Duration = Duration::from_secs(10);

/// Records uses until the stop. Uses that cannot be written are written next time.
pub async fn record(service: Service, keys: SharedPipelineKeys, pool: Pool, stop: Stop) {
    let table = match service {
        Service::Gateway => PipelineKeyUsage::Gateway,
        Service::Callback => PipelineKeyUsage::Callback,
        Service::MintExecutor => PipelineKeyUsage::Executor,
        // The audit log already records the operator's commands.
        Service::Ops => return stop.requested().await,
    };
    let mut waiting: BTreeSet<(WorkQueue, KeyId)> = BTreeSet::new();
    while stop.sleep(EVERY).await {
        let now = meter::number(SystemSource.unix_seconds());
        for (queue, kid) in keys.take_used() {
            observe::PIPELINE_KEY_LAST_USE.set([queue.name(), kid.as_str()], now);
            waiting.insert((queue, kid));
        }
        if waiting.is_empty() {
            continue;
        }
        let uses: Vec<(&str, KeyId)> = waiting
            .iter()
            .map(|(queue, kid)| (queue.operation(), kid.clone()))
            .collect();
        let written = async { table.record(&pool.get().await?, &uses).await };
        match written.await {
            Ok(()) => waiting.clear(),
            Err(error) => tracing::warn!(error = %domain::error_chain(&error), "key uses cannot be written"),
        }
    }
}
