//! What a node's error for a raw transaction means: a table, with a test row for each known message of five nodes.
//!
//! Order matters: the more specific text stands first. No match means *unknown*: the bytes may be in some pool.

/// Why a node rejected a transaction. A hint only: the chain's state decides what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The nonce is used: by this very transaction, by its replacement, or by a transaction that is not ours.
    NonceTooLow,
    /// A lower nonce is missing.
    NonceTooHigh,
    /// The pool holds a transaction of this nonce, and this one does not pay enough more to replace it.
    ReplacementUnderpriced,
    /// Fees below the node's minimum, or below the base fee.
    FeeTooLow,
    /// Fees above the node's own safety cap.
    FeeTooHigh,
    InsufficientFunds,
    PoolFull,
    /// Gas limit above the block's or the transaction cap, or below the intrinsic cost.
    GasLimit,
    /// Wrong chain, signature, size or type: these bytes can never be mined here.
    Invalid,
}

impl Rejection {
    /// Metric label.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::NonceTooLow => "nonce_too_low",
            Self::NonceTooHigh => "nonce_too_high",
            Self::ReplacementUnderpriced => "replacement_underpriced",
            Self::FeeTooLow => "fee_too_low",
            Self::FeeTooHigh => "fee_too_high",
            Self::InsufficientFunds => "insufficient_funds",
            Self::PoolFull => "pool_full",
            Self::GasLimit => "gas_limit",
            Self::Invalid => "invalid",
        }
    }
}

/// The meaning of an error that a node returned for a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The node has these very bytes.
    AlreadyKnown,
    Rejected(Rejection),
}

use SendErrorKind::{AlreadyKnown, Rejected};

