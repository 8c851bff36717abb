//! Seals: HMAC-SHA256 over all relevant parts of a message, under a key that the broker does not have.
//!
//! Only a [`Sealer`] creates messages and only an [`Opener`] reads them. An opener returns a message only after it
//! compared the MAC in constant time (by `ring`) under a key of exactly that queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::ids::{IntentId, MessageId};
use domain::key_ring::KeyRing;
use domain::signature::{HmacSecret, KeyId, Mac};
use parking_lot::{Mutex, RwLock};
use time::OffsetDateTime;

use crate::envelope::{Envelope, EnvelopeError, Hints, MAX_MESSAGE_BYTES, VERSION, is_traceparent};
use crate::names::WorkQueue;
use crate::wire::Body;

/// The pipeline keys that one service may know: several per queue, by key id. The greatest active key id seals, all
/// verify.
#[derive(Clone, Debug, Default)]
pub struct PipelineKeys(BTreeMap<WorkQueue, KeyRing>);

impl PipelineKeys {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one key.
    #[must_use]
    pub fn with(mut self, queue: WorkQueue, kid: KeyId, secret: HmacSecret) -> Self {
        self.insert(queue, kid, secret);
        self
    }

    pub fn insert(&mut self, queue: WorkQueue, kid: KeyId, secret: HmacSecret) {
        self.0.entry(queue).or_default().insert(kid, secret);
    }

    /// Marks a key that must not seal yet, as long as another key can.
    pub fn mark_pending(&mut self, queue: WorkQueue, kid: KeyId) {
        self.0.entry(queue).or_default().mark_pending(kid);
    }

    /// The key ids of a queue, in ascending order.
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

/// Keys that can be replaced while the process runs. Clones share them. Records which keys were used.
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

    /// Replaces the keys for all later sealing and verifying.
    pub fn replace(&self, keys: PipelineKeys) {
        *self.keys.write() = Arc::new(keys);
    }

    pub fn current(&self) -> Arc<PipelineKeys> {
        self.keys.read().clone()
    }

    /// The keys that sealed or verified a message since the last call.
    pub fn take_used(&self) -> Vec<(WorkQueue, KeyId)> {
        let used = std::mem::take(&mut *self.used.lock());
        let flat =
            |(queue, kids): (WorkQueue, BTreeSet<KeyId>)| kids.into_iter().map(move |kid| (queue, kid));
        used.into_iter().flat_map(flat).collect()
    }

    fn record_use(&self, queue: WorkQueue, kid: &KeyId) {
        let mut used = self.used.lock();
        let kids = used.entry(queue).or_default();
        if !kids.contains(kid) {
            kids.insert(kid.clone());
        }
    }
}

/// The fields of a new message besides its body.
#[derive(Clone, Debug)]
pub struct MessageMetadata {
    pub message_id: MessageId,
    /// The message that caused this one: the message handled, re-driven or replayed.
    pub causation_id: Option<MessageId>,
    /// Creation time; becomes `firstSeen`.
    pub at: OffsetDateTime,
    /// W3C trace context of the work that creates the message; dropped if malformed.
    pub traceparent: Option<String>,
}

/// A message ready for the outbox or the publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedMessage {
    pub queue: WorkQueue,
    pub message_id: MessageId,
    pub intent_id: Option<IntentId>,
    /// The exact bytes of the envelope.
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

/// Creates sealed messages.
#[derive(Clone, Debug)]
pub struct Sealer {
    keys: SharedPipelineKeys,
}

impl Sealer {
    pub fn new(keys: SharedPipelineKeys) -> Self {
        Self { keys }
    }

    /// The id of the key that currently seals a queue's messages.
    pub fn current_kid(&self, queue: WorkQueue) -> Option<KeyId> {
        self.keys.current().sealing(queue).map(|(kid, _)| kid.clone())
    }

    /// Seals `body` for its queue under the greatest active key id.
    pub fn seal<B: Body>(&self, body: &B, metadata: MessageMetadata) -> Result<SealedMessage, SealError> {
        self.seal_text(B::QUEUE, body.intent_id(), serde_json::to_string(body)?, metadata)
    }

    /// Seals the same content as a new message (replay). The body's text is kept byte for byte, and the original
    /// message becomes the cause.
    pub fn replay(
        &self,
        opened: &OpenedMessage,
        metadata: MessageMetadata,
    ) -> Result<SealedMessage, SealError> {
        let metadata = MessageMetadata {
            causation_id: Some(opened.message_id),
            ..metadata
        };
        self.seal_text(opened.queue, opened.intent_id, opened.body.clone(), metadata)
    }

