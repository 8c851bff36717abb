//! Which secrets are live: purpose and owner come from where a secret lies, the database can only narrow
//! (docs/SIGNING.md).

use std::collections::{BTreeMap, BTreeSet};

use crate::signature::{HmacSecret, KeyId};

/// Secrets of one purpose by key id. The greatest id in byte order signs, every one verifies. A young key only verifies
/// where there is an older one: what it signed would be strange to whoever has not heard of it yet.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: BTreeMap<KeyId, HmacSecret>,
    young: BTreeSet<KeyId>,
}

impl KeyRing {
    pub fn get(&self, key_id: &KeyId) -> Option<&HmacSecret> {
        self.keys.get(key_id)
    }

    /// The key that signs new things.
    pub fn current(&self) -> Option<(&KeyId, &HmacSecret)> {
        let grown = self.keys.iter().rev().find(|(id, _)| !self.young.contains(id));
        grown.or_else(|| self.keys.last_key_value())
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn key_ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.keys()
    }

    /// Adds a key, or replaces its secret.
    pub fn insert(&mut self, key_id: KeyId, secret: HmacSecret) {
        self.keys.insert(key_id, secret);
    }

    /// This one does not sign yet, if another can.
    pub fn keep_young(&mut self, key_id: KeyId) {
        self.young.insert(key_id);
    }
}

impl FromIterator<(KeyId, HmacSecret)> for KeyRing {
    fn from_iter<I: IntoIterator<Item = (KeyId, HmacSecret)>>(keys: I) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            young: BTreeSet::new(),
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
    }

    #[test]
    fn a_young_key_verifies_and_signs_only_where_there_is_no_other() {
        let secret = HmacSecret::from_bytes(&[7; 32]).unwrap();
        let ids = ["pk_2026_01", "pk_2026_02"].map(|id| id.parse::<KeyId>().unwrap());
        let mut ring = KeyRing::default();
        ring.insert(ids[1].clone(), secret.clone());
        ring.keep_young(ids[1].clone());
        assert_eq!(ring.current().map(|(id, _)| id), Some(&ids[1]));
        ring.insert(ids[0].clone(), secret);
        assert_eq!(ring.current().map(|(id, _)| id), Some(&ids[0]));
        assert!(ring.get(&ids[1]).is_some());
    }
}
