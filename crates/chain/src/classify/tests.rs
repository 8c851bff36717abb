//! One row for each message, as the sources of the nodes word it.

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
        ("anvil", "Tx: [0x1234] already Imported", known),
        (
            "anvil",
            "Tx: [0x1234] insufficient gas price to replace existing transaction",
            Some(ReplacementUnderpriced),
        ),
        ("anvil", "Nonce too high", Some(NonceTooHigh)),
        ("anvil", "nonce has max value", Some(Invalid)),
        (
            "anvil",
            "insufficient funds for transfer",
            Some(InsufficientFunds),
        ),
        (
            "anvil",
            "Transaction gas limit is greater than the block gas limit, gas_limit: 40000000, cap: 30000000",
            Some(GasLimit),
        ),
        (
            "anvil",
            "max priority fee per gas higher than max fee per gas",
            Some(Invalid),
        ),
        ("anvil", "sender not an eoa", Some(Invalid)),
        ("anvil", "invalid chain id for signer", Some(Invalid)),
        (
            "anvil",
            "Incompatible EIP-155 transaction, signed for another chain",
            Some(Invalid),
        ),
        ("anvil", "Failed to decode transaction", Some(Invalid)),
        ("anvil", "Transaction data is empty", Some(Invalid)),
        ("anvil", "Unknown transaction type not supported", Some(Invalid)),
        (
            "anvil",
            "EIP-1559 style fee params (maxFeePerGas or maxPriorityFeePerGas) received but they are not supported by the current hardfork.",
            Some(Invalid),
        ),
        ("geth", "nonce has max value", Some(Invalid)),
        (
            "geth",
            "gapped-nonce tx from delegated accounts",
            Some(NonceTooHigh),
        ),
        ("geth", "insufficient funds for transfer", Some(InsufficientFunds)),
        (
            "geth",
            "insufficient funds for gas * price + value: address 0x00 have 1 want 2",
            Some(InsufficientFunds),
        ),
        ("geth", "address already reserved", Some(PoolFull)),
        ("geth", "gas limit reached", Some(GasLimit)),
        ("geth", "gas uint64 overflow", Some(GasLimit)),
        (
            "geth",
            "max fee per gas higher than 2^256-1: address 0x00, maxFeePerGas bit length: 300",
            Some(Invalid),
        ),
        (
            "geth",
            "max initcode size exceeded: code size 50000, limit 49152",
            Some(Invalid),
        ),
        ("geth", "negative value", Some(Invalid)),
        ("geth", "sender not an eoa: address 0x00", Some(Invalid)),
        ("geth", "invalid transaction v, r, s values", Some(Invalid)),
        (
            "geth",
            "only replay-protected (EIP-155) transactions allowed over RPC",
            Some(Invalid),
        ),
        ("geth", "typed transaction too short", Some(Invalid)),
        (
            "geth",
            "rlp: expected input list for types.DynamicFeeTx",
            Some(Invalid),
        ),
        ("erigon", "ALREADY_EXISTS: already known", known),
        ("erigon", "existing txn with same hash", known),
        (
            "erigon",
            "replacement transaction underpriced",
            Some(ReplacementUnderpriced),
        ),
        ("erigon", "FEE_TOO_LOW: underpriced", Some(FeeTooLow)),
        ("erigon", "spammer", Some(PoolFull)),
        ("erigon", "baseFee sub-pool is full", Some(PoolFull)),
        ("erigon", "IntrinsicGas", Some(GasLimit)),
        ("erigon", "GasUintOverflow", Some(GasLimit)),
        ("erigon", "gas limit is too high", Some(GasLimit)),
        ("erigon", "INVALID: invalid sender", Some(Invalid)),
        ("erigon", "oversized data", Some(Invalid)),
        ("erigon", "initcode too large", Some(Invalid)),
        (
            "erigon",
            "fork supporting this transaction type is not activated yet",
            Some(Invalid),
        ),
        ("nethermind", "already known", known),
        (
            "nethermind",
            "nonce too low, Current nonce: 5, nonce of rejected tx: 4",
            Some(NonceTooLow),
        ),
        ("nethermind", "nonce too high", Some(NonceTooHigh)),
        (
            "nethermind",
            "NonceTooHigh: Nonce exceeds max nonce",
            Some(NonceTooHigh),
        ),
        ("nethermind", "nonce too far in future", Some(NonceTooHigh)),
        ("nethermind", "delegation nonce gap", Some(NonceTooHigh)),
        (
            "nethermind",
            "replacement transaction underpriced",
            Some(ReplacementUnderpriced),
        ),
        ("nethermind", "transaction underpriced", Some(FeeTooLow)),
        ("nethermind", "pending transaction type conflict", Some(PoolFull)),
        (
            "nethermind",
            "delegation authority has pending transaction",
            Some(PoolFull),
        ),
        ("nethermind", "gas limit reached", Some(GasLimit)),
        ("nethermind", "intrinsic gas too low", Some(GasLimit)),
        (
            "nethermind",
            "TxGasLimitCapExceeded: Gas limit 30000000 exceeded cap of 16777216.",
            Some(GasLimit),
        ),
        ("nethermind", "failed to recover sender", Some(Invalid)),
        ("nethermind", "transaction cost overflow", Some(Invalid)),
        ("nethermind", "transaction invalid", Some(Invalid)),
        ("nethermind", "transaction too large", Some(Invalid)),
        ("nethermind", "unsupported transaction type", Some(Invalid)),
        (
            "nethermind",
            "InvalidTxSignature: Signature is invalid.",
            Some(Invalid),
        ),
        (
            "nethermind",
            "InvalidTxChainId: Expected 31430, got 1.",
            Some(Invalid),
        ),
        (
            "nethermind",
            "InvalidTxType: Transaction type in Berlin is not supported.",
            Some(Invalid),
        ),
        (
            "nethermind",
            "InvalidMaxPriorityFeePerGas: Cannot be higher than maxFeePerGas.",
            Some(Invalid),
        ),
        ("reth", "nonce too high", Some(NonceTooHigh)),
        ("reth", "nonce has max value", Some(Invalid)),
        (
            "reth",
            "max fee per gas less than block base fee",
            Some(FeeTooLow),
        ),
        (
            "reth",
            "transaction priority fee below minimum required priority fee 1000000",
            Some(FeeTooLow),
        ),
        (
            "reth",
            "tx fee (2000 wei) exceeds the configured cap (1000 wei)",
            Some(FeeTooHigh),
        ),
        ("reth", "address already reserved", Some(PoolFull)),
        ("reth", "exceeds max transaction gas limit", Some(GasLimit)),
        ("reth", "gas limit too high", Some(GasLimit)),
        ("reth", "intrinsic gas too low", Some(GasLimit)),
        ("reth", "intrinsic gas too high", Some(GasLimit)),
        ("reth", "invalid chain ID", Some(Invalid)),
        ("reth", "invalid sender", Some(Invalid)),
        ("reth", "invalid transaction signature", Some(Invalid)),
        ("reth", "sender is not an EOA", Some(Invalid)),
        ("reth", "transaction type not supported", Some(Invalid)),
        ("reth", "failed to decode signed transaction", Some(Invalid)),
        ("reth", "empty transaction data", Some(Invalid)),
        (
            "reth",
            "oversized data: transaction size 200000, limit 131072",
            Some(Invalid),
        ),
        ("reth", "max initcode size exceeded", Some(Invalid)),
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
        "node is syncing",
        "Transaction with cyclic dependent transactions",
        "no available upstream",
    ] {
        assert_eq!(classify(odd), None, "{odd}");
    }
}
