//! The breakers that stop work until a cause is removed: one per command, one for the database, one for the node, and
//! three per signer (`signer_handle`). Meanwhile messages wait in their queue and items in their rows, and no attempt is
//! used up.

use std::sync::Arc;
use std::time::Duration;

use chain::inspect::{Deployment, EscrowStatus};
use domain::backoff::Backoff;
use domain::command::Command;
use parking_lot::Mutex;
use runtime::breaker::{Breaker, BreakerPolicy};
use runtime::halts::Halts;
use runtime::{Stop, Tasks, gate};
use storage::halts::HaltScope;
use tokio::sync::watch;

use crate::context::Context;
use crate::signer_handle::{self, SignerHandle};

/// The first probe comes early: most pauses in development are short, and a probe costs a few view calls.
pub const POLICY: BreakerPolicy = BreakerPolicy {
    failures: 3,
    open_for: Backoff {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(10),
    },
};

#[derive(Clone, Debug)]
pub struct Breakers {
    pub submit: Breaker,
    pub execute: Breaker,
    pub refund: Breaker,
    pub database: Breaker,
    pub rpc: Breaker,
    /// The amount that each command lacked when it was refused, base units: its probe waits until that much is there.
    shortfall: Arc<Mutex<[u128; 3]>>,
    deployment: Arc<Mutex<Option<Deployment>>>,
}

impl Default for Breakers {
    fn default() -> Self {
        Self {
            submit: Breaker::new("submit", POLICY),
            execute: Breaker::new("execute", POLICY),
            refund: Breaker::new("refund", POLICY),
            database: Breaker::new("database", POLICY),
            rpc: Breaker::new("rpc", POLICY),
            shortfall: Arc::default(),
            deployment: Arc::default(),
        }
    }
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

impl Breakers {
    pub fn of_command(&self, command: Command) -> &Breaker {
        match command {
            Command::Submit => &self.submit,
            Command::Execute => &self.execute,
            Command::Refund => &self.refund,
        }
    }

    /// The chain refused a command for now; `amount` is what one of its items needed.
    pub fn trip(&self, command: Command, why: &str, amount: u128) {
        self.shortfall.lock()[index(command)] = amount;
        self.of_command(command).trip(why);
    }

    /// Stores the deployment that the startup check found, for the probes.
    pub fn set_deployment(&self, deployment: Deployment) {
        *self.deployment.lock() = Some(deployment);
    }

    pub fn deployment(&self) -> Option<Deployment> {
        self.deployment.lock().clone()
    }

