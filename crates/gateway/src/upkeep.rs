//! Background tasks: keep keys and their rows up to date, record last uses, delete old rows, read queue depths.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::clock::Clock;
use domain::signature::KeyId;
use messaging::Broker;
use messaging::topology::{self, QueueKind};
use runtime::{KeyDirectory, Stop};
use storage::gateway::{idempotency, keys as key_rows, limits, redrive};
use storage::{Pool, StorageError};
use tokio::sync::watch;

use crate::keys::LiveKeys;
use crate::observe;

const ROWS_POLL: Duration = Duration::from_secs(1);
const USES_POLL: Duration = Duration::from_secs(10);
const PURGE_POLL: Duration = Duration::from_mins(1);
const DEPTH_POLL: Duration = Duration::from_secs(5);
/// Rows deleted by one statement.
const PURGE_ROWS: i64 = 5000;
/// How much longer than its window an answer is kept, so that complaints can be investigated.
const PURGE_SLACK_SECONDS: f64 = 3600.0;

/// Keeps [`LiveKeys`] up to date with the mounted secrets and the `api_keys` rows. If the rows cannot be read, the last
/// ones stay; a secret that is unmounted is dropped at once.
pub async fn follow_keys(keys: Arc<LiveKeys>, directory: KeyDirectory, pool: Pool, stop: Stop) {
    let mut mounted = directory.subscribe();
    let mut rows = None;
    let mut shown = BTreeSet::new();
    loop {
        match read_rows(&pool).await {
            Ok(read) => rows = Some(read),
            Err(error) => tracing::warn!(error = %domain::error_chain(&error), "key rows cannot be read"),
        }
        let secrets = mounted.borrow_and_update().clone();
        if let Some((narrowings, prefixes)) = &rows {
            keys.replace(&secrets, narrowings, prefixes.clone());
            show_expiries(&keys, &mut shown);
        }
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(ROWS_POLL) => {}
            changed = mounted.changed() => if changed.is_err() { return },
        }
    }
}

/// Updates the expiry gauges. A key that was unmounted must no longer warn of its expiry.
fn show_expiries(keys: &LiveKeys, shown: &mut BTreeSet<KeyId>) {
    let snapshot = keys.snapshot();
    let previous = std::mem::take(shown);
    for key in snapshot.keys() {
        observe::key_expires(&key.id, key.expires());
        shown.insert(key.id.clone());
    }
    for key in previous.difference(shown) {
        observe::key_expires(key, None);
    }
}

type Rows = (Vec<key_rows::KeyRestriction>, Vec<key_rows::TxRefPrefix>);

async fn read_rows(pool: &Pool) -> Result<Rows, StorageError> {
    let client = pool.get().await?;
    Ok((
        key_rows::key_restrictions(&client).await?,
        key_rows::prefixes(&client).await?,
    ))
}

/// Records when each key was last used: during a rotation this shows when the old key can be removed.
pub async fn record_uses(keys: Arc<LiveKeys>, clock: Arc<dyn Clock>, pool: Pool, stop: Stop) {
    let mut written = clock.unix_seconds();
    let mut answered = BTreeMap::new();
    while stop.sleep(USES_POLL).await {
        let now = clock.unix_seconds();
        answered.extend(
            keys.take_used_answer_keys()
                .into_iter()
                .map(|kid| (kid, clock.now())),
        );
        let mut uses = keys.used_since(written);
        uses.extend(answered.clone());
        uses.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if uses.is_empty() {
            continue;
        }
        for (key, at) in &uses {
            observe::key_used(key, *at);
        }
        let result = async { key_rows::record_uses(&pool.get().await?, &uses).await };
        match result.await {
            Ok(_) => {
                written = now;
                answered.clear();
            }
            Err(error) => tracing::warn!(error = %domain::error_chain(&error), "last uses cannot be written"),
        }
    }
}

/// Deletes expired answers, past daily totals and settled re-drive marks, a few rows at a time.
pub async fn purge(pool: Pool, window_seconds: f64, stop: Stop) {
    while stop.sleep(PURGE_POLL).await {
        if let Err(error) = purge_once(&pool, window_seconds + PURGE_SLACK_SECONDS, &stop).await {
            tracing::warn!(error = %domain::error_chain(&error), "old rows cannot be deleted for now");
        }
    }
}

async fn purge_once(pool: &Pool, seconds: f64, stop: &Stop) -> Result<(), StorageError> {
    limits::purge(&pool.get().await?).await?;
    while !stop.is_requested() {
        let removed = idempotency::purge(&pool.get().await?, seconds, PURGE_ROWS).await?;
        if removed < PURGE_ROWS.unsigned_abs() {
            break;
        }
    }
    while !stop.is_requested() {
        let removed = redrive::purge(&pool.get().await?, PURGE_ROWS).await?;
        if removed < PURGE_ROWS.unsigned_abs() {
            break;
        }
    }
    Ok(())
}

/// The number of ready messages at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depths {
    pub work: u64,
    pub dead: u64,
}

/// Reads the depths for `/health`; they are unknown while the broker does not answer.
pub async fn follow_depths(broker: Broker, depths: watch::Sender<Option<Depths>>, stop: Stop) {
    loop {
        let found = topology::depths(&broker).await;
        if let Err(error) = &found {
            tracing::debug!(error = %domain::error_chain(error), "queue depths unknown");
        }
        depths.send_replace(found.ok().map(|all| {
            let sum = |kind| {
                all.iter()
                    .filter(|d| d.kind == kind)
                    .map(|d| u64::from(d.ready))
                    .sum()
            };
            Depths {
                work: sum(QueueKind::Work),
                dead: sum(QueueKind::Dead),
            }
        }));
        if !stop.sleep(DEPTH_POLL).await {
            return;
        }
    }
}
