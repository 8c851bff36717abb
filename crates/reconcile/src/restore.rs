//! Decides whether a restored database may go back into service. Pure rules.

use std::collections::BTreeSet;

use domain::address::Address;
use serde::Serialize;

use crate::intents::ChainDifference;

/// How far the executor has followed the chain, in block numbers.
#[derive(Clone, Copy, Debug)]
pub struct FollowProgress {
    /// The last block that it processed.
    pub followed: Option<u64>,
    pub head: u64,
    /// Blocks that it may be behind.
    pub lag: u64,
}

/// Whether a restored database agrees with the chain.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    pub clean: bool,
    pub signers: Vec<SignerState>,
    /// The last block that the executor processed.
    pub followed: Option<u64>,
    pub head: u64,
    pub caught_up: bool,
    pub differences: Vec<ChainDifference>,
    /// Differences that a person has reviewed and accepted.
    pub known: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignerState {
    pub address: Address,
    /// In the database.
    pub next_nonce: u64,
    /// The number of its transactions on chain.
    pub on_chain: u64,
}

impl SignerState {
    /// It would use a nonce again.
    pub const fn is_behind(&self) -> bool {
        self.next_nonce < self.on_chain
    }
}

impl RestoreReport {
    /// `known`: what a person accepts, by intent id or by the kind of a total.
    pub fn new(
        signers: Vec<SignerState>,
        progress: FollowProgress,
        differences: Vec<ChainDifference>,
        known: &[String],
    ) -> Self {
        let (known, differences): (Vec<_>, Vec<_>) = differences
            .into_iter()
            .partition(|d| known.iter().any(|k| *k == d.intent_id || *k == d.kind));
        let known: BTreeSet<String> = known
            .into_iter()
            .map(|d| format!("{} {}", d.kind, d.intent_id).trim_end().to_owned())
            .collect();
        let FollowProgress { followed, head, lag } = progress;
        let caught_up = followed.is_some_and(|block| block.saturating_add(lag) >= head);
        let behind = signers.iter().any(SignerState::is_behind);
        Self {
            clean: caught_up && !behind && differences.is_empty(),
            signers,
            followed,
            head,
            caught_up,
            differences,
            known: known.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(next_nonce: u64) -> SignerState {
        SignerState {
            address: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
            next_nonce,
            on_chain: 7,
        }
    }

    fn lost() -> Vec<ChainDifference> {
        vec![
            ChainDifference::new("deposit_without_intent", &"0xab", "T-1", "lost"),
            ChainDifference::total("pending_total", "150 more"),
        ]
    }

    #[test]
    fn clean_needs_nonces_blocks_and_books() {
        let clean =
            |signers, progress, differences| RestoreReport::new(signers, progress, differences, &[]).clean;
        let at = |followed| FollowProgress {
            followed,
            head: 100,
            lag: 5,
        };
        let there = at(Some(96));
        assert!(clean(vec![signer(7)], there, vec![]));
        assert!(!clean(vec![signer(7), signer(6)], there, vec![]), "a used nonce");
        assert!(!clean(vec![signer(7)], at(Some(94)), vec![]), "behind");
        assert!(!clean(vec![signer(7)], at(None), vec![]), "never followed");
        assert!(!clean(vec![signer(7)], there, lost()), "books");
    }

    #[test]
    fn only_known_differences_may_remain() {
        let known = |known: &[&str]| {
            let known: Vec<String> = known.iter().map(|k| (*k).to_owned()).collect();
            let progress = FollowProgress {
                followed: Some(1),
                head: 1,
                lag: 0,
            };
            RestoreReport::new(vec![], progress, lost(), &known)
        };
        assert!(!known(&["0xab"]).clean && !known(&["pending_total"]).clean && !known(&["0xac"]).clean);
        let both = known(&["0xab", "pending_total"]);
        assert!(both.clean);
        assert_eq!(both.known, ["deposit_without_intent 0xab", "pending_total"]);
    }
}
