//! MACs over the answers and intents that the gateway stores. Their keys are not in the database, so whoever can write
//! rows can forge neither an answer nor an intent.

use domain::idempotency::{Fingerprint, IdempotencyKey};
use domain::ids::{IntegratorId, IntentId};
use domain::intent_mac::{length_prefixed, mac_input};
use domain::key_ring::KeyRing;
use domain::signature::{KeyId, Mac};
use storage::gateway::idempotency::StoredAnswer;
use storage::gateway::intents::MintIntent;
use time::OffsetDateTime;

/// No key is mounted to compute a MAC with.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no stored-answer key is mounted")]
pub struct NoKey;

/// An answer that has no MAC yet.
#[derive(Debug)]
pub struct UnsealedAnswer {
    pub integrator: IntegratorId,
    pub key: IdempotencyKey,
    pub fingerprint: Fingerprint,
    pub status: u16,
    pub location: Option<String>,
    pub body: bytes::Bytes,
}

impl UnsealedAnswer {
    pub fn seal(self, keys: &KeyRing) -> Result<StoredAnswer, NoKey> {
        let (kid, secret) = keys.current().ok_or(NoKey)?;
        let Self {
            integrator,
            key,
            fingerprint,
            status,
            location,
            body,
        } = self;
        let mut answer = StoredAnswer {
            integrator,
            key,
            fingerprint,
            status,
            location,
            body,
            mac_key_id: kid.clone(),
            mac: Mac::from_bytes([0; 32]),
        };
        answer.mac = secret.mac(&answer_string(&answer));
        Ok(answer)
    }
}

/// True if every column of the answer is as we wrote it. False if its key is no longer mounted.
pub fn is_genuine(answer: &StoredAnswer, keys: &KeyRing) -> bool {
    keys.get(&answer.mac_key_id)
        .is_some_and(|secret| secret.verify(&answer_string(answer), &answer.mac))
}

/// Computes the MAC that ties an intent to its integrator.
pub fn mac_intent(
    keys: &KeyRing,
    id: &IntentId,
    integrator: &IntegratorId,
    created_at: OffsetDateTime,
) -> Result<(KeyId, Mac), NoKey> {
    let (kid, secret) = keys.current().ok_or(NoKey)?;
    Ok((
        kid.clone(),
        secret.mac(&mac_input(kid, id, integrator, created_at)),
    ))
}

/// True if the row's id commits to its fields and its MAC is ours.
pub fn is_genuine_intent(row: &MintIntent, keys: &KeyRing) -> bool {
    let bytes = mac_input(&row.mac_key_id, &row.intent_id, &row.integrator, row.created_at);
    row.preimage.intent_id() == row.intent_id
        && keys
            .get(&row.mac_key_id)
            .is_some_and(|secret| secret.verify(&bytes, &row.mac))
}

fn answer_string(answer: &StoredAnswer) -> Vec<u8> {
    // An absent location differs from an empty one.
    let location = answer
        .location
        .as_deref()
        .map_or(String::new(), |text| format!("={text}"));
    length_prefixed(&[
        b"FR1-ANSWER",
        answer.mac_key_id.as_str().as_bytes(),
        answer.integrator.as_str().as_bytes(),
        answer.key.as_str().as_bytes(),
        answer.fingerprint.as_bytes(),
        &answer.status.to_be_bytes(),
        location.as_bytes(),
        &answer.body,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::signature::HmacSecret;

    fn keys() -> KeyRing {
        [("sk_1".parse().unwrap(), HmacSecret::from_bytes(&[5; 32]).unwrap())]
            .into_iter()
            .collect()
    }

    fn answer() -> StoredAnswer {
        let draft = UnsealedAnswer {
            integrator: "dev".parse().unwrap(),
            key: "0123456789abcdef".parse().unwrap(),
            fingerprint: Fingerprint::from_bytes([1; 32]),
            status: 201,
            location: Some("/mint-intents/0x1".into()),
            body: "{}".into(),
        };
        draft.seal(&keys()).unwrap()
    }

    #[test]
    fn each_changed_column_is_detected() {
        let base = answer();
        assert!(is_genuine(&base, &keys()));
        let changed = [
            StoredAnswer {
                integrator: "other".parse().unwrap(),
                ..base.clone()
            },
            StoredAnswer {
                key: "0123456789abcdeg".parse().unwrap(),
                ..base.clone()
            },
            StoredAnswer {
                fingerprint: Fingerprint::from_bytes([2; 32]),
                ..base.clone()
            },
            StoredAnswer {
                status: 200,
                ..base.clone()
            },
            StoredAnswer {
                location: None,
                ..base.clone()
            },
            StoredAnswer {
                body: "{ }".into(),
                ..base.clone()
            },
            StoredAnswer {
                mac_key_id: "sk_2".parse().unwrap(),
                ..base.clone()
            },
            StoredAnswer {
                mac: Mac::from_bytes([0; 32]),
                ..base
            },
        ];
        for answer in changed {
            assert!(!is_genuine(&answer, &keys()), "{answer:?}");
        }
    }

    #[test]
    fn without_a_key_nothing_is_stored() {
        let StoredAnswer {
            integrator,
            key,
            fingerprint,
            status,
            location,
            body,
            ..
        } = answer();
        let draft = UnsealedAnswer {
            integrator,
            key,
            fingerprint,
            status,
            location,
            body,
        };
        assert!(draft.seal(&KeyRing::default()).is_err());
    }
}
