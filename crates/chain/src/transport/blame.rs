//! Whose fault a JSON-RPC error is: an answer about what was asked, or the endpoint's own trouble.
//!
//! A front whose nodes are gone still answers, with HTTP 200 and one of these codes; believed, it would be asked for ever.

use ethers::providers::JsonRpcError;

/// Their errors speak of the transaction: a refusal, or a revert, which some nodes (Hardhat, Nethermind, Parity) report
/// under the codes below.
const VERDICTS: [&str; 3] = ["eth_sendRawTransaction", "eth_call", "eth_estimateGas"];

/// True where another endpoint may well have the answer that this one could not give.
pub(super) fn is_the_endpoints(method: &str, error: &JsonRpcError) -> bool {
    !VERDICTS.contains(&method)
        && speaks_of_the_server(error.code)
        // Some nodes call a block that they do not hold an internal error; that is an answer about the block.
        && !names_no_block(&error.message.to_lowercase())
}

const fn speaks_of_the_server(code: i64) -> bool {
    matches!(
        code,
        // EIP-1474 (the first as in JSON-RPC 2.0): internal error; resource unavailable (Geth: the request timed out).
        // Its third, -32005 "limit exceeded", is a failed request whatever was asked: the endpoint reads it so.
        -32603 | -32002
            // Of the "server error" range that EIP-1474 leaves open, what proxyd, the front of many providers, says of
            // itself: backend offline, none available, over capacity, bad answer, time-out, over rate limit, not healthy.
            | -32018
            ..=-32010
            // HTTP's "too many requests", which Alchemy repeats inside the answer.
            | 429
    )
}

/// How nodes say that they do not know a block, or no longer hold its state; in lower case.
pub(crate) fn names_no_block(message: &str) -> bool {
    [
        "header not found",
        "unknown block",
        "block not found",
        "blockoutofrange",
        "block out of range",
        "could not find block",
        "resource not found",
        "missing trie node",
        "historical state",
        "state not available",
    ]
    .iter()
    .any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blamed(method: &str, code: i64, message: &str) -> bool {
        let error = serde_json::json!({ "code": code, "message": message });
        is_the_endpoints(method, &serde_json::from_value(error).unwrap())
    }

    #[test]
    fn trouble_of_the_server_is_the_endpoints_and_a_verdict_is_not() {
        for (code, message) in [
            (-32603, "no available upstream"),
            (-32603, "Internal error"),
            (-32002, "request timed out"),
            (-32010, "backend offline"),
            (-32011, "no backends available for method"),
            (-32016, "over rate limit"),
            (-32018, "backend is currently not healthy to serve traffic"),
            (429, "Your app has exceeded its compute units per second capacity"),
        ] {
            assert!(blamed("eth_getBlockByNumber", code, message), "{code} {message}");
            for method in VERDICTS {
                assert!(!blamed(method, code, message), "{method} {code} {message}");
            }
        }
        for (code, message) in [
            (3, "execution reverted"),
            (-32700, "parse error"),
            (-32600, "invalid request"),
            (-32601, "the method does not exist"),
            (-32602, "invalid argument 0"),
            (-32000, "query returned more than 10000 results"),
            (-32001, "resource not found"),
            (-32003, "transaction rejected"),
            (-32004, "method not supported"),
            (-32009, "of no meaning"),
            (-32019, "block is out of range"),
            (-32603, "Unknown block"),
            (-32603, "historical state 0x1 is not available"),
        ] {
            assert!(!blamed("eth_getBlockByNumber", code, message), "{code} {message}");
        }
    }
}