/// Parts of lower-cased messages.
const TABLE: &[(&str, SendErrorKind)] = &[
    ("already known", AlreadyKnown),
    ("alreadyknown", AlreadyKnown),
    ("already imported", AlreadyKnown),
    ("existing tx with same hash", AlreadyKnown),
    ("existing txn with same hash", AlreadyKnown),
    ("known transaction:", AlreadyKnown),
    (
        "replacement transaction underpriced",
        Rejected(Rejection::ReplacementUnderpriced),
    ),
    (
        "could not replace existing",
        Rejected(Rejection::ReplacementUnderpriced),
    ),
    (
        "insufficient gas price to replace existing",
        Rejected(Rejection::ReplacementUnderpriced),
    ),
    (
        "replacementnotallowed",
        Rejected(Rejection::ReplacementUnderpriced),
    ),
    (
        "future transaction tries to replace pending",
        Rejected(Rejection::ReplacementUnderpriced),
    ),
    (
        "replaced by transaction with higher tip",
        Rejected(Rejection::ReplacementUnderpriced),
    ),
    ("nonce too low", Rejected(Rejection::NonceTooLow)),
    ("oldnonce", Rejected(Rejection::NonceTooLow)),
    ("nonce is not consistent", Rejected(Rejection::NonceTooLow)),
    ("nonce too high", Rejected(Rejection::NonceTooHigh)),
    ("noncetoohigh", Rejected(Rejection::NonceTooHigh)),
    ("gapped-nonce", Rejected(Rejection::NonceTooHigh)),
    ("nonce too far in future", Rejected(Rejection::NonceTooHigh)),
    ("noncegap", Rejected(Rejection::NonceTooHigh)),
    ("nonce gap", Rejected(Rejection::NonceTooHigh)),
    ("noncetoofarinfuture", Rejected(Rejection::NonceTooHigh)),
    ("insufficient funds", Rejected(Rejection::InsufficientFunds)),
    ("insufficientfunds", Rejected(Rejection::InsufficientFunds)),
    ("exceeds the configured cap", Rejected(Rejection::FeeTooHigh)),
    ("sub-pool is full", Rejected(Rejection::PoolFull)),
    ("txpool is full", Rejected(Rejection::PoolFull)),
    ("account limit exceeded", Rejected(Rejection::PoolFull)),
    ("transaction limit reached", Rejected(Rejection::PoolFull)),
    ("spammer", Rejected(Rejection::PoolFull)),
    // The pool holds a transaction of another type from this sender.
    ("address already reserved", Rejected(Rejection::PoolFull)),
    ("pending transaction type conflict", Rejected(Rejection::PoolFull)),
    ("delegation authority has pending", Rejected(Rejection::PoolFull)),
    ("feetoolowtocompete", Rejected(Rejection::PoolFull)),
    ("less than block base fee", Rejected(Rejection::FeeTooLow)),
    (
        "priority fee below minimum required",
        Rejected(Rejection::FeeTooLow),
    ),
    ("fee too low", Rejected(Rejection::FeeTooLow)),
    ("feetoolow", Rejected(Rejection::FeeTooLow)),
    ("underpriced", Rejected(Rejection::FeeTooLow)),
    ("exceeds block gas limit", Rejected(Rejection::GasLimit)),
    ("gaslimitexceeded", Rejected(Rejection::GasLimit)),
    ("gas limit too high", Rejected(Rejection::GasLimit)),
    ("gas limit is too high", Rejected(Rejection::GasLimit)),
    (
        "gas limit is greater than the block gas limit",
        Rejected(Rejection::GasLimit),
    ),
    ("exceeds max transaction gas limit", Rejected(Rejection::GasLimit)),
    ("txgaslimitcapexceeded", Rejected(Rejection::GasLimit)),
    ("gas uint64 overflow", Rejected(Rejection::GasLimit)),
    ("gasuintoverflow", Rejected(Rejection::GasLimit)),
    ("gas limit is greater than the cap", Rejected(Rejection::GasLimit)),
    ("intrinsic gas too", Rejected(Rejection::GasLimit)),
    ("intrinsicgas", Rejected(Rejection::GasLimit)),
    ("gas limit reached", Rejected(Rejection::GasLimit)),
    (
        "max priority fee per gas higher than max fee",
        Rejected(Rejection::Invalid),
    ),
    ("invalid sender", Rejected(Rejection::Invalid)),
    ("failedtoresolvesender", Rejected(Rejection::Invalid)),
    ("invalid chain id", Rejected(Rejection::Invalid)),
    ("chain id mismatch", Rejected(Rejection::Invalid)),
    ("incompatible eip-155", Rejected(Rejection::Invalid)),
    ("oversized data", Rejected(Rejection::Invalid)),
    ("maxtxsizeexceeded", Rejected(Rejection::Invalid)),
    ("rlptoolong", Rejected(Rejection::Invalid)),
    ("transaction type not supported", Rejected(Rejection::Invalid)),
    (
        "failed to decode signed transaction",
        Rejected(Rejection::Invalid),
    ),
    ("invalid transaction signature", Rejected(Rejection::Invalid)),
    ("invalid transaction v, r, s", Rejected(Rejection::Invalid)),
    ("invalidtxsignature", Rejected(Rejection::Invalid)),
    ("invalidtxchainid", Rejected(Rejection::Invalid)),
    ("invalidtxtype", Rejected(Rejection::Invalid)),
    ("invalidmaxpriorityfeepergas", Rejected(Rejection::Invalid)),
    ("failed to recover sender", Rejected(Rejection::Invalid)),
    ("sender not an eoa", Rejected(Rejection::Invalid)),
    ("sender is not an eoa", Rejected(Rejection::Invalid)),
    ("nonce has max value", Rejected(Rejection::Invalid)),
    ("per gas higher than 2^256-1", Rejected(Rejection::Invalid)),
    ("max initcode size exceeded", Rejected(Rejection::Invalid)),
    ("initcode too large", Rejected(Rejection::Invalid)),
    ("negative value", Rejected(Rejection::Invalid)),
    ("transaction cost overflow", Rejected(Rejection::Invalid)),
    ("transaction invalid", Rejected(Rejection::Invalid)),
    ("transaction too large", Rejected(Rejection::Invalid)),
    ("unsupported transaction type", Rejected(Rejection::Invalid)),
    ("transaction type is not activated", Rejected(Rejection::Invalid)),
    (
        "not supported by the current hardfork",
        Rejected(Rejection::Invalid),
    ),
    ("only replay-protected", Rejected(Rejection::Invalid)),
    ("typed transaction too short", Rejected(Rejection::Invalid)),
    ("failed to decode transaction", Rejected(Rejection::Invalid)),
    ("transaction data is empty", Rejected(Rejection::Invalid)),
    ("empty transaction data", Rejected(Rejection::Invalid)),
    ("rlp: ", Rejected(Rejection::Invalid)),
];

/// `None` for an unknown message.
pub fn classify(message: &str) -> Option<SendErrorKind> {
    let message = message.to_lowercase();
    TABLE
        .iter()
        .find(|(part, _)| message.contains(part))
        .map(|(_, refusal)| *refusal)
}

#[cfg(test)]
mod tests;
