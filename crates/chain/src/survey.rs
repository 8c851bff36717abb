//! Compares the RPC endpoints: one that lags, stalls or follows another chain is avoided until it has caught up.

use tokio::sync::mpsc;

use crate::client::{Chain, ChainError};
use crate::hash::{BlockHash, TxHash};
use crate::observe;
use crate::send::SendOutcome;
use crate::transport::Standing;

/// An endpoint may lag this many blocks behind the best: blocks reach nodes at different times.
const LEVEL: u64 = 2;

/// The state of one endpoint at one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    pub head: u64,
    /// It has our chain id, and the block that we know unless its head is below that.
    pub agrees: bool,
}

/// The status of each endpoint; `None` stands for one that did not answer, which ranks behind those that do. Pure.
pub fn judge(glances: &[Option<Glance>]) -> Vec<Standing> {
    let answered = || glances.iter().flatten();
    // When every endpoint disagrees, the chain itself has changed, which the follower handles as a reorganisation.
    let someone_agrees = answered().any(|glance| glance.agrees);
    let foreign = |glance: &Glance| someone_agrees && !glance.agrees;
    let best = answered()
        .filter(|glance| !foreign(glance))
        .map(|glance| glance.head)
        .max()
        .unwrap_or_default();
    let standing = |glance: &Option<Glance>| match glance {
        Some(glance) if foreign(glance) => Standing::Foreign,
        Some(glance) if glance.head + LEVEL < best => Standing::Behind,
        // An endpoint on another chain never ranks before one that missed a single answer.
        None if someone_agrees => Standing::Behind,
        Some(_) | None => Standing::Level,
    };
    glances.iter().map(standing).collect()
}

impl Chain {
    /// With a single endpoint there is nothing to compare.
    pub fn is_alone(&self) -> bool {
        self.transport().count() < 2
    }

    /// One client per endpoint; those that pause after a failure are left out while another is available.
    pub fn each(&self) -> Vec<Self> {
        let pinned = self.transport().each();
        pinned
            .into_iter()
            .map(|one| Self::over(one, self.escrow()))
            .collect()
    }

    /// Samples all endpoints at once and stores their statuses. `known` is a block that is final by depth.
    pub async fn survey(&self, chain_id: u64, known: Option<(u64, BlockHash)>) -> Vec<Standing> {
        let mut looks = tokio::task::JoinSet::new();
        for index in 0..self.transport().count() {
            let one = Self::over(self.transport().only(index), self.escrow());
            looks.spawn(async move { (index, one.glance(chain_id, known).await.ok()) });
        }
        let mut glances = vec![None; self.transport().count()];
        while let Some(Ok((index, glance))) = looks.join_next().await {
            glances[index] = glance;
        }
        let standings = judge(&glances);
        for (name, changed, standing) in self.transport().stand(&standings) {
            observe::standing(&name, standing, changed);
        }
        standings
    }

    async fn glance(&self, chain_id: u64, known: Option<(u64, BlockHash)>) -> Result<Glance, ChainError> {
        let head = self.latest_header().await?.number;
        let ours = self.chain_id().await? == chain_id;
        let there = match known {
            Some((number, hash)) if number <= head => {
                let found = self.header(number).await?;
                found.is_some_and(|header| header.hash == hash)
            }
            _ => true,
        };
        Ok(Glance {
            head,
            agrees: ours && there,
        })
    }

    /// Sends the bytes to every endpoint at once and takes the first good answer: another node may accept what one dropped.
    pub async fn send_everywhere(&self, raw: &[u8], hash: TxHash) -> SendOutcome {
        if self.is_alone() {
            return self.send_raw(raw, hash).await;
        }
        let (sender, mut answers) = mpsc::unbounded_channel();
        for one in self.each() {
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
    use Standing::{Behind, Foreign, Level};

    #[test]
    fn endpoints_that_lag_stall_or_follow_another_chain_are_recognised() {
        let at = |head| Some(Glance { head, agrees: true });
        let other = |head| Some(Glance { head, agrees: false });
        let table: &[(&[Option<Glance>], &[Standing])] = &[
            (&[at(100)], &[Level]),
            (&[at(100), at(98)], &[Level, Level]),
            (&[at(97), at(100)], &[Behind, Level]),
            // Silent, or a proxy that answers with errors only.
            (&[None, at(100), at(90)], &[Behind, Level, Behind]),
            (&[None, at(100), other(9000)], &[Behind, Level, Foreign]),
            (&[None, other(100)], &[Level, Level]),
            // Another chain is ahead: its head does not count.
            (&[at(100), other(9000)], &[Level, Foreign]),
            (&[other(100), at(50)], &[Foreign, Level]),
            // All of them: a deep reorganisation, which is not the endpoints' fault.
            (&[other(100), other(90)], &[Level, Behind]),
            (&[None, None], &[Level, Level]),
        ];
        for (glances, expected) in table {
            assert_eq!(judge(glances), *expected, "{glances:?}");
        }
    }
}
