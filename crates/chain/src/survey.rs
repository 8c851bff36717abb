//! Several endpoints, compared: one that lags, stands still or tells another story is left until it has caught up.

use tokio::sync::mpsc;

use crate::client::{Chain, ChainError};
use crate::hash::{BlockHash, TxHash};
use crate::observe;
use crate::send::SendOutcome;
use crate::transport::Standing;

/// So many blocks behind the best is level still: blocks reach nodes at different times.
const LEVEL: u64 = 2;

/// What one endpoint said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    pub head: u64,
    /// It is on our chain, and has the block that we know, unless its head is below.
    pub agrees: bool,
}

/// How each endpoint stands; `None` for one that gave no answer, which comes after those that do. Pure.
pub fn judge(glances: &[Option<Glance>]) -> Vec<Standing> {
    let answered = || glances.iter().flatten();
    // When all of them tell another story, the story has changed: that is for whoever follows the chain.
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
        // Whoever tells another story is not asked before one that was silent for a moment.
        None if someone_agrees => Standing::Behind,
        Some(_) | None => Standing::Level,
    };
    glances.iter().map(standing).collect()
}

impl Chain {
    /// There is nothing to compare.
    pub fn is_alone(&self) -> bool {
        self.transport().count() < 2
    }

    /// Every endpoint by itself, those that rest after a failure left out while another is there.
    pub fn each(&self) -> Vec<Self> {
        let pinned = self.transport().each();
        pinned
            .into_iter()
            .map(|one| Self::over(one, self.escrow()))
            .collect()
    }

    /// Looks at all endpoints at once and orders them by what they show. `known`: a block that is as good as final.
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

    /// Hands bytes to every endpoint at once; the first good answer counts. What one node dropped, another may take.
    pub async fn send_everywhere(&self, raw: &[u8], hash: TxHash) -> SendOutcome {
        if self.is_alone() {
            return self.send_raw(raw, hash).await;
        }
        let (sender, mut answers) = mpsc::unbounded_channel();
        for one in self.each() {
            let (raw, sender) = (raw.to_vec(), sender.clone());
            // Goes on by itself: nobody waits for the slowest.
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
            // Silent, or a front that answers errors alone.
            (&[None, at(100), at(90)], &[Behind, Level, Behind]),
            (&[None, at(100), other(9000)], &[Behind, Level, Foreign]),
            (&[None, other(100)], &[Level, Level]),
            // Another chain is ahead: nobody is behind it.
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
