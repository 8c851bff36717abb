//! The keys that are currently valid: mounted secrets, restricted by `api_keys` rows.
//!
//! The path of a secret determines its purpose and owner; a row can only restrict it. Snapshots are replaced as a whole, so
//! that a request sees one consistent state.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::ids::IntegratorId;
use domain::key_ring::KeyRing;
use domain::key_state::KeyState;
use domain::signature::{HmacSecret, KeyId};
use domain::tx_ref::TxRef;
use parking_lot::{Mutex, RwLock};
use runtime::MountedKeys as Mounted;
use storage::gateway::keys::{KeyRestriction, TxRefPrefix};
use time::OffsetDateTime;

/// Resolution of a key's last use, in seconds.
const USE_RESOLUTION: i64 = 10;

/// A key with everything that is needed to verify a signature.
#[derive(Debug)]
pub struct LiveKey {
    pub id: KeyId,
    secret: HmacSecret,
    narrowing: Option<KeyRestriction>,
    last_used: Arc<AtomicI64>,
}

impl LiveKey {
    pub fn secret(&self) -> &HmacSecret {
        &self.secret
    }

    /// Whether the key is active and within its dates.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.narrowing.as_ref().is_none_or(|row| {
            row.state == KeyState::Active
                && row.not_before.is_none_or(|from| from <= now)
                && row.not_after.is_none_or(|until| now < until)
        })
    }

    /// When the key expires; `None` if it has no end or is not active.
    pub fn expires(&self) -> Option<OffsetDateTime> {
        let row = self.narrowing.as_ref()?;
        row.not_after.filter(|_| row.state == KeyState::Active)
    }

    pub fn record_use(&self, now: i64) {
        if now - self.last_used.load(Ordering::Relaxed) >= USE_RESOLUTION {
            self.last_used.store(now, Ordering::Relaxed);
        }
    }
}

/// A key of an integrator.
#[derive(Debug)]
pub struct IntegratorKey {
    pub key: LiveKey,
    pub owner: IntegratorId,
}

/// The registered txRef prefixes. The owner of the longest matching prefix may use a txRef.
#[derive(Debug, Default)]
pub struct Prefixes {
    owners: HashMap<String, IntegratorId>,
    /// The lengths of all prefixes, longest first.
    lengths: Vec<usize>,
}

impl Prefixes {
    pub fn new(rows: Vec<TxRefPrefix>) -> Self {
        let mut lengths: Vec<usize> = rows.iter().map(|row| row.prefix.len()).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        let owners = rows.into_iter().map(|row| (row.prefix, row.owner)).collect();
        Self { owners, lengths }
    }

    pub fn owner(&self, tx_ref: &TxRef) -> Option<&IntegratorId> {
        let text = tx_ref.as_str();
        let mut candidates = self.lengths.iter().filter_map(|length| text.get(..*length));
        candidates.find_map(|prefix| self.owners.get(prefix))
    }
}

/// The valid keys and prefixes at one moment.
#[derive(Debug, Default)]
pub struct KeySnapshot {
    integrators: HashMap<KeyId, Arc<IntegratorKey>>,
    mpesa: HashMap<KeyId, Arc<LiveKey>>,
    pub answers: KeyRing,
    pub prefixes: Prefixes,
    complete: bool,
}

impl KeySnapshot {
    /// False until the `api_keys` rows were read for the first time.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    pub fn integrator(&self, id: &KeyId) -> Option<&Arc<IntegratorKey>> {
        self.integrators.get(id)
    }

    pub fn mpesa(&self, id: &KeyId) -> Option<&Arc<LiveKey>> {
        self.mpesa.get(id)
    }

    /// Every key with which clients sign.
    pub fn keys(&self) -> impl Iterator<Item = &LiveKey> {
        let integrators = self.integrators.values().map(|key| &key.key);
        integrators.chain(self.mpesa.values().map(Arc::as_ref))
    }
}

/// The current snapshot, and the last use of each key.
#[derive(Debug, Default)]
pub struct LiveKeys {
    current: RwLock<Arc<KeySnapshot>>,
    uses: RwLock<HashMap<KeyId, Arc<AtomicI64>>>,
    /// Stored-answer keys that computed or verified a MAC since the last call of `take_used_answer_keys`.
    used_answer_keys: Mutex<BTreeSet<KeyId>>,
}

/// A key id that two integrators share is accepted from neither.
fn forget_shared(keys: &mut HashMap<KeyId, Arc<IntegratorKey>>, shared: &HashSet<KeyId>) {
    for id in shared {
        tracing::error!(%id, "two integrators have a key with this id: neither is accepted");
        keys.remove(id);
    }
}

impl LiveKeys {
    pub fn snapshot(&self) -> Arc<KeySnapshot> {
        self.current.read().clone()
    }

    /// Replaces the snapshot: mounted secrets, restricted by rows.
    pub fn replace(&self, mounted: &Mounted, rows: &[KeyRestriction], prefixes: Vec<TxRefPrefix>) {
        let narrowing = |id: &KeyId| rows.iter().find(|row| row.key_id == *id).cloned();
        let live = |id: &KeyId, secret: &HmacSecret| LiveKey {
            id: id.clone(),
            secret: secret.clone(),
            narrowing: narrowing(id),
            last_used: self.last_use(id),
        };
        let mut integrators = HashMap::new();
        let mut shared = HashSet::new();
        for (owner, ring) in &mounted.integrators {
            for (id, secret) in ring.key_ids().filter_map(|id| Some((id, ring.get(id)?))) {
                let key = Arc::new(IntegratorKey {
                    key: live(id, secret),
                    owner: owner.clone(),
                });
                if integrators.insert(id.clone(), key).is_some() {
                    shared.insert(id.clone());
                }
            }
        }
        forget_shared(&mut integrators, &shared);
        let mpesa = |id: &KeyId| Some((id.clone(), Arc::new(live(id, mounted.mpesa.get(id)?))));
        let snapshot = KeySnapshot {
            integrators,
            mpesa: mounted.mpesa.key_ids().filter_map(mpesa).collect(),
            answers: mounted.stored_answers.clone(),
            prefixes: Prefixes::new(prefixes),
            complete: true,
        };
        *self.current.write() = Arc::new(snapshot);
    }

