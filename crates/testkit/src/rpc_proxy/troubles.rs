//! Which trouble each request meets: drawn from a seed, so the n-th request of a run always meets the same.

use std::time::Duration;

use hyper::StatusCode;

use super::lies::{self, Lie};

/// Chances of each trouble per request, in per mille. The rest passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Troubles {
    /// The request never reaches the node.
    pub lose_request: u32,
    /// The node acts, and its answer never comes.
    pub lose_answer: u32,
    /// 429, 500, 502 or 503, at random; the node hears nothing.
    pub refuse: u32,
    /// The answer comes late, by up to [`LONGEST_DELAY`].
    pub delay: u32,
    /// Of a transaction: the answer is some node's error text, whether or not the node took it.
    pub lie: u32,
}

impl Troubles {
    /// Of a thousand calls so many get lost before the node acted, and as many after it.
    pub const fn drops(per_mille: u32) -> Self {
        Self {
            lose_request: per_mille,
            lose_answer: per_mille,
            refuse: 0,
            delay: 0,
            lie: 0,
        }
    }
}

/// Of a door in front of nodes.
const REFUSALS: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Of so many lost calls one is lost without a sign: the connection stays, and nothing comes. The others see it end.
const SILENT_OF: u32 = 5;

pub const LONGEST_DELAY: Duration = Duration::from_millis(2500);

/// How often each trouble was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    pub requests: u64,
    pub lost_requests: u64,
    pub lost_answers: u64,
    /// Of both: without a sign.
    pub lost_silently: u64,
    pub refused: u64,
    pub delayed: u64,
    pub lies: u64,
    /// While nothing passed at all.
    pub cut_off: u64,
    /// Answered as of a block long past.
    pub behind: u64,
}

/// How a call is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Its connection ends.
    Seen,
    /// Whoever asked waits.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    LoseRequest(Loss),
    LoseAnswer(Loss),
    Refuse(StatusCode),
    Delay(Duration),
    /// The node acts, and something else is said.
    LieAfter(Lie),
    /// The node hears nothing, and is said to have refused.
    LieInstead(Lie),
    None,
}

/// Draws what happens to one request after the other.
#[derive(Debug)]
pub(super) struct Dice {
    pub troubles: Troubles,
    pub made: Made,
    random: fastrand::Rng,
    /// The lie that is told next: in turn, so that all are told soon.
    next_lie: usize,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            troubles: Troubles::default(),
            made: Made::default(),
            next_lie: random.usize(0..lies::ALL.len()),
            random,
        }
    }

    /// `sends`: the request hands a transaction over.
    pub fn draw(&mut self, sends: bool) -> Trouble {
        let Troubles {
            lose_request,
            lose_answer,
            refuse,
            delay,
            lie,
        } = self.troubles;
        self.made.requests += 1;
        // Its own, so that what one request draws changes nothing for the next.
        let mut random = self.random.fork();
        let mut left = random.u32(0..1000);
        let mut falls = |chance: u32| {
            let hit = left < chance;
            left = if hit { u32::MAX } else { left - chance };
            hit
        };
        if falls(lose_request) {
            self.made.lost_requests += 1;
            Trouble::LoseRequest(self.lose(&mut random))
        } else if falls(lose_answer) {
            self.made.lost_answers += 1;
            Trouble::LoseAnswer(self.lose(&mut random))
        } else if falls(refuse) {
            self.made.refused += 1;
            Trouble::Refuse(REFUSALS[random.usize(0..REFUSALS.len())])
        } else if falls(delay) {
            self.made.delayed += 1;
            let longest = u64::try_from(LONGEST_DELAY.as_millis()).unwrap_or(u64::MAX);
            Trouble::Delay(Duration::from_millis(random.u64(0..longest)))
        } else if sends && falls(lie) {
            self.made.lies += 1;
            let lie = lies::ALL[self.next_lie];
            self.next_lie = (self.next_lie + 1) % lies::ALL.len();
            if random.bool() {
                Trouble::LieAfter(lie)
            } else {
                Trouble::LieInstead(lie)
            }
        } else {
            Trouble::None
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

    fn drawn(seed: u64, troubles: Troubles) -> (Made, Vec<Trouble>) {
        let mut dice = Dice::new(seed);
        dice.troubles = troubles;
        let all = (0..1000).map(|_| dice.draw(true)).collect();
        (dice.made, all)
    }

    #[test]
    fn the_same_seed_makes_the_same_troubles_as_often_as_asked() {
        let troubles = Troubles {
            lose_request: 100,
            lose_answer: 100,
            refuse: 50,
            delay: 50,
            lie: 100,
        };
        let (made, order) = drawn(7, troubles);
        assert_eq!((made, order), drawn(7, troubles));
        assert_ne!(drawn(7, troubles).1, drawn(8, troubles).1);
        for (often, asked) in [
            (made.lost_requests, 100),
            (made.lost_answers, 100),
            (made.lost_silently, 200 / u64::from(SILENT_OF)),
            (made.refused, 50),
            (made.delayed, 50),
            (made.lies, 100),
        ] {
            assert!((asked / 2..asked * 2).contains(&often), "{made:?}");
        }
    }

    #[test]
    fn what_one_request_meets_does_not_hang_on_those_before_it() {
        let lying = Troubles {
            lie: 500,
            refuse: 200,
            ..Troubles::default()
        };
        let (mut one, mut other) = (Dice::new(7), Dice::new(7));
        (one.troubles, other.troubles) = (lying, lying);
        let refused = |trouble| matches!(trouble, Trouble::Refuse(_));
        for n in 0..1000 {
            let sends = n % 3 == 0;
            assert_eq!(refused(one.draw(sends)), refused(other.draw(!sends)), "{n}");
        }
    }

    #[test]
    fn every_lie_is_told_before_one_is_told_again() {
        let (made, order) = drawn(
            7,
            Troubles {
                lie: 500,
                ..Troubles::default()
            },
        );
        let told = order.into_iter().filter_map(|trouble| match trouble {
            Trouble::LieAfter(lie) | Trouble::LieInstead(lie) => Some(lie),
            _ => None,
        });
        let first: std::collections::BTreeSet<_> = told.take(lies::ALL.len()).collect();
        assert_eq!(first.len(), lies::ALL.len(), "{made:?}");
    }

    #[test]
    fn nothing_asked_is_nothing_made_and_certainty_is_certain() {
        let (made, order) = drawn(7, Troubles::default());
        assert_eq!(made.requests, 1000);
        assert!(order.iter().all(|trouble| *trouble == Trouble::None));
        let (made, _) = drawn(7, Troubles::drops(500));
        assert_eq!(made.lost_requests + made.lost_answers, 1000);
    }
}
