//! The input of the MAC of a stored intent: integrator, key id, time of creation and intent id, which commits to the
//! other fields. The gateway computes and checks the MAC; an operator renews it before its key is removed.

use time::OffsetDateTime;

use crate::ids::{IntegratorId, IntentId};
use crate::signature::KeyId;

/// All fields, each with its length in front.
pub fn mac_input(
    kid: &KeyId,
    id: &IntentId,
    integrator: &IntegratorId,
    created_at: OffsetDateTime,
) -> Vec<u8> {
    // PostgreSQL keeps microseconds.
    let micros = created_at.unix_timestamp_nanos() / 1000;
    length_prefixed(&[
        b"FR1-INTENT",
        kid.as_str().as_bytes(),
        id.as_bytes(),
        integrator.as_str().as_bytes(),
        &micros.to_be_bytes(),
    ])
}

/// Joins fields so that no two lists give the same bytes.
pub fn length_prefixed(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(fields.iter().map(|field| field.len() + 8).sum());
    for field in fields {
        out.extend_from_slice(&(field.len() as u64).to_be_bytes());
        out.extend_from_slice(field);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_and_its_length_change_the_mac() {
        let at = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
        let text = |kid: &str, integrator: &str, at| {
            let id = IntentId::from_bytes([1; 32]);
            mac_input(&kid.parse().unwrap(), &id, &integrator.parse().unwrap(), at)
        };
        let base = text("sk", "acme", at);
        assert_ne!(base, text("sk2", "acme", at));
        assert_ne!(base, text("sk", "acm", at));
        assert_ne!(base, text("sk", "acme", at + time::Duration::microseconds(1)));
        // Finer than the database keeps.
        assert_eq!(base, text("sk", "acme", at + time::Duration::nanoseconds(999)));
        assert_ne!(length_prefixed(&[b"ab", b"c"]), length_prefixed(&[b"a", b"bc"]));
    }
}
