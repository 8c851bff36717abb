//! One signing key of this process: its lease, its breakers, its limits, and what wakes it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chain::inspect::SignerStatus;
use chain::transaction::{EvmTransaction, SignedTransaction};
use chain::{Signer, SignerError};
use domain::address::Address;
use domain::command::Command;
use parking_lot::Mutex;
use runtime::breaker::Breaker;
use storage::executor::signers::SignerLease;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::breakers::POLICY;
use crate::observe;
use crate::rules::in_flight_limit;

/// Work of a signer that waits because its fee would exceed the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeeCapWait {
    /// The lowest nonce that is not mined, or a missing one: its fee may not rise further.
    LowestNonce,
    /// Items of a command that are not signed yet.
    Batch(Command),
}

/// The digest with which a probe tests whether an unresponsive signer signs again.
const PROBE_DIGEST: [u8; 32] = *b"FiatRails: does this signer sign";

pub struct SignerHandle {
    signer: Arc<dyn Signer>,
    /// `None` while another executor holds the lease.
    pub lease: watch::Sender<Option<SignerLease>>,
    /// Opens without gas or role, and blocks this signer only.
    pub role_and_balance: Breaker,
    /// Opens when the signer gives no signature: a token may be gone, or hang.
    pub signatures: Breaker,
    /// Since when it has given no signature.
    unresponsive_since: Mutex<Option<Instant>>,
    /// Opens when the hourly mint allowance is used up, and blocks its mints.
    pub mint_allowance: Breaker,
    /// The amount that a refused mint lacked, base units: the probe waits until that much is available.
    missing_allowance: Mutex<u128>,
    /// How many of its transactions may wait for a block at once; the setting is the upper bound.
    in_flight_limit: AtomicU64,
    /// Nonces below it were mined at the last head at which the node was asked; 0 while it is not asked.
    confirmed_nonce: AtomicU64,
    /// Its work that waits for lower fees.
    waits_for_fees: Mutex<HashSet<FeeCapWait>>,
    /// Wakes its submitter, because an item may be ready.
    pub work_available: Notify,
}

