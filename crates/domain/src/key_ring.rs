//! Which secrets are live: purpose and owner come from where a secret lies, the database can only narrow
//! (SPEC section 4.1).

use std::collections::BTreeMap;

use crate::signature::{HmacSecret, KeyId};

/// Secrets of one purpose by key id. The greatest id in byte order signs, every one verifies.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(BTreeMap<KeyId, HmacSecret>);

impl KeyRing {
    pub fn get(&self, key_id: &KeyId) -> Option<&HmacSecret> {
        self.0.get(key_id)
    }

    /// The key that signs new things.
    pub fn current(&self) -> Option<(&KeyId, &HmacSecret)> {
        self.0.last_key_value()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn key_ids(&self) -> impl Iterator<Item = &KeyId> {
        self.0.keys()
    }
}

impl FromIterator<(KeyId, HmacSecret)> for KeyRing {
    fn from_iter<I: IntoIterator<Item = (KeyId, HmacSecret)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
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
}
