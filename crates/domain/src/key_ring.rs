//! The live secrets of one purpose. Purpose and owner come from the path of a secret; the database can only restrict
//! (docs/SIGNING.md).

use std::collections::{BTreeMap, BTreeSet};

use crate::signature::{HmacSecret, KeyId};

/// Secrets of one purpose by key id. Every key verifies; the active key with the greatest id in byte order signs. A
/// pending key signs only if there is no active one: other services may not have loaded it yet.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: BTreeMap<KeyId, HmacSecret>,
    pending: BTreeSet<KeyId>,
}

impl KeyRing {
    pub fn get(&self, key_id: &KeyId) -> Option<&HmacSecret> {
        self.keys.get(key_id)
    }

    /// The key that signs.
    pub fn current(&self) -> Option<(&KeyId, &HmacSecret)> {
        let active = self.keys.iter().rev().find(|(id, _)| !self.pending.contains(id));
        active.or_else(|| self.keys.last_key_value())
    }

    pub fn key_ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.keys()
    }

    /// Adds a key, or replaces its secret.
    pub fn insert(&mut self, key_id: KeyId, secret: HmacSecret) {
        self.keys.insert(key_id, secret);
    }

    /// Lets a key sign only if no other key can.
    pub fn mark_pending(&mut self, key_id: KeyId) {
        self.pending.insert(key_id);
    }
}

impl FromIterator<(KeyId, HmacSecret)> for KeyRing {
    fn from_iter<I: IntoIterator<Item = (KeyId, HmacSecret)>>(keys: I) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            pending: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_id_signs_and_all_verify() {
        let secret = HmacSecret::from_bytes(&[7; 32]).unwrap();
        let ids = ["pk_2026_01", "pk_2026_02"].map(|id| id.parse::<KeyId>().unwrap());
        let ring: KeyRing = ids.iter().map(|id| (id.clone(), secret.clone())).collect();
        assert_eq!(ring.current().map(|(id, _)| id), Some(&ids[1]));
        assert!(ids.iter().all(|id| ring.get(id).is_some()));
        assert!(ring.key_ids().eq(&ids));
    }

    #[test]
    fn a_pending_key_verifies_and_signs_only_if_there_is_no_active_one() {
        let secret = HmacSecret::from_bytes(&[7; 32]).unwrap();
        let ids = ["pk_2026_01", "pk_2026_02"].map(|id| id.parse::<KeyId>().unwrap());
        let mut ring = KeyRing::default();
        ring.insert(ids[1].clone(), secret.clone());
        ring.mark_pending(ids[1].clone());
        assert_eq!(ring.current().map(|(id, _)| id), Some(&ids[1]));
        ring.insert(ids[0].clone(), secret);
        assert_eq!(ring.current().map(|(id, _)| id), Some(&ids[0]));
        assert!(ring.get(&ids[1]).is_some());
    }
}
