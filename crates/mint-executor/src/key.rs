//! One signing key of this process: who may use it now, what holds it back, and what wakes it.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chain::inspect::Standing;
use chain::transaction::{SignedTransaction, Transaction};
use chain::{Signer, SignerError};
use domain::address::Address;
use runtime::breaker::Breaker;
use storage::executor::items::WorkCommand;
use storage::executor::signers::Lease;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::breakers::POLICY;
use crate::{observe, window};

/// What waits for a cheaper market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TooDearFor {
    /// A missing nonce, or the lowest that has no block: its price may not rise further.
    Line,
    /// Work that nothing is signed for yet.
    Batch(WorkCommand),
}

/// What a signer that gave no signature is asked to sign, to see whether it does.
const PROBE: [u8; 32] = *b"FiatRails: does this signer sign";

pub struct Key {
    signer: Arc<dyn Signer>,
    /// `None` while another executor holds the key.
    pub lease: watch::Sender<Option<Lease>>,
    /// Gas and role: holds back everything of this key, and nothing of another.
    pub breaker: Breaker,
    /// Whether its signer signs: a token may be gone, or hang.
    pub signing: Breaker,
    /// Since when it gives no signature.
    mute: Mutex<Option<Instant>>,
    /// What it may mint in an hour: holds back its mints.
    pub ration: Breaker,
    /// What a mint could not have of that ration of late, base units: the probe waits until there is as much.
    missing: Mutex<u128>,
    /// How many of its transactions may wait for a block at once; bounded by the setting.
    window: AtomicU64,
    /// Nonces below it have a block, as of the last head at which that was asked; 0 while nobody asks.
    used: AtomicU64,
    /// What of it the market is too dear for.
    too_dear: Mutex<HashSet<TooDearFor>>,
    /// Wakes its submitter: something may be ready.
    pub work: Notify,
}

impl Key {
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        let address = signer.address();
        Self {
            lease: watch::Sender::new(None),
            breaker: Breaker::new(format!("signer {address}"), POLICY),
            signing: Breaker::new(format!("signatures of {address}"), POLICY),
            mute: Mutex::default(),
            ration: Breaker::new(format!("mint limit of {address}"), POLICY),
            missing: Mutex::default(),
            window: AtomicU64::new(u64::MAX),
            used: AtomicU64::new(0),
            too_dear: Mutex::default(),
            work: Notify::new(),
            signer,
        }
    }

    pub fn address(&self) -> Address {
        self.signer.address()
    }

    pub fn bytes(&self) -> [u8; 20] {
        *self.address().as_bytes()
    }

    /// Signs, and takes note of whether that is possible.
    pub async fn sign(&self, transaction: &Transaction) -> Result<SignedTransaction, SignerError> {
        let signed = transaction.sign(self.signer.as_ref()).await;
        self.note(signed.as_ref().err());
        signed
    }

    /// Whether it signs again: nothing of worth, a digest that no transaction has.
    pub async fn probe(&self) -> Result<(), String> {
        let failed = self.signer.sign(PROBE).await.err();
        self.note(failed.as_ref());
        self.work.notify_one();
        failed.map_or(Ok(()), |error| Err(error.to_string()))
    }

    fn note(&self, failed: Option<&SignerError>) {
        let mut mute = self.mute.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed {
            mute.get_or_insert_with(Instant::now);
            self.signing.trip(&error.to_string());
        } else {
            *mute = None;
        }
    }

    /// How long nothing could be signed; `None` after a signature.
    pub fn mute_for(&self, now: Instant) -> Option<Duration> {
        let mute = self.mute.lock().unwrap_or_else(PoisonError::into_inner);
        mute.map(|since| now.saturating_duration_since(since))
    }

    /// The lease, as last heard of; every writing transaction checks it again.
    pub fn lease_now(&self) -> Option<Lease> {
        *self.lease.borrow()
    }

    /// The lease turned out to be lost: this key rests until it is won again.
    pub fn lost_lease(&self) {
        self.lease.send_if_modified(|lease| lease.take().is_some());
    }

    /// A round under that lease was refused. One won since stays.
    pub fn lost(&self, old: &Lease) {
        self.lease
            .send_if_modified(|lease| lease.take_if(|lease| lease == old).is_some());
    }

    /// The chain let a mint of so much wait for the next hour.
    pub fn rationed(&self, why: &str, amount: u128) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = amount;
        self.ration.trip(why);
    }

    pub fn missing(&self) -> u128 {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn window(&self, most: u64) -> u64 {
        self.window.load(Ordering::Relaxed).min(most.max(1))
    }

    /// One more head was seen.
    pub fn breathe(&self, most: u64, late: bool) {
        let next = window::next(self.window.load(Ordering::Relaxed), most, late);
        self.window.store(next, Ordering::Relaxed);
    }

    /// Its nonces below this one wait for no block, whoever used them.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What the chain counts of it at a head; 0 where nobody asked: then all that is signed for may wait.
    pub fn set_used(&self, next: u64) {
        self.used.store(next, Ordering::Relaxed);
    }

    /// Whether the market is too dear for that, shown at once; true when it is news.
    pub fn too_dear_for(&self, what: TooDearFor, is: bool) -> bool {
        let mut all = self.too_dear.lock().unwrap_or_else(PoisonError::into_inner);
        let news = if is { all.insert(what) } else { all.remove(&what) };
        if news {
            observe::fee_capped(&self.address(), !all.is_empty());
        }
        news
    }

    /// Breakers of its own that a command waits for.
    pub fn breakers(&self, command: WorkCommand) -> Vec<&Breaker> {
        match command {
            WorkCommand::Execute => vec![&self.breaker, &self.signing, &self.ration],
            WorkCommand::Submit | WorkCommand::Refund => vec![&self.breaker, &self.signing],
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.address())
    }
}

