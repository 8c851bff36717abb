//! What operators allow a shared key.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray, IntoStaticStr, Display, EnumString)]
#[strum(const_into_str, serialize_all = "snake_case", parse_err_ty = UnknownKeyState, parse_err_fn = UnknownKeyState::new)]
pub enum KeyState {
    Active,
    /// An integrator's key that signs no more.
    Revoked,
    /// An M-Pesa key that signs no more; what it signed stays good.
    Retired,
    /// Somebody else who has the secret could have signed: nothing follows from its signatures any more.
    Compromised,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a state of a key")]
pub struct UnknownKeyState;

impl UnknownKeyState {
    const fn new(_: &str) -> Self {
        Self
    }
}

impl KeyState {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

    /// In SQL and answers.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// A decision may follow from what it signed earlier.
    pub const fn is_trusted(self) -> bool {
        matches!(self, Self::Active | Self::Retired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_retired_key_signed_stays_good() {
        use KeyState as K;
        let table = [
            (K::Active, "active", true),
            (K::Revoked, "revoked", false),
            (K::Retired, "retired", true),
            (K::Compromised, "compromised", false),
        ];
        assert_eq!(table.map(|(state, ..)| state), K::ALL);
        for (state, name, keeps) in table {
            assert_eq!((state.name(), name.parse()), (name, Ok(state)));
            assert_eq!(state.is_trusted(), keeps, "{name}");
        }
        assert_eq!("".parse::<K>(), Err(UnknownKeyState));
    }
}