impl SignerHandle {
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        let address = signer.address();
        Self {
            lease: watch::Sender::new(None),
            role_and_balance: Breaker::new(format!("signer {address}"), POLICY),
            signatures: Breaker::new(format!("signatures of {address}"), POLICY),
            unresponsive_since: Mutex::default(),
            mint_allowance: Breaker::new(format!("mint limit of {address}"), POLICY),
            missing_allowance: Mutex::default(),
            in_flight_limit: AtomicU64::new(u64::MAX),
            confirmed_nonce: AtomicU64::new(0),
            waits_for_fees: Mutex::default(),
            work_available: Notify::new(),
            signer,
        }
    }

    pub fn address(&self) -> Address {
        self.signer.address()
    }

    pub fn address_bytes(&self) -> [u8; 20] {
        *self.address().as_bytes()
    }

    /// Signs, and records whether the signer responds.
    pub async fn sign(&self, transaction: &EvmTransaction) -> Result<SignedTransaction, SignerError> {
        let signed = transaction.sign(self.signer.as_ref()).await;
        self.record_signing(signed.as_ref().err());
        signed
    }

    /// Tests whether it signs again, with a digest that no transaction has.
    pub async fn probe(&self) -> Result<(), String> {
        let failed = self.signer.sign(PROBE_DIGEST).await.err();
        self.record_signing(failed.as_ref());
        self.work_available.notify_one();
        failed.map_or(Ok(()), |error| Err(error.to_string()))
    }

    fn record_signing(&self, failed: Option<&SignerError>) {
        let mut mute = self.unresponsive_since.lock();
        if let Some(error) = failed {
            mute.get_or_insert_with(Instant::now);
            self.cannot_sign(error);
        } else {
            *mute = None;
        }
    }

    fn cannot_sign(&self, error: &SignerError) {
        self.signatures.trip(&error.to_string());
    }

    /// How long it has given no signature; `None` after a signature.
    pub fn unresponsive_for(&self, now: Instant) -> Option<Duration> {
        let mute = self.unresponsive_since.lock();
        mute.map(|since| now.saturating_duration_since(since))
    }

    /// The lease as last renewed; every writing transaction checks it again.
    pub fn current_lease(&self) -> Option<SignerLease> {
        *self.lease.borrow()
    }

    /// Forgets the lease: this signer pauses until it is acquired again.
    pub fn drop_lease(&self) {
        self.lease.send_if_modified(|lease| lease.take().is_some());
    }

    /// A write under that lease was refused. A lease acquired since then stays.
    pub fn drop_lease_if(&self, old: &SignerLease) {
        self.lease
            .send_if_modified(|lease| lease.take_if(|lease| lease == old).is_some());
    }

    /// The chain refused a mint of that amount for this hour.
    pub fn trip_mint_allowance(&self, why: &str, amount: u128) {
        *self.missing_allowance.lock() = amount;
        self.mint_allowance.trip(why);
    }

    pub fn missing_allowance(&self) -> u128 {
        *self.missing_allowance.lock()
    }

    pub fn in_flight_limit(&self, most: u64) -> u64 {
        self.in_flight_limit.load(Ordering::Relaxed).min(most.max(1))
    }

    /// Adjusts the limit to a new head.
    pub fn adjust_in_flight_limit(&self, most: u64, late: bool) {
        let next = in_flight_limit::next_limit(self.in_flight_limit.load(Ordering::Relaxed), most, late);
        self.in_flight_limit.store(next, Ordering::Relaxed);
    }

    /// Its nonces below this one are mined, whoever used them.
    pub fn confirmed_nonce(&self) -> u64 {
        self.confirmed_nonce.load(Ordering::Relaxed)
    }

    /// Stores its transaction count at a head; 0 if the node was not asked, so that every signed nonce may be waiting.
    pub fn set_confirmed_nonce(&self, next: u64) {
        self.confirmed_nonce.store(next, Ordering::Relaxed);
    }

    /// Records whether that work waits for lower fees and sets the metric; true when it changed.
    pub fn set_waits_for_fees(&self, what: FeeCapWait, is: bool) -> bool {
        let mut all = self.waits_for_fees.lock();
        let news = if is { all.insert(what) } else { all.remove(&what) };
        if news {
            observe::fee_capped(&self.address(), !all.is_empty());
        }
        news
    }

    /// The signer's own breakers that a command depends on.
    pub fn breakers(&self, command: Command) -> Vec<&Breaker> {
        match command {
            Command::Execute => vec![&self.role_and_balance, &self.signatures, &self.mint_allowance],
            Command::Submit | Command::Refund => vec![&self.role_and_balance, &self.signatures],
        }
    }
}

impl fmt::Debug for SignerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.address())
    }
}

/// Whether a signer can send anything now. Pure.
pub fn can_sign(now: &SignerStatus, min_gas: u128) -> Result<(), String> {
    if now.balance < min_gas {
        return Err("the signer has too little gas".to_owned());
    }
    if !now.may_execute {
        return Err("the signer lacks EXECUTOR_ROLE".to_owned());
    }
    Ok(())
}

/// Whether its allowance covers a mint now. Pure.
pub fn can_mint(now: &SignerStatus, needed: u128) -> Result<(), String> {
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
        let well = SignerStatus {
            balance: 10,
            may_execute: true,
            mint_available: 50,
        };
        // Columns: signs at all, mints.
        let table = [
            (well, [true, true]),
            (SignerStatus { balance: 9, ..well }, [false, true]),
            (
                SignerStatus {
                    may_execute: false,
                    ..well
                },
                [false, true],
            ),
            (
                SignerStatus {
                    mint_available: 49,
                    ..well
                },
                [true, false],
            ),
        ];
        for (status, expected) in table {
            let found = [can_sign(&status, 10).is_ok(), can_mint(&status, 50).is_ok()];
            assert_eq!(found, expected, "{status:?}");
        }
    }

    #[test]
    fn a_write_refused_under_an_old_lease_drops_no_newer_lease() {
        let key = SignerHandle::new(Arc::new(
            LocalKey::from_hex(&"11".repeat(32).into()).expect("a key"),
        ));
        let old = SignerLease {
            signer: key.address_bytes(),
            holder: uuid::Uuid::from_u128(1),
            fencing_token: 1,
        };
        let new = SignerLease {
            fencing_token: 2,
            ..old
        };
        key.lease.send_replace(Some(new));
        key.drop_lease_if(&old);
        assert_eq!(key.current_lease(), Some(new));
        key.drop_lease_if(&new);
        assert_eq!(key.current_lease(), None);
    }
}
