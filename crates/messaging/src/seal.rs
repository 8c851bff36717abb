//! Seals: HMAC-SHA256 over everything in a message that can matter, under a key the broker does not hold.
//!
//! A [`Sealer`] is the only way to make a message, an [`Opener`] the only way to read one; what comes out of
//! an opener has had its MAC compared in constant time (by `ring`) under a key of exactly its queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use domain::ids::{IntentId, MessageId};
use domain::key_ring::KeyRing;
use domain::signature::{HmacSecret, KeyId};
use time::OffsetDateTime;

use crate::envelope::{Envelope, EnvelopeError, Hints, MAX_MESSAGE_BYTES, VERSION, is_traceparent};
use crate::topology::WorkQueue;
use crate::wire::Body;

/// The pipeline keys one service may know: per queue, several by key id. The greatest grown one seals, all verify.
#[derive(Clone, Debug, Default)]
pub struct PipelineKeys(BTreeMap<WorkQueue, KeyRing>);

impl PipelineKeys {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds (or replaces) one key.
    #[must_use]
    pub fn with(mut self, queue: WorkQueue, kid: KeyId, secret: HmacSecret) -> Self {
        self.insert(queue, kid, secret);
        self
    }

    pub fn insert(&mut self, queue: WorkQueue, kid: KeyId, secret: HmacSecret) {
        self.0.entry(queue).or_default().insert(kid, secret);
    }

    /// This key does not seal yet, if another can.
    pub fn keep_young(&mut self, queue: WorkQueue, kid: KeyId) {
        self.0.entry(queue).or_default().mark_pending(kid);
    }

    /// Key ids known for a queue, least first.
    pub fn kids(&self, queue: WorkQueue) -> impl Iterator<Item = &KeyId> {
        self.0.get(&queue).into_iter().flat_map(KeyRing::key_ids)
    }

    fn sealing(&self, queue: WorkQueue) -> Option<(&KeyId, &HmacSecret)> {
        self.0.get(&queue)?.current()
    }

    fn verifying(&self, queue: WorkQueue, kid: &KeyId) -> Option<&HmacSecret> {
        self.0.get(&queue)?.get(kid)
    }
}

/// Keys that can be exchanged while the process runs; clones share them. Remembers which of them were used.
#[derive(Clone, Debug, Default)]
pub struct SharedPipelineKeys {
    keys: Arc<RwLock<Arc<PipelineKeys>>>,
    used: Arc<Mutex<BTreeMap<WorkQueue, BTreeSet<KeyId>>>>,
}

impl SharedPipelineKeys {
    pub fn new(keys: PipelineKeys) -> Self {
        Self {
            keys: Arc::new(RwLock::new(Arc::new(keys))),
            used: Arc::default(),
        }
    }

    /// From now on everything seals and verifies with these.
    pub fn replace(&self, keys: PipelineKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    pub fn current(&self) -> Arc<PipelineKeys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys that sealed or opened something since this was asked last.
    pub fn take_used(&self) -> Vec<(WorkQueue, KeyId)> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let flat =
            |(queue, kids): (WorkQueue, BTreeSet<KeyId>)| kids.into_iter().map(move |kid| (queue, kid));
        used.into_iter().flat_map(flat).collect()
    }

    fn note_use(&self, queue: WorkQueue, kid: &KeyId) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let kids = used.entry(queue).or_default();
        if !kids.contains(kid) {
            kids.insert(kid.clone());
        }
    }
}

/// What a new message is given besides its body.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub message_id: MessageId,
    /// The message this one follows from: the one handled, re-driven or replayed.
    pub causation_id: Option<MessageId>,
    /// Becomes `firstSeen`.
    pub at: OffsetDateTime,
    /// W3C trace context of the work that makes the message; dropped when malformed.
    pub traceparent: Option<String>,
}

/// A message ready for the outbox or the publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedMessage {
    pub queue: WorkQueue,
    pub message_id: MessageId,
    pub intent_id: Option<IntentId>,
    /// The envelope's exact bytes.
    pub bytes: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("no pipeline key for queue {0}")]
    NoKey(WorkQueue),
    #[error("the body cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("the sealed message would have {0} bytes, more than {MAX_MESSAGE_BYTES}")]
    TooLarge(usize),
}

/// Makes messages.
#[derive(Clone, Debug)]
pub struct Sealer {
    keys: SharedPipelineKeys,
}

impl Sealer {
    pub fn new(keys: SharedPipelineKeys) -> Self {
        Self { keys }
    }

    /// The key that seals new messages of a queue now.
    pub fn current_kid(&self, queue: WorkQueue) -> Option<KeyId> {
        self.keys.current().sealing(queue).map(|(kid, _)| kid.clone())
    }

    /// Seals `body` for its queue under the greatest key id.
    pub fn seal<B: Body>(&self, body: &B, stamp: Stamp) -> Result<SealedMessage, SealError> {
        self.seal_text(B::QUEUE, body.intent_id(), serde_json::to_string(body)?, stamp)
    }

    /// The same sealed content as a new message (replay): the body's text is kept byte for byte. The causation
    /// id of the stamp is replaced by the id of the message that was opened.
    pub fn replay(&self, opened: &Opened, stamp: Stamp) -> Result<SealedMessage, SealError> {
        let stamp = Stamp {
            causation_id: Some(opened.message_id),
            ..stamp
        };
        self.seal_text(opened.queue, opened.intent_id, opened.body.clone(), stamp)
    }

