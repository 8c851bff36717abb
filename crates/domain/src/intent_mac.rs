//! What the MAC of a stored intent is taken over: whose it is, under which key, since when. The other fields are in its
//! id. The gateway makes and checks it; an operator renews it when the key is to go.

use time::OffsetDateTime;

use crate::ids::{IntegratorId, IntentId};
use crate::signature::KeyId;

/// Every field with its length in front.
pub fn mac_text(
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

/// No two lists of fields share a text.
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
    fn every_field_and_every_border_counts() {
        let at = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
        let text = |kid: &str, integrator: &str, at| {
            let id = IntentId::from_bytes([1; 32]);
            mac_text(&kid.parse().unwrap(), &id, &integrator.parse().unwrap(), at)
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
