//! The fault of each request: drawn from a seed, so that the n-th request of a run always has the same.

use std::time::Duration;

use hyper::StatusCode;

use super::false_errors::{self, FalseError};

/// The rate of each fault per request, in per mille. The rest passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// The request never reaches the node.
    pub lose_request: u32,
    /// The node acts, and its answer is lost.
    pub lose_answer: u32,
    /// 429, 500, 502 or 503, at random; the node receives nothing.
    pub refuse: u32,
    /// The answer comes late, by up to [`LONGEST_DELAY`].
    pub delay: u32,
    /// Transactions only: the answer is some node's error text, whether or not the node accepted the transaction.
    pub false_error: u32,
}

impl FaultRates {
    /// Of a thousand calls, this many are lost before the node acts, and as many afterwards.
    pub const fn drops(per_mille: u32) -> Self {
        Self {
            lose_request: per_mille,
            lose_answer: per_mille,
            refuse: 0,
            delay: 0,
            false_error: 0,
        }
    }
}

/// Answers of a gateway in front of nodes.
const REFUSALS: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// One of this many lost calls is lost without a sign: the connection stays open without an answer. The others close.
const SILENT_OF: u32 = 5;

pub const LONGEST_DELAY: Duration = Duration::from_millis(2500);

/// How often each fault was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts {
    pub requests: u64,
    pub lost_requests: u64,
    pub lost_answers: u64,
    /// Requests and answers lost without a sign.
    pub lost_silently: u64,
    pub refused: u64,
    pub delayed: u64,
    pub false_errors: u64,
    /// Calls while the node was not reachable.
    pub cut_off: u64,
    /// Calls answered as of an earlier block.
    pub behind: u64,
}

/// How a call is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The connection ends.
    Seen,
    /// The client waits.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RpcFault {
    LoseRequest(Loss),
    LoseAnswer(Loss),
    Refuse(StatusCode),
    Delay(Duration),
    /// The node acts, and the answer is a false error.
    FalseErrorAfter(FalseError),
    /// The node receives nothing, and the answer is a false error.
    FalseErrorInstead(FalseError),
    None,
}

/// Draws the fault of one request after the other.
#[derive(Debug)]
pub(super) struct FaultPicker {
    pub faults: FaultRates,
    pub made: FaultCounts,
    random: fastrand::Rng,
    /// The next false error: they are given in turn, so that all are used soon.
    next_lie: usize,
}

impl FaultPicker {
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            faults: FaultRates::default(),
            made: FaultCounts::default(),
            next_lie: random.usize(0..false_errors::ALL.len()),
            random,
        }
    }

    /// `sends`: whether the request sends a transaction.
    pub fn draw(&mut self, sends: bool) -> RpcFault {
        let FaultRates {
            lose_request,
            lose_answer,
            refuse,
            delay,
            false_error,
        } = self.faults;
        self.made.requests += 1;
        // Forked, so that the draws of one request do not change those of the next.
        let mut random = self.random.fork();
        let mut left = random.u32(0..1000);
        let mut falls = |chance: u32| {
            let hit = left < chance;
            left = if hit { u32::MAX } else { left - chance };
            hit
        };
        if falls(lose_request) {
            self.made.lost_requests += 1;
            RpcFault::LoseRequest(self.lose(&mut random))
        } else if falls(lose_answer) {
            self.made.lost_answers += 1;
            RpcFault::LoseAnswer(self.lose(&mut random))
        } else if falls(refuse) {
            self.made.refused += 1;
            RpcFault::Refuse(REFUSALS[random.usize(0..REFUSALS.len())])
        } else if falls(delay) {
            self.made.delayed += 1;
            let longest = u64::try_from(LONGEST_DELAY.as_millis()).unwrap_or(u64::MAX);
            RpcFault::Delay(Duration::from_millis(random.u64(0..longest)))
        } else if sends && falls(false_error) {
            self.made.false_errors += 1;
            let false_error = false_errors::ALL[self.next_lie];
            self.next_lie = (self.next_lie + 1) % false_errors::ALL.len();
            if random.bool() {
                RpcFault::FalseErrorAfter(false_error)
            } else {
                RpcFault::FalseErrorInstead(false_error)
            }
        } else {
            RpcFault::None
        }
    }

    fn lose(&mut self, random: &mut fastrand::Rng) -> Loss {
        if random.u32(0..SILENT_OF) == 0 {
            self.made.lost_silently += 1;
            Loss::Silent
        } else {
            Loss::Seen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, faults: FaultRates) -> (FaultCounts, Vec<RpcFault>) {
        let mut picker = FaultPicker::new(seed);
        picker.faults = faults;
        let all = (0..1000).map(|_| picker.draw(true)).collect();
        (picker.made, all)
    }

    #[test]
    fn the_same_seed_makes_the_same_faults_at_the_requested_rates() {
        let faults = FaultRates {
            lose_request: 100,
            lose_answer: 100,
            refuse: 50,
            delay: 50,
            false_error: 100,
        };
        let (made, order) = drawn(7, faults);
        assert_eq!((made, order), drawn(7, faults));
        assert_ne!(drawn(7, faults).1, drawn(8, faults).1);
        for (often, asked) in [
            (made.lost_requests, 100),
            (made.lost_answers, 100),
            (made.lost_silently, 200 / u64::from(SILENT_OF)),
            (made.refused, 50),
            (made.delayed, 50),
            (made.false_errors, 100),
        ] {
            assert!((asked / 2..asked * 2).contains(&often), "{made:?}");
        }
    }

    #[test]
    fn the_fault_of_a_request_does_not_depend_on_earlier_requests() {
        let lying = FaultRates {
            false_error: 500,
            refuse: 200,
            ..FaultRates::default()
        };
        let (mut one, mut other) = (FaultPicker::new(7), FaultPicker::new(7));
        (one.faults, other.faults) = (lying, lying);
        let refused = |fault| matches!(fault, RpcFault::Refuse(_));
        for n in 0..1000 {
            let sends = n % 3 == 0;
            assert_eq!(refused(one.draw(sends)), refused(other.draw(!sends)), "{n}");
        }
    }

    #[test]
    fn every_false_error_is_given_before_one_is_repeated() {
        let (made, order) = drawn(
            7,
            FaultRates {
                false_error: 500,
                ..FaultRates::default()
            },
        );
        let given = order.into_iter().filter_map(|fault| match fault {
            RpcFault::FalseErrorAfter(false_error) | RpcFault::FalseErrorInstead(false_error) => {
                Some(false_error)
            }
            _ => None,
        });
        let first: std::collections::BTreeSet<_> = given.take(false_errors::ALL.len()).collect();
        assert_eq!(first.len(), false_errors::ALL.len(), "{made:?}");
    }

    #[test]
    fn zero_rates_make_no_faults_and_full_rates_hit_every_request() {
        let (made, order) = drawn(7, FaultRates::default());
        assert_eq!(made.requests, 1000);
        assert!(order.iter().all(|fault| *fault == RpcFault::None));
        let (made, _) = drawn(7, FaultRates::drops(500));
        assert_eq!(made.lost_requests + made.lost_answers, 1000);
    }
}
