//! The signing keys of this process: of each its lease, its breakers, its limits, and what wakes it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chain::transaction::{EvmTransaction, SignedTransaction};
use chain::{Signer, SignerError};
use domain::address::Address;
use domain::backoff::Backoff;
use domain::command::Command;
use parking_lot::Mutex;
use runtime::breaker::{Breaker, BreakerPolicy};
use storage::executor::signers::SignerLease;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::observe;
use crate::rules::in_flight_limit;

/// The first probe comes early: most pauses in development are short, and a probe costs a few view calls.
pub(super) const BREAKER_POLICY: BreakerPolicy = BreakerPolicy {
    failures: 3,
    open_for: Backoff {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(10),
    },
};

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
    lease: watch::Sender<Option<SignerLease>>,
    /// Opens without gas or role, and blocks this signer only.
    role_and_balance: Breaker,
    /// Opens when the signer gives no signature: a token may be gone, or hang.
    signatures: Breaker,
    /// Since when it has given no signature.
    unresponsive_since: Mutex<Option<Instant>>,
    /// Opens when the hourly mint allowance is used up, and blocks its mints.
    mint_allowance: Breaker,
    /// The amount that a refused mint lacked, base units: the probe waits until that much is available.
    missing_allowance: Mutex<u128>,
    /// How many of its transactions may wait for a block at once; the setting is the upper bound.
    in_flight_limit: AtomicU64,
    /// Nonces below it were mined at the last head at which the node was asked; 0 while it is not asked.
    confirmed_nonce: AtomicU64,
    /// Its work that waits for lower fees.
    waits_for_fees: Mutex<HashSet<FeeCapWait>>,
    /// Wakes its submitter, because an item may be ready.
    work_available: Notify,
}

impl SignerHandle {
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        let address = signer.address();
        Self {
            lease: watch::Sender::new(None),
            role_and_balance: Breaker::new(format!("signer {address}"), BREAKER_POLICY),
            signatures: Breaker::new(format!("signatures of {address}"), BREAKER_POLICY),
            unresponsive_since: Mutex::default(),
            mint_allowance: Breaker::new(format!("mint limit of {address}"), BREAKER_POLICY),
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
        self.wake();
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

    pub fn hold_lease(&self, lease: SignerLease) {
        self.lease.send_replace(Some(lease));
    }

    /// True while the lease is held.
    pub fn lease_gate(&self) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(self.current_lease().is_some());
        let mut lease = self.lease.subscribe();
        tokio::spawn(async move {
            while lease.changed().await.is_ok() {
                let held = lease.borrow_and_update().is_some();
                sender.send_replace(held);
            }
        });
        receiver
    }

    /// An item may be ready.
    pub fn wake(&self) {
        self.work_available.notify_one();
    }

    /// Waits until an item may be ready.
    pub async fn work_available(&self) {
        self.work_available.notified().await;
    }

    /// Opens without gas or role, and blocks this signer only.
    pub const fn role_and_balance(&self) -> &Breaker {
        &self.role_and_balance
    }

    /// Opens when the signer gives no signature.
    pub const fn signatures(&self) -> &Breaker {
        &self.signatures
    }

    /// Opens when the hourly mint allowance is used up.
    pub const fn mint_allowance(&self) -> &Breaker {
        &self.mint_allowance
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

/// All signing keys of this process, at least one; each works on its share of the intents. Clones share them.
#[derive(Clone, Debug)]
pub struct SignerHandles(Arc<[Arc<SignerHandle>]>);

impl SignerHandles {
    pub fn new(signers: Vec<Arc<dyn Signer>>) -> Self {
        let handles = signers.into_iter().map(SignerHandle::new);
        Self(handles.map(Arc::new).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<SignerHandle>> {
        self.0.iter()
    }

    /// A signer of this process.
    pub fn get(&self, address: &[u8; 20]) -> Option<&Arc<SignerHandle>> {
        self.iter().find(|signer| signer.address_bytes() == *address)
    }

    pub fn addresses(&self) -> Vec<[u8; 20]> {
        self.iter().map(|signer| signer.address_bytes()).collect()
    }

    /// Any lease that this process holds.
    pub fn any_lease(&self) -> Option<SignerLease> {
        self.iter().find_map(|signer| signer.current_lease())
    }

    /// Wakes every signer, because an item may be ready.
    pub fn wake(&self) {
        self.iter().for_each(|signer| signer.wake());
    }
}

#[cfg(test)]
mod tests {
    use chain::LocalKey;

    use super::*;

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
        key.hold_lease(new);
        key.drop_lease_if(&old);
        assert_eq!(key.current_lease(), Some(new));
        key.drop_lease_if(&new);
        assert_eq!(key.current_lease(), None);
    }
}
