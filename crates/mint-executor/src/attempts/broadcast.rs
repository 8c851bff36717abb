//! Sends stored bytes. Whatever the answer, the rows stay as they are: a lost answer is unknown, never failed.

use chain::transaction::SignedTransaction;
use chain::{ChainClient, SendOutcome, TxHash};
use storage::Pool;
use storage::executor::attempts::{self, AttemptRow};

use super::stored_bytes;
use crate::observe;
use crate::state::{Gates, SignerHandles};

#[derive(Clone, Debug)]
pub struct Broadcaster {
    pub pool: Pool,
    pub chain: ChainClient,
    pub gates: Gates,
    pub signers: SignerHandles,
}

impl Broadcaster {
    /// Sends the bytes of a new attempt, which this process has just signed and stored.
    pub async fn send_new(&self, attempt: i64, signer: &[u8; 20], signed: &SignedTransaction) {
        let outcome = self.chain.send_raw(&signed.raw, signed.hash).await;
        self.record(signer, signed.hash, &outcome);
        let recorded = async { attempts::mark_broadcast(&self.pool.get().await?, &[attempt]).await };
        if let Err(error) = recorded.await {
            tracing::debug!(error = %domain::error_chain(&error), "the time of a broadcast was not recorded");
        }
    }

    /// Sends only bytes that the attempt's signer signed with this hash and nonce; false for any others.
    pub async fn send_stored(&self, attempt: &AttemptRow) -> bool {
        if !is_genuine(attempt) {
            return false;
        }
        let hash = TxHash::from_bytes(attempt.tx_hash);
        let outcome = self
            .chain
            .send_to_all_endpoints(&attempt.raw_transaction, hash)
            .await;
        self.record(&attempt.signer, hash, &outcome);
        true
    }

    fn record(&self, signer: &[u8; 20], hash: TxHash, outcome: &SendOutcome) {
        use chain::classify::Rejection;
        observe::sent(hash, outcome);
        match outcome {
            SendOutcome::Rejected(Rejection::InsufficientFunds) => self.too_little_gas(signer),
            SendOutcome::Unknown(_) => self.gates.node().failure("a send was not answered"),
            SendOutcome::Accepted | SendOutcome::AlreadyKnown | SendOutcome::Rejected(_) => {}
        }
    }

    /// The other signers go on.
    fn too_little_gas(&self, signer: &[u8; 20]) {
        if let Some(signer) = self.signers.get(signer) {
            signer.role_and_balance().trip("the signer has too little gas");
        }
    }
}

/// The stored bytes are what the attempt's signer signed, with its hash and its nonce.
fn is_genuine(attempt: &AttemptRow) -> bool {
    stored_bytes::verify_stored(attempt).is_some()
}