    /// Open while the command's breaker, the node's breaker and the operator's halt let the command through.
    pub fn command_gate(&self, command: Command, halts: &Halts) -> watch::Receiver<bool> {
        gate::all(vec![
            self.of_command(command).gate(),
            self.rpc.gate(),
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

    /// Starts the tasks in which the breakers probe and recover until the stop.
    pub fn spawn_probes(&self, ctx: &Context, tasks: &mut Tasks) {
        for (name, command) in [
            ("submit breaker", Command::Submit),
            ("execute breaker", Command::Execute),
            ("refund breaker", Command::Refund),
        ] {
            let (probed, stop) = (ctx.clone(), tasks.stop());
            let probe = move || {
                let ctx = probed.clone();
                async move { probe_command(&ctx, command).await }
            };
            tasks.spawn(name, self.of_command(command).clone().run(Some(probe), stop));
        }
        for signer in &ctx.signers {
            let (captured, stop) = ((ctx.clone(), signer.clone()), tasks.stop());
            let probe = move || {
                let (ctx, signer) = captured.clone();
                async move { probe_signer(&ctx, &signer).await }
            };
            tasks.spawn(
                "signer breaker",
                signer.role_and_balance.clone().run(Some(probe), stop),
            );
            let (captured, stop) = (signer.clone(), tasks.stop());
            let probe = move || {
                let signer = captured.clone();
                async move { signer.probe().await }
            };
            tasks.spawn(
                "signatures breaker",
                signer.signatures.clone().run(Some(probe), stop),
            );
            let (captured, stop) = ((ctx.clone(), signer.clone()), tasks.stop());
            let probe = move || {
                let (ctx, signer) = captured.clone();
                async move { probe_mint_allowance(&ctx, &signer).await }
            };
            tasks.spawn(
                "mint limit breaker",
                signer.mint_allowance.clone().run(Some(probe), stop),
            );
        }
        tasks.spawn(
            "database breaker",
            without_probe(self.database.clone(), tasks.stop()),
        );
        tasks.spawn("rpc breaker", without_probe(self.rpc.clone(), tasks.stop()));
    }
}

/// The type of the missing probe.
type NoProbe = fn() -> std::future::Ready<Result<(), String>>;

async fn without_probe(breaker: Breaker, stop: Stop) {
    breaker.run(None::<NoProbe>, stop).await;
}

async fn probe_command(ctx: &Context, command: Command) -> Result<(), String> {
    let Some(deployment) = ctx.breakers.deployment() else {
        return Err("the deployment is not checked yet".to_owned());
    };
    let condition = ctx
        .chain
        .escrow_status(&deployment)
        .await
        .map_err(|error| error.to_string())?;
    let needed = ctx.breakers.shortfall.lock()[index(command)];
    ctx.wake();
    can_succeed(command, &condition, needed)
}

async fn probe_signer(ctx: &Context, signer: &SignerHandle) -> Result<(), String> {
    let status = ctx.chain.signer_status(&signer.address()).await;
    let status = status.map_err(|error| error.to_string())?;
    signer.work_available.notify_one();
    signer_handle::can_sign(&status, ctx.tuning.min_signer_balance)
}

async fn probe_mint_allowance(ctx: &Context, signer: &SignerHandle) -> Result<(), String> {
    let status = ctx.chain.signer_status(&signer.address()).await;
    let status = status.map_err(|error| error.to_string())?;
    signer.work_available.notify_one();
    signer_handle::can_mint(&status, signer.missing_allowance())
}

/// Whether a command can succeed now, whichever signer sends it. Pure.
pub fn can_succeed(command: Command, now: &EscrowStatus, needed: u128) -> Result<(), String> {
    let no = |what: &str| Err(what.to_owned());
    if now.escrow_paused {
        return no("the escrow is paused");
    }
    let needed = needed.max(1);
    match command {
        Command::Submit if now.treasury_balance < needed => no("the treasury has too little"),
        Command::Submit if now.treasury_allowance < needed => no("the treasury allows too little"),
        Command::Execute if now.token_paused => no("the country token is paused"),
        Command::Execute if now.compliance_paused == Some(true) => no("compliance is paused"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Command::{Execute, Refund, Submit};

    const ALL_GOOD: EscrowStatus = EscrowStatus {
        escrow_paused: false,
        token_paused: false,
        compliance_paused: Some(false),
        treasury_balance: 100,
        treasury_allowance: 100,
    };

    #[test]
    fn each_condition_blocks_its_own_commands() {
        // Columns: submit, execute, refund.
        let table = [
            (ALL_GOOD, [true, true, true]),
            (
                EscrowStatus {
                    escrow_paused: true,
                    ..ALL_GOOD
                },
                [false, false, false],
            ),
            (
                EscrowStatus {
                    treasury_balance: 49,
                    ..ALL_GOOD
                },
                [false, true, true],
            ),
            (
                EscrowStatus {
                    treasury_allowance: 49,
                    ..ALL_GOOD
                },
                [false, true, true],
            ),
            (
                EscrowStatus {
                    token_paused: true,
                    ..ALL_GOOD
                },
                [true, false, true],
            ),
            (
                EscrowStatus {
                    compliance_paused: Some(true),
                    ..ALL_GOOD
                },
                [true, false, true],
            ),
            (
                EscrowStatus {
                    compliance_paused: None,
                    ..ALL_GOOD
                },
                [true, true, true],
            ),
        ];
        for (condition, expected) in table {
            let found = [Submit, Execute, Refund].map(|command| can_succeed(command, &condition, 50).is_ok());
            assert_eq!(found, expected, "{condition:?}");
        }
    }
}
