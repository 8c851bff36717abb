//! What a JSON-RPC error concerns: the transaction (a final answer), this one request, or the endpoint itself.
//!
//! A proxy without backends still answers, with HTTP 200 and one of these codes. If that counted as an answer, no other
//! endpoint would ever be asked. The same holds for a node that lost its state but not its blocks.

use ethers::providers::JsonRpcError;

/// What an error concerns, which decides whom to ask next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorScope {
    /// Every node would answer this about the transaction: the error is the answer.
    Final,
    /// Another endpoint may be able to answer this request.
    Request,
    /// The endpoint itself is in trouble: for now every request goes to another one first.
    Endpoint,
}

pub(super) fn error_scope(method: &str, error: &JsonRpcError) -> ErrorScope {
    let message = error.message.to_lowercase();
    if is_final(method, error.code, &message) {
        ErrorScope::Final
    // Some nodes report an unknown block as an internal error; that concerns the request.
    } else if is_server_error(error.code) && !means_unknown_block(&message) {
        ErrorScope::Endpoint
    } else {
        ErrorScope::Request
    }
}

/// Refusals and reverts, which some nodes (Hardhat, Nethermind, Parity) report under the codes below. [`crate::classify`]
/// decides what the error of a send means.
fn is_final(method: &str, code: i64, message: &str) -> bool {
    match method {
        "eth_sendRawTransaction" => true,
        // EIP-1474 has no code for it; 3 is what Geth, Erigon, Reth and anvil give.
        "eth_call" | "eth_estimateGas" => {
            code == 3 || message.contains("revert") || message.contains("vm execution")
        }
        _ => false,
    }
}

const fn is_server_error(code: i64) -> bool {
    matches!(
        code,
        // EIP-1474 (the first as in JSON-RPC 2.0): internal error; resource unavailable (Geth: the request timed out).
        // Its third, -32005 "limit exceeded", never reaches this function: the endpoint treats it as a failed request.
        -32603 | -32002
            // In the "server error" range that EIP-1474 leaves open: the errors of proxyd, the proxy of many providers:
            // backend offline, none available, over capacity, bad answer, timeout, over rate limit, not healthy.
            | -32018
            ..=-32010
            // HTTP's "too many requests", which Alchemy repeats in the JSON-RPC answer.
            | 429
    )
}

/// Whether a lower-case message means that the node does not know the block, or no longer holds its state.
pub(crate) fn means_unknown_block(message: &str) -> bool {
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

    fn scope_of(method: &str, code: i64, message: &str) -> ErrorScope {
        let error = serde_json::json!({ "code": code, "message": message });
        error_scope(method, &serde_json::from_value(error).unwrap())
    }

    const READS: [&str; 2] = ["eth_getBlockByNumber", "eth_call"];

    #[test]
    fn a_final_answer_is_recognised_under_any_error_code() {
        for (code, message) in [
            (3, "execution reverted"),
            (-32000, "execution reverted: no such intent"),
            (-32015, "VM execution error."),
            (-32603, "VM Exception while processing transaction: reverted"),
        ] {
            assert_eq!(
                scope_of("eth_call", code, message),
                ErrorScope::Final,
                "{code} {message}"
            );
        }
        for (code, message) in [(-32000, "nonce too low"), (-32603, "no available upstream")] {
            let method = "eth_sendRawTransaction";
            assert_eq!(
                scope_of(method, code, message),
                ErrorScope::Final,
                "{code} {message}"
            );
        }
    }

    #[test]
    fn server_errors_concern_the_endpoint_and_other_errors_the_request() {
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
            for method in READS {
                assert_eq!(
                    scope_of(method, code, message),
                    ErrorScope::Endpoint,
                    "{method} {code} {message}"
                );
            }
        }
        for (code, message) in [
            (-32000, "missing trie node 0a (path )"),
            (-32000, "header not found"),
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
            for method in READS {
                assert_eq!(
                    scope_of(method, code, message),
                    ErrorScope::Request,
                    "{method} {code} {message}"
                );
            }
        }
    }
}
