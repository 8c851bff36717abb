//! Serde helper for `0x` hexadecimal hashes.

pub(super) mod hash {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub fn serialize<S: Serializer>(value: &Option<[u8; 32]>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(bytes) => s.serialize_some(&format!("0x{}", hex::encode(bytes))),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<[u8; 32]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else {
            return Ok(None);
        };
        let mut bytes = [0; 32];
        let digits = text
            .strip_prefix("0x")
            .filter(|t| !t.bytes().any(|b| b.is_ascii_uppercase()));
        digits
            .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
            .ok_or_else(|| {
                serde::de::Error::custom("a hash is 0x followed by 64 lower-case hexadecimal digits")
            })?;
        Ok(Some(bytes))
    }
}
