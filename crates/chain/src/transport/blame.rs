//! What a JSON-RPC error is: an answer about the transaction, a question that this endpoint alone cannot answer, or the
//! endpoint's own trouble.
//!
//! A front whose nodes are gone still answers, with HTTP 200 and one of these codes; believed, it would be asked for ever.
//! So would a node whose state is lost while its blocks are not.

use ethers::providers::JsonRpcError;

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// Any node would say so of the transaction: that is the answer.
    Verdict,
    /// Of this question another endpoint may know more.
    Question,
    /// Another endpoint is the better one to ask for now, whatever is asked.
    Endpoint,
}

pub(super) fn blame(method: &str, error: &JsonRpcError) -> Blame {
    let message = error.message.to_lowercase();
    if is_a_verdict(method, error.code, &message) {
        Blame::Verdict
    // Some nodes call a block that they do not hold an internal error; that speaks of the block.
    } else if speaks_of_the_server(error.code) && !names_no_block(&message) {
        Blame::Endpoint
    } else {
        Blame::Question
    }
}

/// Refused, or reverted, which some nodes (Hardhat, Nethermind, Parity) report under the codes below. What a send was
/// told goes to whoever tells refusals from doubt.
fn is_a_verdict(method: &str, code: i64, message: &str) -> bool {
    match method {
        "eth_sendRawTransaction" => true,
        // EIP-1474 has no code for it; 3 is what Geth, Erigon, Reth and anvil give.
        "eth_call" | "eth_estimateGas" => {
            code == 3 || message.contains("revert") || message.contains("vm execution")
        }
        _ => false,
    }
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

    fn blamed(method: &str, code: i64, message: &str) -> Blame {
        let error = serde_json::json!({ "code": code, "message": message });
        blame(method, &serde_json::from_value(error).unwrap())
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
                blamed("eth_call", code, message),
                Blame::Verdict,
                "{code} {message}"
            );
        }
        for (code, message) in [(-32000, "nonce too low"), (-32603, "no available upstream")] {
            let method = "eth_sendRawTransaction";
            assert_eq!(blamed(method, code, message), Blame::Verdict, "{code} {message}");
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
                    blamed(method, code, message),
                    Blame::Endpoint,
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
                    blamed(method, code, message),
                    Blame::Question,
                    "{method} {code} {message}"
                );
            }
        }
    }
}