    /// Seals the same message under the greatest active key id and keeps its hints, so that an old key can be retired.
    pub fn reseal(&self, opened: &OpenedMessage) -> Result<SealedMessage, SealError> {
        let metadata = MessageMetadata {
            message_id: opened.message_id,
            causation_id: opened.causation_id,
            at: opened.hints.first_seen,
            traceparent: opened.hints.traceparent.clone(),
        };
        let (intent_id, body) = (opened.intent_id, opened.body.clone());
        self.seal_with(opened.queue, intent_id, body, metadata, opened.hints.attempt)
    }

    fn seal_text(
        &self,
        queue: WorkQueue,
        intent_id: Option<IntentId>,
        body: String,
        metadata: MessageMetadata,
    ) -> Result<SealedMessage, SealError> {
        self.seal_with(queue, intent_id, body, metadata, 1)
    }

    fn seal_with(
        &self,
        queue: WorkQueue,
        intent_id: Option<IntentId>,
        body: String,
        metadata: MessageMetadata,
        attempt: u32,
    ) -> Result<SealedMessage, SealError> {
        let keys = self.keys.current();
        let (kid, secret) = keys.sealing(queue).ok_or(SealError::NoKey(queue))?;
        let mut envelope = Envelope {
            v: VERSION,
            queue: queue.name().to_owned(),
            kid: kid.as_str().to_owned(),
            message_id: metadata.message_id,
            causation_id: metadata.causation_id,
            intent_id,
            body,
            seal: String::new(),
            attempt,
            first_seen: metadata.at,
            traceparent: metadata.traceparent.filter(|text| is_traceparent(text)),
        };
        envelope.seal = secret.mac(&envelope.sealed_string()).to_hex();
        self.keys.record_use(queue, kid);
        let bytes = serde_json::to_vec(&envelope)?;
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(SealError::TooLarge(bytes.len()));
        }
        Ok(SealedMessage {
            queue,
            message_id: metadata.message_id,
            intent_id,
            bytes,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The bytes are no envelope, or the sealed body has another type: park as `malformed`.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The seal does not verify, or the message belongs to another queue: park as `seal_invalid`.
    #[error("the seal is not ours")]
    SealInvalid,
    /// The key is not known, perhaps not yet: wait, without counting an attempt.
    #[error("unknown pipeline key {kid} for queue {queue}")]
    UnknownKid { queue: WorkQueue, kid: KeyId },
}

impl From<EnvelopeError> for OpenError {
    fn from(error: EnvelopeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A message whose seal was verified. Only [`Opener::open`] creates it.
#[derive(Clone, Debug)]
pub struct OpenedMessage {
    queue: WorkQueue,
    kid: KeyId,
    message_id: MessageId,
    causation_id: Option<MessageId>,
    intent_id: Option<IntentId>,
    body: String,
    hints: Hints,
}

impl OpenedMessage {
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

    /// The unsealed fields: they may delay or park the message but never authorize anything.
    pub fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Parses the body. The intent id that it implies must be the sealed one.
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

/// The envelope's seal is made with this secret.
fn is_sealed_with(secret: &HmacSecret, envelope: &Envelope, mac: &Mac) -> bool {
    secret.verify(&envelope.sealed_string(), mac)
}

/// Verifies and reads sealed messages.
#[derive(Clone, Debug)]
pub struct Opener {
    keys: SharedPipelineKeys,
}

impl Opener {
    pub fn new(keys: SharedPipelineKeys) -> Self {
        Self { keys }
    }

    /// Verifies bytes that were received from `queue`, or stored after that.
    pub fn open(&self, queue: WorkQueue, bytes: &[u8]) -> Result<OpenedMessage, OpenError> {
        let envelope = Envelope::parse(bytes)?;
        let (kid, mac) = (envelope.key_id()?, envelope.mac()?);
        if envelope.queue != queue.name() {
            return Err(OpenError::SealInvalid);
        }
        let keys = self.keys.current();
        let Some(secret) = keys.verifying(queue, &kid) else {
            return Err(OpenError::UnknownKid { queue, kid });
        };
        if !is_sealed_with(secret, &envelope, &mac) {
            return Err(OpenError::SealInvalid);
        }
        self.keys.record_use(queue, &kid);
        let hints = envelope.hints();
        Ok(OpenedMessage {
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