/// Whether a key can sign anything now. Pure.
pub fn judge(now: &Standing, min_gas: u128) -> Result<(), String> {
    if now.balance < min_gas {
        return Err("the signer has too little gas".to_owned());
    }
    if !now.may_execute {
        return Err("the signer lacks EXECUTOR_ROLE".to_owned());
    }
    Ok(())
}

/// Whether its ration allows a mint now. Pure.
pub fn judge_ration(now: &Standing, needed: u128) -> Result<(), String> {
    if now.mint_available < needed.max(1) {
        return Err("the hourly mint limit is used up".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chain::LocalKey;

    use super::*;

    #[test]
    fn a_signer_needs_gas_and_role_to_sign_and_an_allowance_to_mint() {
        let well = Standing {
            balance: 10,
            may_execute: true,
            mint_available: 50,
        };
        // Columns: signs at all, mints.
        let table = [
            (well, [true, true]),
            (Standing { balance: 9, ..well }, [false, true]),
            (
                Standing {
                    may_execute: false,
                    ..well
                },
                [false, true],
            ),
            (
                Standing {
                    mint_available: 49,
                    ..well
                },
                [true, false],
            ),
        ];
        for (standing, expected) in table {
            let found = [judge(&standing, 10).is_ok(), judge_ration(&standing, 50).is_ok()];
            assert_eq!(found, expected, "{standing:?}");
        }
    }

    #[test]
    fn a_write_refused_under_an_old_lease_drops_no_newer_lease() {
        let key = Key::new(Arc::new(
            LocalKey::from_hex(&"11".repeat(32).into()).expect("a key"),
        ));
        let old = Lease {
            signer: key.bytes(),
            holder: uuid::Uuid::from_u128(1),
            fencing_token: 1,
        };
        let new = Lease {
            fencing_token: 2,
            ..old
        };
        key.lease.send_replace(Some(new));
        key.lost(&old);
        assert_eq!(key.lease_now(), Some(new));
        key.lost(&new);
        assert_eq!(key.lease_now(), None);
    }
}
