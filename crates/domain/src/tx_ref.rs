//! The payment reference that ties an intent to M-Pesa (docs/PROTOCOL.md).

use crate::text_type::text_type;

text_type!(
    /// 1..31 bytes of `[A-Za-z0-9._:/-]`; on chain a `bytes32`, right-padded with zeros.
    TxRef,
    TxRefError,
    1..=TxRef::MAX_BYTES,
    |b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b),
    "a txRef is 1 to 31 characters of A-Z a-z 0-9 . _ : / -"
);

impl TxRef {
    pub const MAX_BYTES: usize = 31;

    /// The on-chain form: right-padded with zeros.
    pub fn to_word(&self) -> [u8; 32] {
        let mut word = [0; 32];
        word[..self.0.len()].copy_from_slice(self.0.as_bytes());
        word
    }

    /// Reads the on-chain form back; anything that we would not have written is refused.
    pub fn from_word(word: &[u8; 32]) -> Result<Self, TxRefError> {
        let end = word.iter().position(|b| *b == 0).ok_or(TxRefError)?;
        if word[end..].iter().any(|b| *b != 0) {
            return Err(TxRefError);
        }
        std::str::from_utf8(&word[..end]).map_err(|_| TxRefError)?.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn length_and_alphabet_are_enforced() {
        assert!("TX0000000001".parse::<TxRef>().is_ok());
        assert!("a".repeat(31).parse::<TxRef>().is_ok());
        for bad in [
            String::new(),
            "a".repeat(32),
            "a b".into(),
            "a\0".into(),
            "é".into(),
            "a\n".into(),
        ] {
            assert_eq!(bad.parse::<TxRef>(), Err(TxRefError), "{bad:?}");
        }
    }

    #[test]
    fn a_word_with_bytes_after_the_padding_is_refused() {
        let mut word = "AB".parse::<TxRef>().unwrap().to_word();
        word[5] = b'C';
        assert_eq!(TxRef::from_word(&word), Err(TxRefError));
    }

    proptest! {
        #[test]
        fn the_word_reads_back(text in "[A-Za-z0-9._:/-]{1,31}") {
            let tx_ref: TxRef = text.parse().unwrap();
            prop_assert_eq!(TxRef::from_word(&tx_ref.to_word()).unwrap(), tx_ref);
        }

        #[test]
        fn no_input_panics(text in ".{0,60}", word in any::<[u8; 32]>()) {
            let _ = (text.parse::<TxRef>(), TxRef::from_word(&word));
        }
    }
}
