//! Compares the RPC endpoints: one that lags, stalls or follows another chain is avoided until it has caught up.

use tokio::sync::mpsc;

use crate::client::ChainClient;
use crate::endpoint_status::EndpointStatus;
use crate::error::ChainError;
use crate::hash::{BlockHash, TxHash};
use crate::observe;
use crate::send::SendOutcome;

/// An endpoint may lag this many blocks behind the best: blocks reach nodes at different times.
const TOLERATED_LAG: u64 = 2;

/// The state of one endpoint at one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointSample {
    pub head: u64,
    /// It has our chain id, and the block that we know unless its head is below that.
    pub on_our_chain: bool,
}

/// The endpoint follows another chain than one that follows ours.
const fn is_on_other_chain(sample: &EndpointSample, any_on_our_chain: bool) -> bool {
    any_on_our_chain && !sample.on_our_chain
}

const fn lags(sample: &EndpointSample, best: u64) -> bool {
    sample.head + TOLERATED_LAG < best
}

/// An endpoint that did not answer ranks behind those that did.
const fn ranks_last(any_on_our_chain: bool) -> bool {
    any_on_our_chain
}

/// The status of each endpoint; `None` stands for one that did not answer, which ranks behind those that do. Pure.
pub fn endpoint_statuses(samples: &[Option<EndpointSample>]) -> Vec<EndpointStatus> {
    let answered = || samples.iter().flatten();
    // When every endpoint disagrees, the chain itself has changed, which the follower handles as a reorganisation.
    let any_on_our_chain = answered().any(|sample| sample.on_our_chain);
    let on_other_chain = |sample: &EndpointSample| is_on_other_chain(sample, any_on_our_chain);
    let best = answered()
        .filter(|sample| !on_other_chain(sample))
        .map(|sample| sample.head)
        .max()
        .unwrap_or_default();
    let status = |sample: &Option<EndpointSample>| match sample {
        Some(sample) if on_other_chain(sample) => EndpointStatus::OtherChain,
        Some(sample) if lags(sample, best) => EndpointStatus::Behind,
        // An endpoint on another chain never ranks before one that missed a single answer.
        None if ranks_last(any_on_our_chain) => EndpointStatus::Behind,
        Some(_) | None => EndpointStatus::InSync,
    };
    samples.iter().map(status).collect()
}

impl ChainClient {
    /// With a single endpoint there is nothing to compare.
    pub fn has_one_endpoint(&self) -> bool {
        self.transport().endpoint_count() < 2
    }

    /// One client per endpoint; those that pause after a failure are left out while another is available.
    pub fn each_endpoint(&self) -> Vec<Self> {
        let pinned = self.transport().pinned_to_each();
        pinned
            .into_iter()
            .map(|one| Self::with_transport(one, self.escrow()))
            .collect()
    }

    /// Samples all endpoints at once and stores their statuses. `known` is a block that is final by depth.
    pub async fn compare_endpoints(
        &self,
        chain_id: u64,
        known: Option<(u64, BlockHash)>,
    ) -> Vec<EndpointStatus> {
        let mut looks = tokio::task::JoinSet::new();
        for index in 0..self.transport().endpoint_count() {
            let one = Self::with_transport(self.transport().pinned_to(index), self.escrow());
            looks.spawn(async move { (index, one.sample(chain_id, known).await.ok()) });
        }
        let mut samples = vec![None; self.transport().endpoint_count()];
        while let Some(Ok((index, sample))) = looks.join_next().await {
            samples[index] = sample;
        }
        let statuses = endpoint_statuses(&samples);
        for (name, changed, status) in self.transport().set_statuses(&statuses) {
            observe::endpoint_status(&name, status, changed);
        }
        statuses
    }

    async fn sample(
        &self,
        chain_id: u64,
        known: Option<(u64, BlockHash)>,
    ) -> Result<EndpointSample, ChainError> {
        let head = self.latest_header().await?.number;
        let ours = self.chain_id().await? == chain_id;
        let there = match known {
            Some((number, hash)) if number <= head => {
                let found = self.header(number).await?;
                found.is_some_and(|header| header.hash == hash)
            }
            _ => true,
        };
        Ok(EndpointSample {
            head,
            on_our_chain: ours && there,
        })
    }

    /// Sends the bytes to every endpoint at once and takes the first good answer: another node may accept what one dropped.
    pub async fn send_to_all_endpoints(&self, raw: &[u8], hash: TxHash) -> SendOutcome {
        if self.has_one_endpoint() {
            return self.send_raw(raw, hash).await;
        }
        let (sender, mut answers) = mpsc::unbounded_channel();
        for one in self.each_endpoint() {
            let (raw, sender) = (raw.to_vec(), sender.clone());
            // The task outlives this call, so the slowest endpoint delays nothing.
            tokio::spawn(async move { sender.send(one.send_raw(&raw, hash).await) });
        }
        drop(sender);
        let mut last = SendOutcome::Unknown("no endpoint was asked".to_owned());
        while let Some(outcome) = answers.recv().await {
            let good = matches!(outcome, SendOutcome::Accepted | SendOutcome::AlreadyKnown);
            last = outcome;
            if good {
                break;
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EndpointStatus::{Behind, InSync, OtherChain};

    #[test]
    fn endpoints_that_lag_stall_or_follow_another_chain_are_recognised() {
        let at = |head| {
            Some(EndpointSample {
                head,
                on_our_chain: true,
            })
        };
        let other = |head| {
            Some(EndpointSample {
                head,
                on_our_chain: false,
            })
        };
        let table: &[(&[Option<EndpointSample>], &[EndpointStatus])] = &[
            (&[at(100)], &[InSync]),
            (&[at(100), at(98)], &[InSync, InSync]),
            (&[at(97), at(100)], &[Behind, InSync]),
            // Silent, or a proxy that answers with errors only.
            (&[None, at(100), at(90)], &[Behind, InSync, Behind]),
            (&[None, at(100), other(9000)], &[Behind, InSync, OtherChain]),
            (&[None, other(100)], &[InSync, InSync]),
            // Another chain is ahead: its head does not count.
            (&[at(100), other(9000)], &[InSync, OtherChain]),
            (&[other(100), at(50)], &[OtherChain, InSync]),
            // All of them: a deep reorganisation, which is not the endpoints' fault.
            (&[other(100), other(90)], &[InSync, Behind]),
            (&[None, None], &[InSync, InSync]),
        ];
        for (samples, expected) in table {
            assert_eq!(endpoint_statuses(samples), *expected, "{samples:?}");
        }
    }
}