    /// Records that a stored-answer key computed or verified a MAC.
    pub fn record_answer_key_use(&self, id: &KeyId) {
        let mut answered = self.used_answer_keys.lock();
        if !answered.contains(id) {
            answered.insert(id.clone());
        }
    }

    pub fn take_used_answer_keys(&self) -> BTreeSet<KeyId> {
        std::mem::take(&mut *self.used_answer_keys.lock())
    }

    fn last_use(&self, id: &KeyId) -> Arc<AtomicI64> {
        let mut uses = self.uses.write();
        uses.entry(id.clone()).or_default().clone()
    }

    /// The keys used at or after `since` (unix seconds), ordered by id.
    pub fn used_since(&self, since: i64) -> Vec<(KeyId, OffsetDateTime)> {
        let uses = self.uses.read();
        let mut found: Vec<_> = uses
            .iter()
            .filter_map(|(id, at)| {
                let at = at.load(Ordering::Relaxed);
                let time = OffsetDateTime::from_unix_timestamp(at).ok()?;
                (at > 0 && at >= since).then(|| (id.clone(), time))
            })
            .collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> HmacSecret {
        HmacSecret::from_bytes(&[7; 32]).unwrap()
    }

    fn row(state: KeyState, not_before: Option<i64>, not_after: Option<i64>) -> KeyRestriction {
        let at = |s: Option<i64>| s.map(|s| OffsetDateTime::from_unix_timestamp(s).unwrap());
        KeyRestriction {
            key_id: "ik".parse().unwrap(),
            not_before: at(not_before),
            not_after: at(not_after),
            state,
        }
    }

    #[test]
    fn a_key_with_two_owners_is_accepted_for_neither() {
        let keys = LiveKeys::default();
        let ring = |ids: &[&str]| ids.iter().map(|id| (id.parse().unwrap(), secret())).collect();
        let mounted = Mounted {
            integrators: [
                ("acme".parse().unwrap(), ring(&["ik", "ik_acme"])),
                ("dev".parse().unwrap(), ring(&["ik", "ik_dev"])),
                ("zeta".parse().unwrap(), ring(&["ik"])),
            ]
            .into(),
            ..Mounted::default()
        };
        keys.replace(&mounted, &[], Vec::new());
        let known = |id: &str| keys.snapshot().integrator(&id.parse().unwrap()).is_some();
        assert_eq!(["ik", "ik_acme", "ik_dev"].map(known), [false, true, true]);
    }

    fn live_at(rows: &[KeyRestriction], now: i64) -> bool {
        let keys = LiveKeys::default();
        let id: KeyId = "ik".parse().unwrap();
        let mounted = Mounted {
            integrators: [(
                "dev".parse().unwrap(),
                [(id.clone(), secret())].into_iter().collect(),
            )]
            .into(),
            ..Mounted::default()
        };
        keys.replace(&mounted, rows, Vec::new());
        let key = keys.snapshot().integrator(&id).unwrap().clone();
        key.key.is_live(OffsetDateTime::from_unix_timestamp(now).unwrap())
    }

    #[test]
    fn rows_can_only_restrict() {
        assert!(live_at(&[], 100));
        assert!(live_at(&[row(KeyState::Active, Some(100), Some(101))], 100));
        assert!(!live_at(&[row(KeyState::Active, Some(101), None)], 100));
        assert!(!live_at(&[row(KeyState::Active, None, Some(100))], 100));
        for state in KeyState::ALL
            .into_iter()
            .filter(|state| *state != KeyState::Active)
        {
            assert!(!live_at(&[row(state, None, None)], 100), "{state}");
        }
    }

    #[test]
    fn the_longest_prefix_owns_a_tx_ref() {
        let prefix = |prefix: &str, owner: &str| TxRefPrefix {
            prefix: prefix.to_owned(),
            owner: owner.parse().unwrap(),
        };
        let prefixes = Prefixes::new(vec![
            prefix("", "dev"),
            prefix("AB", "acme"),
            prefix("ABC", "beta"),
        ]);
        let owner = |text: &str| prefixes.owner(&text.parse().unwrap()).unwrap().to_string();
        assert_eq!(owner("X1"), "dev");
        assert_eq!(owner("AB1"), "acme");
        assert_eq!(owner("ABC1"), "beta");
        assert_eq!(owner("A"), "dev");
        assert_eq!(
            Prefixes::new(vec![prefix("Z", "dev")]).owner(&"A".parse().unwrap()),
            None
        );
    }

    #[test]
    fn the_last_use_is_coarse_and_survives_a_reload() {
        let keys = LiveKeys::default();
        let id: KeyId = "ik".parse().unwrap();
        let mounted = Mounted {
            integrators: [(
                "dev".parse().unwrap(),
                [(id.clone(), secret())].into_iter().collect(),
            )]
            .into(),
            ..Mounted::default()
        };
        for now in [1000, 1001, 1009] {
            keys.replace(&mounted, &[], Vec::new());
            keys.snapshot().integrator(&id).unwrap().key.record_use(now);
        }
        let used = keys.used_since(1);
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].1.unix_timestamp(), 1000);
        assert!(keys.used_since(1001).is_empty());
    }
}
