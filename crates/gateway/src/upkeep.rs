//! Background tasks: keep keys and their rows up to date, record last uses, delete old rows, read queue depths.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::clock::Clock;
use domain::signature::KeyId;
use messaging::topology::{self, QueueKind};
use messaging::{Broker, BrokerError};
use runtime::{KeyDirectory, MountedKeys, Periodic, Stop};
use storage::gateway::{idempotency, keys as key_rows, limits, redrive};
use storage::{Pool, StorageError};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::keys::LiveKeys;
use crate::observe;

/// Rows deleted by one statement.
const PURGE_ROWS: i64 = 5000;
/// How much longer than its window an answer is kept, so that complaints can be investigated.
const PURGE_SLACK_SECONDS: f64 = 3600.0;

/// Keeps [`LiveKeys`] up to date with the mounted secrets and the `api_keys` rows. If the rows cannot be read, the last
/// ones stay; a secret that is unmounted is dropped at once.
#[derive(Debug)]
pub struct FollowKeys {
    keys: Arc<LiveKeys>,
    mounted: watch::Receiver<Arc<MountedKeys>>,
    pool: Pool,
    rows: Option<KeyRows>,
    /// Keys whose expiry is shown.
    shown: BTreeSet<KeyId>,
}

#[derive(Debug)]
struct KeyRows {
    restrictions: Vec<key_rows::KeyRestriction>,
    prefixes: Vec<key_rows::TxRefPrefix>,
}

impl KeyRows {
    async fn read(pool: &Pool) -> Result<Self, StorageError> {
        let client = pool.get().await?;
        Ok(Self {
            restrictions: key_rows::key_restrictions(&client).await?,
            prefixes: key_rows::prefixes(&client).await?,
        })
    }
}

impl FollowKeys {
    pub fn new(keys: Arc<LiveKeys>, directory: &KeyDirectory, pool: Pool) -> Self {
        Self {
            keys,
            mounted: directory.subscribe(),
            pool,
            rows: None,
            shown: BTreeSet::new(),
        }
    }
}

impl Periodic for FollowKeys {
    type Error = StorageError;

    async fn run(&mut self) -> Result<(), StorageError> {
        let read = KeyRows::read(&self.pool).await;
        let read = read.map(|rows| self.rows = Some(rows));
        let secrets = self.mounted.borrow_and_update().clone();
        if let Some(rows) = &self.rows {
            self.keys
                .replace(&secrets, &rows.restrictions, rows.prefixes.clone());
            show_expiries(&self.keys, &mut self.shown);
        }
        read
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

/// Records when each key was last used: during a rotation this shows when the old key can be removed.
pub struct RecordUses {
    keys: Arc<LiveKeys>,
    clock: Arc<dyn Clock>,
    pool: Pool,
    /// Uses up to this time are written, unix seconds.
    written_to: i64,
    /// Uses of stored-answer keys that are not written yet.
    answered: BTreeMap<KeyId, OffsetDateTime>,
}

impl RecordUses {
    pub fn new(keys: Arc<LiveKeys>, clock: Arc<dyn Clock>, pool: Pool) -> Self {
        Self {
            keys,
            written_to: clock.unix_seconds(),
            clock,
            pool,
            answered: BTreeMap::new(),
        }
    }
}

impl Periodic for RecordUses {
    type Error = StorageError;

    async fn run(&mut self) -> Result<(), StorageError> {
        let now = self.clock.now();
        let answer_keys = self.keys.take_used_answer_keys();
        self.answered
            .extend(answer_keys.into_iter().map(|kid| (kid, now)));
        let mut uses = self.keys.used_since(self.written_to);
        uses.extend(self.answered.clone());
        uses.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if uses.is_empty() {
            return Ok(());
        }
        for (key, at) in &uses {
            observe::key_used(key, *at);
        }
        key_rows::record_uses(&self.pool.get().await?, &uses).await?;
        self.written_to = now.unix_timestamp();
        self.answered.clear();
        Ok(())
    }
}

/// Deletes expired answers, past daily totals and settled re-drive marks, a few rows at a time.
pub async fn purge(pool: &Pool, window_seconds: f64, stop: &Stop) -> Result<(), StorageError> {
    limits::purge(&pool.get().await?).await?;
    let expired_after = window_seconds + PURGE_SLACK_SECONDS;
    while !stop.is_requested() {
        let removed = idempotency::purge(&pool.get().await?, expired_after, PURGE_ROWS).await?;
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
pub async fn read_depths(broker: &Broker, depths: &watch::Sender<Option<Depths>>) -> Result<(), BrokerError> {
    let found = topology::depths(broker).await;
    let known = found.as_ref().ok().map(|all| {
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
    });
    depths.send_replace(known);
    found.map(drop)
}
