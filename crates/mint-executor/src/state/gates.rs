//! What stops work until a cause is removed: a breaker per command, one for the database, one for the node, those of each
//! signer, and a problem of the whole executor. Meanwhile messages wait in their queue and items in their rows, and no
//! attempt is used up.

use std::sync::Arc;

use domain::command::Command;
use domain::item_result::BreakerCause;
use parking_lot::Mutex;
use runtime::breaker::Breaker;
use runtime::gate;
use runtime::halts::Halts;
use storage::halts::HaltScope;
use tokio::sync::watch;

use super::signers::{BREAKER_POLICY, SignerHandle, SignerHandles};

/// Why an executor does no work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorProblem {
    /// The deployment is not checked yet, or the node does not answer. This ends by itself; work accepted meanwhile waits.
    #[error("{0}")]
    NotChecked(String),
    /// The deployment differs from the policy. A person must act: work accepted now could not be done.
    #[error("{0}")]
    WrongDeployment(String),
    /// The chain has none of the blocks that we ingested. The endpoint may be on another chain, so it is asked again.
    #[error("{0}")]
    OtherChain(String),
}

/// The chain refuses a command of a signer for now; `amount` is what one item of it needed, base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub signer: [u8; 20],
    pub command: Command,
    pub cause: BreakerCause,
    pub amount: u128,
}

/// Clones share it.
#[derive(Clone, Debug)]
pub struct Gates(Arc<SharedGates>);

#[derive(Debug)]
struct SharedGates {
    signers: SignerHandles,
    submit: Breaker,
    execute: Breaker,
    refund: Breaker,
    database: Breaker,
    node: Breaker,
    /// The amount that each command lacked when it was refused, base units: its probe waits until that much is there.
    shortfall: Mutex<[u128; 3]>,
    problem: watch::Sender<Option<ExecutorProblem>>,
}

const fn index(command: Command) -> usize {
    match command {
        Command::Submit => 0,
        Command::Execute => 1,
        Command::Refund => 2,
    }
}

/// The halt with which an operator stops a command.
const fn scope(command: Command) -> HaltScope {
    match command {
        Command::Submit => HaltScope::Submit,
        Command::Execute => HaltScope::Execute,
        Command::Refund => HaltScope::Refund,
    }
}

/// The refusal is about the signer, not about the command.
const fn concerns_one_signer(cause: BreakerCause) -> bool {
    matches!(cause, BreakerCause::Unauthorized | BreakerCause::RateLimited)
}

impl Gates {
    pub fn new(signers: SignerHandles, problem: Option<ExecutorProblem>) -> Self {
        Self(Arc::new(SharedGates {
            signers,
            submit: Breaker::new("submit", BREAKER_POLICY),
            execute: Breaker::new("execute", BREAKER_POLICY),
            refund: Breaker::new("refund", BREAKER_POLICY),
            database: Breaker::new("database", BREAKER_POLICY),
            node: Breaker::new("rpc", BREAKER_POLICY),
            shortfall: Mutex::default(),
            problem: watch::Sender::new(problem),
        }))
    }

    pub fn of_command(&self, command: Command) -> &Breaker {
        match command {
            Command::Submit => &self.0.submit,
            Command::Execute => &self.0.execute,
            Command::Refund => &self.0.refund,
        }
    }

    /// Closed while commands cannot be stored.
    pub fn database(&self) -> &Breaker {
        &self.0.database
    }

    /// Closed while the node does not answer.
    pub fn node(&self) -> &Breaker {
        &self.0.node
    }

    /// Blocks what the chain refused: the signer for what concerns it alone, otherwise the command of all signers.
    pub fn trip(&self, refusal: &Refusal) {
        if !concerns_one_signer(refusal.cause) {
            self.0.shortfall.lock()[index(refusal.command)] = refusal.amount;
            self.of_command(refusal.command).trip(refusal.cause.name());
            return;
        }
        // Another executor learns of refusals of its signers from the rows (`following::head_watcher`).
        let Some(signer) = self.0.signers.get(&refusal.signer) else {
            return;
        };
        if refusal.cause == BreakerCause::Unauthorized {
            signer.role_and_balance().trip("the signer lacks EXECUTOR_ROLE");
        } else {
            signer.trip_mint_allowance(refusal.cause.name(), refusal.amount);
        }
    }

    /// What an item of the command needed when it was refused.
    pub fn shortfall(&self, command: Command) -> u128 {
        self.0.shortfall.lock()[index(command)]
    }

    /// Open while the command's breaker, the node's breaker and the operator's halt let the command through.
    fn command_gate(&self, command: Command, halts: &Halts) -> watch::Receiver<bool> {
        gate::all(vec![
            self.of_command(command).gate(),
            self.0.node.gate(),
            halts.gate(scope(command)),
        ])
    }

    /// The same for one signer, whose own breakers count too.
    pub fn signer_gate(
        &self,
        signer: &SignerHandle,
        command: Command,
        halts: &Halts,
    ) -> watch::Receiver<bool> {
        let of_signer = signer.breakers(command).into_iter().map(Breaker::gate);
        gate::all(of_signer.chain([self.command_gate(command, halts)]).collect())
    }

    /// Open while commands may be taken from their queue: this process holds the lease of a signer that can work, and
    /// nothing blocks the command.
    pub fn intake_gate(&self, command: Command, halts: &Halts) -> watch::Receiver<bool> {
        let able = self.0.signers.iter().map(|signer| {
            let of_signer = signer.breakers(command).into_iter().map(Breaker::gate);
            gate::all(of_signer.chain([signer.lease_gate()]).collect())
        });
        gate::all(vec![
            self.command_gate(command, halts),
            self.0.database.gate(),
            gate::any(able.collect()),
        ])
    }

    /// Why this executor does no work, if it does none.
    pub fn problem(&self) -> Option<ExecutorProblem> {
        self.0.problem.borrow().clone()
    }

    pub fn problems(&self) -> watch::Receiver<Option<ExecutorProblem>> {
        self.0.problem.subscribe()
    }

    pub fn is_stopped(&self) -> bool {
        self.0.problem.borrow().is_some()
    }

    /// True after a reorganisation below the oldest block that we keep.
    pub fn is_on_other_chain(&self) -> bool {
        matches!(*self.0.problem.borrow(), Some(ExecutorProblem::OtherChain(_)))
    }

    /// True when it changed.
    pub fn set_problem(&self, problem: Option<&ExecutorProblem>) -> bool {
        self.0.problem.send_if_modified(|now| {
            let changed = now.as_ref() != problem;
            *now = problem.cloned();
            changed
        })
    }
}