    /// The same message under the greatest key id, hints kept: for retiring a key.
    pub fn reseal(&self, opened: &Opened) -> Result<SealedMessage, SealError> {
        let stamp = Stamp {
            message_id: opened.message_id,
            causation_id: opened.causation_id,
            at: opened.hints.first_seen,
            traceparent: opened.hints.traceparent.clone(),
        };
        let (intent_id, body) = (opened.intent_id, opened.body.clone());
        self.seal_with(opened.queue, intent_id, body, stamp, opened.hints.attempt)
    }

    fn seal_text(
        &self,
        queue: WorkQueue,
        intent_id: Option<IntentId>,
        body: String,
        stamp: Stamp,
    ) -> Result<SealedMessage, SealError> {
        self.seal_with(queue, intent_id, body, stamp, 1)
    }

    fn seal_with(
        &self,
        queue: WorkQueue,
        intent_id: Option<IntentId>,
        body: String,
        stamp: Stamp,
        attempt: u32,
    ) -> Result<SealedMessage, SealError> {
        let keys = self.keys.current();
        let (kid, secret) = keys.sealing(queue).ok_or(SealError::NoKey(queue))?;
        let mut envelope = Envelope {
            v: VERSION,
            queue: queue.name().to_owned(),
            kid: kid.as_str().to_owned(),
            message_id: stamp.message_id,
            causation_id: stamp.causation_id,
            intent_id,
            body,
            seal: String::new(),
            attempt,
            first_seen: stamp.at,
            traceparent: stamp.traceparent.filter(|text| is_traceparent(text)),
        };
        envelope.seal = secret.mac(&envelope.sealed_string()).to_hex();
        self.keys.note_use(queue, kid);
        let bytes = serde_json::to_vec(&envelope)?;
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(SealError::TooLarge(bytes.len()));
        }
        Ok(SealedMessage {
            queue,
            message_id: stamp.message_id,
            intent_id,
            bytes,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No envelope, or a sealed body of another shape: park as `malformed`.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The seal does not verify, or the message belongs to another queue: park as `seal_invalid`.
    #[error("the seal is not ours")]
    SealInvalid,
    /// A key we do not hold (yet): wait, burn no attempt.
    #[error("unknown pipeline key {kid} for queue {queue}")]
    UnknownKid { queue: WorkQueue, kid: KeyId },
}

impl From<EnvelopeError> for OpenError {
    fn from(error: EnvelopeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A message whose seal verified. Can only be made by [`Opener::open`].
#[derive(Clone, Debug)]
pub struct Opened {
    queue: WorkQueue,
    kid: KeyId,
    message_id: MessageId,
    causation_id: Option<MessageId>,
    intent_id: Option<IntentId>,
    body: String,
    hints: Hints,
}

impl Opened {
    pub fn queue(&self) -> WorkQueue {
        self.queue
    }

    pub fn kid(&self) -> &KeyId {
        &self.kid
    }

    pub fn message_id(&self) -> MessageId {
        self.message_id
    }

    pub fn causation_id(&self) -> Option<MessageId> {
        self.causation_id
    }

    pub fn intent_id(&self) -> Option<IntentId> {
        self.intent_id
    }

    /// Unsealed: may delay or park, never permit.
    pub fn hints(&self) -> &Hints {
        &self.hints
    }

    /// The typed body; its own intent id must be the sealed one.
    pub fn body<B: Body>(&self) -> Result<B, OpenError> {
        if B::QUEUE != self.queue {
            return Err(OpenError::Malformed(format!(
                "a body of {} is not on {}",
                B::QUEUE,
                self.queue
            )));
        }
        let body: B = serde_json::from_str(&self.body).map_err(|e| OpenError::Malformed(e.to_string()))?;
        if body.intent_id() != self.intent_id {
            return Err(OpenError::Malformed(
                "the intent id does not commit to the body".into(),
            ));
        }
        Ok(body)
    }
}

/// Reads messages.
#[derive(Clone, Debug)]
pub struct Opener {
    keys: SharedPipelineKeys,
}

impl Opener {
    pub fn new(keys: SharedPipelineKeys) -> Self {
        Self { keys }
    }

    /// Verifies bytes that came from `queue` (or were stored as having come from it).
    pub fn open(&self, queue: WorkQueue, bytes: &[u8]) -> Result<Opened, OpenError> {
        let envelope = Envelope::parse(bytes)?;
        let (kid, mac) = (envelope.key_id()?, envelope.mac()?);
        if envelope.queue != queue.name() {
            return Err(OpenError::SealInvalid);
        }
        let keys = self.keys.current();
        let Some(secret) = keys.verifying(queue, &kid) else {
            return Err(OpenError::UnknownKid { queue, kid });
        };
        if !secret.verify(&envelope.sealed_string(), &mac) {
            return Err(OpenError::SealInvalid);
        }
        self.keys.note_use(queue, &kid);
        let hints = envelope.hints();
        Ok(Opened {
            queue,
            kid,
            message_id: envelope.message_id,
            causation_id: envelope.causation_id,
            intent_id: envelope.intent_id,
            body: envelope.body,
            hints,
        })
    }
}

#[cfg(test)]
mod tests;
