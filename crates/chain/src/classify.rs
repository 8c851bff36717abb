//! What a node's refusal of a raw transaction means: a table, with a test row for each message we know.
//!
//! Order matters: the more specific text stands first. No match means *unknown*: the bytes may be in some pool.

/// Why a node would not take a transaction. Advice only: storage on chain decides what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The nonce is used: by this very transaction, a replacement, or a stranger.
    NonceTooLow,
    /// A gap lies before it.
    NonceTooHigh,
    /// Another transaction of this nonce is in the pool, and pays too much to be replaced by this one.
    ReplacementUnderpriced,
    /// Fees below what the node takes, or below the base fee.
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

/// What a refusal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node has these very bytes.
    AlreadyKnown,
    Rejected(Rejection),
}

use Refusal::{AlreadyKnown, Rejected};

/// Parts of lower-cased messages.
const TABLE: &[(&str, Refusal)] = &[
    ("already known", AlreadyKnown),
    ("alreadyknown", AlreadyKnown),
    ("already imported", AlreadyKnown),
    ("existing tx with same hash", AlreadyKnown),
    ("known transaction", AlreadyKnown),
    (
        "replacement transaction underpriced",
        Rejected(Rejection::ReplacementUnderpriced),
    ),
    (
        "could not replace existing",
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
    ("noncegap", Rejected(Rejection::NonceTooHigh)),
    ("nonce gap", Rejected(Rejection::NonceTooHigh)),
    ("noncetoofarinfuture", Rejected(Rejection::NonceTooHigh)),
    ("insufficient funds", Rejected(Rejection::InsufficientFunds)),
    ("insufficientfunds", Rejected(Rejection::InsufficientFunds)),
    ("insufficient balance", Rejected(Rejection::InsufficientFunds)),
    ("exceeds the configured cap", Rejected(Rejection::FeeTooHigh)),
    ("sub-pool is full", Rejected(Rejection::PoolFull)),
    ("txpool is full", Rejected(Rejection::PoolFull)),
    ("transaction pool is full", Rejected(Rejection::PoolFull)),
    ("account limit exceeded", Rejected(Rejection::PoolFull)),
    ("transaction limit reached", Rejected(Rejection::PoolFull)),
    ("feetoolowtocompete", Rejected(Rejection::PoolFull)),
    ("less than block base fee", Rejected(Rejection::FeeTooLow)),
    ("max fee per gas less than", Rejected(Rejection::FeeTooLow)),
    ("fee too low", Rejected(Rejection::FeeTooLow)),
    ("feetoolow", Rejected(Rejection::FeeTooLow)),
    ("underpriced", Rejected(Rejection::FeeTooLow)),
    ("exceeds block gas limit", Rejected(Rejection::GasLimit)),
    ("gaslimitexceeded", Rejected(Rejection::GasLimit)),
    ("gas limit too high", Rejected(Rejection::GasLimit)),
    ("gas limit is greater than the cap", Rejected(Rejection::GasLimit)),
    ("intrinsic gas too", Rejected(Rejection::GasLimit)),
    ("intrinsicgas", Rejected(Rejection::GasLimit)),
    ("intrinsic gas", Rejected(Rejection::GasLimit)),
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
    ("incompatible chain id", Rejected(Rejection::Invalid)),
    ("oversized data", Rejected(Rejection::Invalid)),
    ("maxtxsizeexceeded", Rejected(Rejection::Invalid)),
    ("rlptoolong", Rejected(Rejection::Invalid)),
    ("transaction type not supported", Rejected(Rejection::Invalid)),
    (
        "failed to decode signed transaction",
        Rejected(Rejection::Invalid),
    ),
    ("invalid signature", Rejected(Rejection::Invalid)),
];

/// `None`: a message we do not know.
pub fn classify(message: &str) -> Option<Refusal> {
    let message = message.to_lowercase();
    TABLE
        .iter()
        .find(|(part, _)| message.contains(part))
        .map(|(_, refusal)| *refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_message_of_every_known_node() {
        use Rejection::{
            FeeTooHigh, FeeTooLow, GasLimit, InsufficientFunds, Invalid, NonceTooHigh, NonceTooLow, PoolFull,
            ReplacementUnderpriced,
        };
        let known = None;
        let rows: &[(&str, &str, Option<Rejection>)] = &[
            ("anvil", "transaction already imported", known),
            ("anvil", "[0x1234] Already imported", known),
            ("anvil", "nonce too low", Some(NonceTooLow)),
            (
                "anvil",
                "replacement transaction underpriced",
                Some(ReplacementUnderpriced),
            ),
            (
                "anvil",
                "Insufficient funds for gas * price + value",
                Some(InsufficientFunds),
            ),
            (
                "anvil",
                "max fee per gas less than block base fee",
                Some(FeeTooLow),
            ),
            (
                "anvil",
                "intrinsic gas too low -- CallGasCostMoreThanGasLimit",
                Some(GasLimit),
            ),
            (
                "anvil",
                "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit",
                Some(GasLimit),
            ),
            ("anvil", "Chain Id mismatch", Some(Invalid)),
            (
                "anvil",
                "Incompatible EIP-155 transaction, chain ID mismatch",
                Some(Invalid),
            ),
            ("anvil", "Failed to decode signed transaction", Some(Invalid)),
            ("geth", "already known", known),
            ("geth", "known transaction: 0xabcd", known),
            (
                "geth",
                "nonce too low: next nonce 5, tx nonce 4",
                Some(NonceTooLow),
            ),
            (
                "geth",
                "nonce too low: address 0x00, tx: 4 state: 5",
                Some(NonceTooLow),
            ),
            ("geth", "nonce too high", Some(NonceTooHigh)),
            (
                "geth",
                "nonce too high: tx nonce 9, gapped nonce 5",
                Some(NonceTooHigh),
            ),
            (
                "geth",
                "replacement transaction underpriced: new tx gas fee cap 1 <= 2 queued",
                Some(ReplacementUnderpriced),
            ),
            (
                "geth",
                "future transaction tries to replace pending",
                Some(ReplacementUnderpriced),
            ),
            (
                "geth",
                "transaction underpriced: gas tip cap 0, minimum needed 1",
                Some(FeeTooLow),
            ),
            (
                "geth",
                "max fee per gas less than block base fee: address 0x00",
                Some(FeeTooLow),
            ),
            (
                "geth",
                "tx fee (1.50 ether) exceeds the configured cap (1.00 ether)",
                Some(FeeTooHigh),
            ),
            (
                "geth",
                "insufficient funds for gas * price + value: balance 0, tx cost 9, overshot 9",
                Some(InsufficientFunds),
            ),
            ("geth", "txpool is full", Some(PoolFull)),
            ("geth", "account limit exceeded: pooled 64 txs", Some(PoolFull)),
            (
                "geth",
                "in-flight transaction limit reached for delegated accounts",
                Some(PoolFull),
            ),
            (
                "geth",
                "intrinsic gas too low: gas 21000, minimum needed 53000",
                Some(GasLimit),
            ),
            ("geth", "exceeds block gas limit", Some(GasLimit)),
            (
                "geth",
                "transaction gas limit too high (cap: 16777216, tx: 30000000)",
                Some(GasLimit),
            ),
            (
                "geth",
                "max priority fee per gas higher than max fee per gas: address 0x00",
                Some(Invalid),
            ),
            ("geth", "invalid sender", Some(Invalid)),
            (
                "geth",
                "invalid chain id for signer: have 1 want 2",
                Some(Invalid),
            ),
            (
                "geth",
                "oversized data: transaction size 131073, limit 131072",
                Some(Invalid),
            ),
            ("geth", "transaction type not supported", Some(Invalid)),
            ("erigon", "existing tx with same hash", known),
            ("erigon", "INTERNAL_ERROR: existing tx with same hash", known),
            (
                "erigon",
                "could not replace existing tx",
                Some(ReplacementUnderpriced),
            ),
            (
                "erigon",
                "replaced by transaction with higher tip",
                Some(ReplacementUnderpriced),
            ),
            ("erigon", "nonce too low", Some(NonceTooLow)),
            ("erigon", "underpriced", Some(FeeTooLow)),
            ("erigon", "fee too low", Some(FeeTooLow)),
            ("erigon", "insufficient funds", Some(InsufficientFunds)),
            ("erigon", "pending sub-pool is full", Some(PoolFull)),
            ("erigon", "queued sub-pool is full", Some(PoolFull)),
            ("erigon", "RLPTooLong", Some(Invalid)),
            ("nethermind", "AlreadyKnown", known),
            (
                "nethermind",
                "OldNonce, Current nonce: 5, nonce of rejected tx: 4",
                Some(NonceTooLow),
            ),
            (
                "nethermind",
                "NonceGap, Future nonce. Expected nonce: 5",
                Some(NonceTooHigh),
            ),
            ("nethermind", "NonceTooFarInFuture", Some(NonceTooHigh)),
            (
                "nethermind",
                "ReplacementNotAllowed",
                Some(ReplacementUnderpriced),
            ),
            ("nethermind", "FeeTooLow, MaxFeePerGas too low", Some(FeeTooLow)),
            ("nethermind", "FeeTooLowToCompete", Some(PoolFull)),
            (
                "nethermind",
                "InsufficientFunds, Account balance: 0, cumulative cost: 9",
                Some(InsufficientFunds),
            ),
            (
                "nethermind",
                "GasLimitExceeded, Gas limit: 30000000",
                Some(GasLimit),
            ),
            ("nethermind", "FailedToResolveSender", Some(Invalid)),
            ("nethermind", "MaxTxSizeExceeded", Some(Invalid)),
            ("reth", "already known", known),
            (
                "reth",
                "nonce too low: next nonce 5, tx nonce 4",
                Some(NonceTooLow),
            ),
            (
                "reth",
                "transaction nonce is not consistent with next nonce",
                Some(NonceTooLow),
            ),
            (
                "reth",
                "replacement transaction underpriced",
                Some(ReplacementUnderpriced),
            ),
            ("reth", "transaction underpriced", Some(FeeTooLow)),
            (
                "reth",
                "insufficient funds for gas * price + value: have 0 want 9",
                Some(InsufficientFunds),
            ),
            ("reth", "txpool is full", Some(PoolFull)),
            ("reth", "exceeds block gas limit", Some(GasLimit)),
            (
                "reth",
                "transaction gas limit is greater than the cap",
                Some(GasLimit),
            ),
        ];
        for (node, message, expected) in rows {
            let wanted = expected.map_or(AlreadyKnown, Rejected);
            assert_eq!(classify(message), Some(wanted), "{node}: {message}");
        }
    }

    #[test]
    fn what_we_do_not_know_stays_unknown() {
        for odd in [
            "",
            "internal error",
            "request timed out",
            "upstream unavailable",
            "header not found",
        ] {
            assert_eq!(classify(odd), None, "{odd}");
        }
    }
}
