//! Which signers share the work, as parts of statements: those that hold a lease, and that no operator drains (ADR 0009).

use const_format::concatcp;

/// The signer `s` holds its lease, and no operator drains it.
pub(super) const SHARES_WORK: &str = concatcp!("s.lease_until >= clock_timestamp() and ", NOT_DRAINED);
/// `o` is what an operator asked of the signer, if anything.
const NOT_DRAINED: &str = "coalesce(o.state, 'active') = 'active'";
/// States in which a transaction can be mined, or mined again after a fork: its signer still holds its intents.
pub(super) const MINED_OR_SIGNED: &str = "('signed', 'mined')";
