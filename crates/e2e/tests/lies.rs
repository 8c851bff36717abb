//! The proxy tells what nodes tell: each refusal that the product knows is told by some lie, and each lie is one that it
//! knows, or plainly nothing.

use std::collections::BTreeSet;

use chain::classify::{Refusal, classify};
use testkit::rpc_proxy::lies;

const NO_NODES_OWN: [&str; 2] = ["internal error", "header not found"];

#[test]
fn every_kind_of_refusal_is_told() {
    let mut told = BTreeSet::new();
    for lie in lies::ALL {
        match classify(lie) {
            Some(Refusal::AlreadyKnown) => told.insert("already_known"),
            Some(Refusal::Rejected(rejection)) => told.insert(rejection.kind()),
            None => {
                assert!(NO_NODES_OWN.contains(&lie), "{lie}");
                continue;
            }
        };
    }
    let all = [
        "already_known",
        "fee_too_high",
        "fee_too_low",
        "gas_limit",
        "insufficient_funds",
        "invalid",
        "nonce_too_high",
        "nonce_too_low",
        "pool_full",
        "replacement_underpriced",
    ];
    assert_eq!(told, BTreeSet::from(all));
}
