//! The names on the broker: work queues, delay queues, exchanges, and the services that use them. Which service writes
//! and which reads each queue is said here, and nowhere else.

use std::str::FromStr;

use domain::command::Command;
use strum::{Display, IntoStaticStr, VariantArray};

/// Delay queues return messages to this exchange, and the operator's command line publishes to it.
pub const WORK_EXCHANGE: &str = "fiatrails.work";
/// Receives parked messages and the broker's own dead letters.
pub const DEAD_EXCHANGE: &str = "fiatrails.dead";
/// Number of delay steps: one between each two of the 6 attempts.
pub const RETRY_STEPS: u32 = 5;

/// The exchange of a delay step (1..=5); higher numbers use the last step.
pub(crate) fn retry_exchange(step: u32) -> String {
    format!("fiatrails.retry.{}", step.clamp(1, RETRY_STEPS))
}

pub(crate) fn delay_queue(step: u32) -> String {
    format!("delay.{step}.v1")
}

/// A queue that carries commands, outcomes or reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, VariantArray, IntoStaticStr, Display)]
#[strum(const_into_str)]
pub enum WorkQueue {
    #[strum(serialize = "mint.submit.v1")]
    MintSubmit,
    #[strum(serialize = "mint.execute.v1")]
    MintExecute,
    #[strum(serialize = "mint.refund.v1")]
    MintRefund,
    #[strum(serialize = "mint.outcome.v1")]
    MintOutcome,
    #[strum(serialize = "mpesa.result.v1")]
    MpesaResult,
}

impl WorkQueue {
    pub const ALL: [Self; Self::VARIANTS.len()] = domain::variants();

    /// The versioned name of the queue; also its routing key, and part of the seal.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// The name without version, used in the key path `pipeline/<operation>/<kid>` and as the `operation` label.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::MintSubmit => "mint.submit",
            Self::MintExecute => "mint.execute",
            Self::MintRefund => "mint.refund",
            Self::MintOutcome => "mint.outcome",
            Self::MpesaResult => "mpesa.result",
        }
    }

    /// The command that its messages carry.
    pub const fn command(self) -> Option<Command> {
        match self {
            Self::MintSubmit => Some(Command::Submit),
            Self::MintExecute => Some(Command::Execute),
            Self::MintRefund => Some(Command::Refund),
            Self::MintOutcome | Self::MpesaResult => None,
        }
    }

    pub const fn dead_letter_name(self) -> &'static str {
        match self {
            Self::MintSubmit => "dead.mint.submit.v1",
            Self::MintExecute => "dead.mint.execute.v1",
            Self::MintRefund => "dead.mint.refund.v1",
            Self::MintOutcome => "dead.mint.outcome.v1",
            Self::MpesaResult => "dead.mpesa.result.v1",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no work queue is called {0:?}")]
pub struct UnknownQueue(pub String);

impl FromStr for WorkQueue {
    type Err = UnknownQueue;

    /// Accepts the versioned name, the name without version and the name of its dead queue.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hit = Self::ALL
            .into_iter()
            .find(|q| [q.name(), q.operation(), q.dead_letter_name()].contains(&text));
        hit.ok_or_else(|| UnknownQueue(text.chars().take(64).collect()))
    }
}

/// A client of the broker. Each service has its own user and its own ingress exchange, which is bound only to the queues
/// that it may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, VariantArray, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Service {
    Gateway,
    #[strum(serialize = "mint-executor")]
    MintExecutor,
    Callback,
    /// The operator's command line: declares, inspects, replays.
    Ops,
}

impl Service {
    pub const ALL: [Self; Self::VARIANTS.len()] = domain::variants();

    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// The queues to which this service publishes new messages.
    pub const fn writes(self) -> &'static [WorkQueue] {
        match self {
            Self::Gateway => &[WorkQueue::MintSubmit, WorkQueue::MpesaResult],
            Self::MintExecutor => &[WorkQueue::MintOutcome],
            Self::Callback => &[WorkQueue::MintExecute, WorkQueue::MintRefund],
            Self::Ops => &WorkQueue::ALL,
        }
    }

    /// The queues that this service consumes.
    pub const fn reads(self) -> &'static [WorkQueue] {
        match self {
            Self::Gateway | Self::Ops => &[],
            Self::MintExecutor => &[
                WorkQueue::MintSubmit,
                WorkQueue::MintExecute,
                WorkQueue::MintRefund,
            ],
            Self::Callback => &[WorkQueue::MintOutcome, WorkQueue::MpesaResult],
        }
    }

    /// The exchange to which it publishes new messages.
    pub const fn ingress(self) -> &'static str {
        match self {
            Self::Gateway => "fiatrails.in.gateway",
            Self::MintExecutor => "fiatrails.in.mint-executor",
            Self::Callback => "fiatrails.in.callback",
            Self::Ops => WORK_EXCHANGE,
        }
    }
}
