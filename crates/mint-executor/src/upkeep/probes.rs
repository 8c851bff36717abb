//! Probes in which the breakers recover: each asks whether what its breaker waits for is there again.

use std::sync::Arc;

use chain::ChainClient;
use domain::command::Command;
use runtime::breaker::Breaker;
use runtime::{Stop, Tasks};

use crate::rules::conditions;
use crate::state::{ChainView, Gates, SignerHandle, SignerHandles};

#[derive(Clone)]
pub struct Probes {
    pub chain: ChainClient,
    pub view: ChainView,
    pub gates: Gates,
    pub signers: SignerHandles,
    /// Below this a signer counts as out of gas, wei.
    pub min_signer_balance: u128,
}

impl Probes {
    /// Starts the tasks in which the breakers probe and recover until the stop.
    pub fn spawn(&self, tasks: &mut Tasks) {
        for (name, command) in [
            ("submit breaker", Command::Submit),
            ("execute breaker", Command::Execute),
            ("refund breaker", Command::Refund),
        ] {
            let (probed, stop) = (self.clone(), tasks.stop());
            let probe = move || {
                let probes = probed.clone();
                async move { probes.command(command).await }
            };
            tasks.spawn(
                name,
                self.gates.of_command(command).clone().run(Some(probe), stop),
            );
        }
        for signer in self.signers.iter() {
            self.spawn_signer(tasks, signer);
        }
        let stop = tasks.stop();
        tasks.spawn(
            "database breaker",
            without_probe(self.gates.database().clone(), stop.clone()),
        );
        tasks.spawn("rpc breaker", without_probe(self.gates.node().clone(), stop));
    }

    fn spawn_signer(&self, tasks: &mut Tasks, signer: &Arc<SignerHandle>) {
        let (captured, stop) = ((self.clone(), signer.clone()), tasks.stop());
        let probe = move || {
            let (probes, signer) = captured.clone();
            async move { probes.signer(&signer).await }
        };
        let breaker = signer.role_and_balance().clone();
        tasks.spawn("signer breaker", breaker.run(Some(probe), stop));
        tasks.spawn(
            "signatures breaker",
            watch_signatures(signer.clone(), tasks.stop()),
        );
        let (captured, stop) = ((self.clone(), signer.clone()), tasks.stop());
        let probe = move || {
            let (probes, signer) = captured.clone();
            async move { probes.mint_allowance(&signer).await }
        };
        let breaker = signer.mint_allowance().clone();
        tasks.spawn("mint limit breaker", breaker.run(Some(probe), stop));
    }

    async fn command(&self, command: Command) -> Result<(), String> {
        let Some(deployment) = self.view.deployment() else {
            return Err("the deployment is not checked yet".to_owned());
        };
        let status = self
            .chain
            .escrow_status(&deployment)
            .await
            .map_err(|error| error.to_string())?;
        let needed = self.gates.shortfall(command);
        self.signers.wake();
        conditions::can_succeed(command, &status, needed)
    }

    async fn signer(&self, signer: &SignerHandle) -> Result<(), String> {
        let status = self.chain.signer_status(&signer.address()).await;
        let status = status.map_err(|error| error.to_string())?;
        signer.wake();
        conditions::can_sign(&status, self.min_signer_balance)
    }

    async fn mint_allowance(&self, signer: &SignerHandle) -> Result<(), String> {
        let status = self.chain.signer_status(&signer.address()).await;
        let status = status.map_err(|error| error.to_string())?;
        signer.wake();
        conditions::can_mint(&status, signer.missing_allowance())
    }
}

/// Closes the breaker of a signer once it signs again.
pub async fn watch_signatures(signer: Arc<SignerHandle>, stop: Stop) {
    let probed = signer.clone();
    let probe = move || {
        let signer = probed.clone();
        async move { signer.probe().await }
    };
    signer.signatures().clone().run(Some(probe), stop).await;
}

/// The type of the missing probe.
type NoProbe = fn() -> std::future::Ready<Result<(), String>>;

async fn without_probe(breaker: Breaker, stop: Stop) {
    breaker.run(None::<NoProbe>, stop).await;
}
