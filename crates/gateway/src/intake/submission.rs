//! What the intake gets of each request, and what it gives back.

use std::sync::Arc;

use messaging::SealedMessage;
use storage::gateway::idempotency::StoredAnswer;
use storage::gateway::intents::MintIntent;

use crate::error::{Code, Problem};

/// The result of a submission.
#[derive(Clone, Debug)]
pub enum IntakeResult {
    /// The request is answered for the first time, and the answer is stored.
    Stored(Arc<StoredAnswer>),
    /// The request was answered before and gets the same answer.
    Replayed(Arc<StoredAnswer>),
    /// The request is refused, and nothing is stored.
    Refused(Problem),
}

/// A request that passed every check that needs no database.
#[derive(Debug)]
pub struct Submission {
    pub request_id: String,
    /// The answer to be stored: the success, or the policy's refusal.
    pub answer: StoredAnswer,
    /// The intent to be inserted; absent for a refusal.
    pub intent: Option<SealedIntent>,
}

/// An intent and the sealed command that follows from it.
#[derive(Debug)]
pub struct SealedIntent {
    pub intent: MintIntent,
    pub message: SealedMessage,
}

impl Submission {
    /// Its integrator and key: rows are locked in this order.
    pub(super) fn scope(&self) -> (&str, &str) {
        (self.answer.integrator.as_str(), self.answer.key.as_str())
    }
}

pub(super) fn reused() -> Problem {
    Problem::new(Code::IdempotencyKeyReused, "Use a new key for a new request.")
}
