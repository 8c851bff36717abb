//! What the stored bytes of an attempt say. The bytes are signed, the row beside them is not: what they name is what was
//! signed.

use std::collections::HashSet;

use chain::calls;
use chain::transaction::{RecoveredTransaction, recover};
use domain::ids::IntentId;
use storage::executor::attempts::AttemptRow;

use crate::observe;

/// Decodes the stored bytes, if the attempt's signer signed them with this hash and nonce.
fn recover_signed(attempt: &AttemptRow) -> Option<RecoveredTransaction> {
    recover(&attempt.raw_transaction).ok().filter(|read| {
        *read.signer.as_bytes() == attempt.signer
            && *read.hash.as_bytes() == attempt.tx_hash
            && read.transaction.nonce == attempt.nonce
    })
}

/// The same, and raises an alarm otherwise.
pub fn verify_stored(attempt: &AttemptRow) -> Option<RecoveredTransaction> {
    let read = recover_signed(attempt);
    if read.is_none() {
        tracing::error!(
            attempt = attempt.id,
            "the stored bytes of an attempt are not what we signed"
        );
        observe::bytes_tampered();
    }
    read
}

/// The intents that the signed call names.
pub fn signed_members(attempt: &AttemptRow) -> HashSet<IntentId> {
    let called = recover_signed(attempt).and_then(|read| calls::decode_call(&read.transaction.data));
    called
        .map(|(_, ids)| ids.into_iter().collect())
        .unwrap_or_default()
}
