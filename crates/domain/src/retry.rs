//! The retry schedule: pure and replayable (docs/QUEUES.md).

use std::time::Duration;

use ring::hmac;
use serde::Deserialize;

use crate::backoff::Backoff;
use crate::ids::MessageId;

/// Exponential back-off with deterministic jitter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryPolicy {
    /// Maximum number of attempts; a message that failed this often is parked.
    pub max_attempts: u32,
    /// Delay after the first failure, ms.
    pub base_ms: u64,
    /// Upper bound of the delay before jitter, ms.
    pub cap_ms: u64,
    /// Key of the jitter: the same seed gives the same schedule.
    pub seed: String,
}

/// Whether a failed message is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    RetryAfter(Duration),
    GiveUp,
}

impl RetryPolicy {
    /// Decides what follows failed attempt `n` (counted from 1) of this message.
    pub fn after_failure(&self, message_id: MessageId, n: u32) -> RetryDecision {
        if n >= self.max_attempts {
            RetryDecision::GiveUp
        } else {
            RetryDecision::RetryAfter(self.delay(message_id, n))
        }
    }

    /// `floor(base * 3/4 + base/2 * u / 2^64)` ms with `base` the usual delay and `u` the first 8 bytes (big-endian) of HMAC-SHA256(seed, `<message id>|<n>`): spread over +-25 %, yet replayable.
    pub fn delay(&self, message_id: MessageId, n: u32) -> Duration {
        let base = self.usual_delay(n).as_millis();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.seed.as_bytes());
        let tag = hmac::sign(&key, format!("{message_id}|{n}").as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&tag.as_ref()[..8]);
        let u = u128::from(u64::from_be_bytes(first));
        // Over the common denominator 4 * 2^64, so that only one floor is taken.
        let ms = ((base * 3) << 64).saturating_add(base * 2 * u) >> 66;
        Duration::from_millis(u64::try_from(ms).unwrap_or(self.cap_ms))
    }

    /// The delay after failure `n` without jitter.
    pub fn usual_delay(&self, n: u32) -> Duration {
        let backoff = Backoff {
            first: Duration::from_millis(self.base_ms),
            longest: Duration::from_millis(self.cap_ms),
        };
        backoff.wait(n.saturating_sub(1))
    }

    /// The numbers of the failures that are followed by a retry.
    pub fn steps(&self) -> impl Iterator<Item = u32> {
        1..self.max_attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 6,
            base_ms: 751,
            cap_ms: 30_000,
            seed: "fiatrails".into(),
        }
    }

    #[test]
    fn known_answers_of_the_schedule() {
        let id = "018f0000-0000-7000-8000-000000000001".parse().unwrap();
        let waits: Vec<_> = policy()
            .steps()
            .map(|n| (n, policy().delay(id, n).as_millis()))
            .collect();
        assert_eq!(waits, [(1, 610), (2, 1749), (3, 3521), (4, 5720), (5, 9210)]);
    }

    #[test]
    fn a_message_is_given_up_after_six_failures() {
        let id = "018f0000-0000-7000-8000-000000000001".parse().unwrap();
        assert!(matches!(
            policy().after_failure(id, 5),
            RetryDecision::RetryAfter(_)
        ));
        assert_eq!(policy().after_failure(id, 6), RetryDecision::GiveUp);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_quarter(bits in any::<u128>(), n in 1_u32..100) {
            let id = MessageId(uuid::Uuid::from_u128(bits));
            let base = 751_u128.saturating_mul(1 << n.min(40).saturating_sub(1)).min(30_000);
            let ms = policy().delay(id, n).as_millis();
            prop_assert!(ms >= base * 3 / 4 && ms <= base * 5 / 4, "{ms} of {base}");
        }
    }
}
