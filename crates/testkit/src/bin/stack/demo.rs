//! A payment becomes a mint, a refused one a refund, and a repeated one nothing: shown step by step, and
//! checked against the chain.

use std::{
    io::IsTerminal,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::{
    Addresses, Client, Wiring,
    client::{fresh_address, fresh_key, fresh_tx_ref, intent_body, paid_body},
    eventually, evm,
    process::Lifetime,
};

use crate::stack::{self, ChainOptions, Stack};

const SHILLING: u128 = 1_000_000_000_000_000_000;
const AMINA_PAYS: u32 = 150;
const BRIAN_PAYS: u32 = 80;
const TIMEOUT: Duration = Duration::from_mins(1);

pub async fn on_own_stack(dir: &Path) -> Result<()> {
    let show = Show::new();
    show.step(
        "start",
        "private PostgreSQL, RabbitMQ, chain and the three services",
    );
    stack::down(dir)?;
    let chain = ChainOptions {
        block_time: 1.0,
        gas_limit: 30_000_000,
    };
    let outcome = async {
        let stack = Stack::up(dir, chain, Lifetime::Tied).await?;
        let wiring = &stack.wiring;
        show.step(
            "ready",
            &format!(
                "gateway, mint-executor and callback run; chain at {}",
                wiring.rpc_url
            ),
        );
        let demo = Demo {
            client: Client::new(stack.gateway_url(), &wiring.keys)?,
            rpc_url: wiring.rpc_url.clone(),
            addresses: wiring.addresses.clone(),
            operator: Some(wiring),
            show: &show,
        };
        demo.run().await
    }
    .await;
    match outcome {
        Ok(()) => {
            stack::down(dir)?;
            show.step("done", "everything is as it must be");
            Ok(())
        }
        Err(error) => Err(error.context(format!(
            "the demo failed; logs are in {}",
            dir.join("log").display()
        ))),
    }
}

pub async fn against_running() -> Result<()> {
    let show = Show::new();
    let var = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set; . .stack/env"));
    let demo = Demo {
        client: Client::from_env()?,
        rpc_url: var("RPC_URL")?,
        addresses: Addresses {
            escrow: var("ESCROW_ADDRESS")?,
            country_token: var("COUNTRY_TOKEN_ADDRESS")?,
            stablecoin: var("STABLECOIN_ADDRESS")?,
            user_registry: var("USER_REGISTRY_ADDRESS")?,
            compliance_manager: var("COMPLIANCE_MANAGER_ADDRESS")?,
            treasury: var("TREASURY_ADDRESS")?,
        },
        operator: None,
        show: &show,
    };
    demo.run().await?;
    show.step("done", "everything is as it must be");
    Ok(())
}

struct Demo<'a> {
    client: Client,
    rpc_url: String,
    addresses: Addresses,
    /// Whose `fiatrails` acts as the compliance officer; without one the node signs for the officer.
    operator: Option<&'a Wiring>,
    show: &'a Show,
}

struct Payment {
    name: &'static str,
    user: String,
    shillings: u32,
    tx_ref: String,
    receipt: String,
    intent_id: String,
}

/// What the chain says, in base units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Balances {
    treasury: u128,
    escrow: u128,
    amina: u128,
    brian: u128,
    supply: u128,
}

impl Demo<'_> {
    async fn run(&self) -> Result<()> {
        let (amina, brian) = (fresh_address()?, fresh_address()?);
        self.set_compliance(&amina, 10, true).await?;
        self.set_compliance(&brian, 95, false).await?;
        self.show.step(
            "compliance",
            &format!(
                "Amina {} is verified, Brian {} is not",
                short(&amina),
                short(&brian)
            ),
        );
        let before = self.balances(&amina, &brian).await?;
        self.show.balances("before", &before);

        let minted = self.pay_and_mint(&amina).await?;
        let after_mint = self.balances(&amina, &brian).await?;
        self.repeat_callback(&minted).await?;
        self.pay_and_refund(&brian).await?;

        let after = self.balances(&amina, &brian).await?;
        self.show.balances("after", &after);
        let paid = u128::from(AMINA_PAYS) * SHILLING;
        let expected = Balances {
            treasury: before.treasury - paid,
            escrow: before.escrow + paid,
            amina: paid,
            brian: 0,
            supply: before.supply + paid,
        };
        ensure!(
            after == expected,
            "balances: expected {expected:?}, found {after:?}"
        );
        ensure!(
            after_mint == after,
            "the duplicate or the refund changed a balance: {after_mint:?}, {after:?}"
        );
        Ok(())
    }

    async fn set_compliance(&self, user: &str, risk: u8, verified: bool) -> Result<()> {
        let Some(operator) = self.operator else {
            return evm::set_compliance(&self.rpc_url, &self.addresses, user, risk, verified).await;
        };
        let line = testkit::operator::set_compliance(user, risk, verified);
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        operator.fiatrails(&words).await.map(drop)
    }

    async fn pay_and_mint(&self, user: &str) -> Result<Payment> {
        let payment = self.accept_and_escrow("Amina", user, AMINA_PAYS).await?;
        self.pay(&payment, "accepted").await?;
        self.until(&payment, "mined", |intent| intent["stage"] == "executed")
            .await?;
        self.show.step(
            "mined",
            &format!("{} KES minted to {}", payment.shillings, payment.name),
        );
        let last = self
            .until(&payment, "final", |intent| intent["status"] == "executed")
            .await?;
        ensure!(last["final"] == true, "executed must mean final: {last}");
        self.show.step(
            "final",
            &format!("transaction {}", short(last["txHash"].as_str().unwrap_or("?"))),
        );
        Ok(payment)
    }

    async fn pay_and_refund(&self, user: &str) -> Result<()> {
        let payment = self.accept_and_escrow("Brian", user, BRIAN_PAYS).await?;
        self.pay(&payment, "accepted").await?;
        self.until(&payment, "refunded", |intent| intent["stage"] == "refunded")
            .await?;
        self.show.step(
            "refunded",
            "Brian is not compliant: his deposit went back to the treasury",
        );
        let last = self
            .until(&payment, "final", |intent| intent["status"] == "refunded")
            .await?;
        self.show
            .step("final", &format!("refunded, reason {}", last["reason"]));
        Ok(())
    }

    async fn repeat_callback(&self, payment: &Payment) -> Result<()> {
        self.pay(payment, "already_processed").await?;
        let seen = evm::block_number(&self.rpc_url).await?;
        eventually(TIMEOUT, "two more blocks", async || {
            Ok((evm::block_number(&self.rpc_url).await? >= seen + 2).then_some(()))
        })
        .await?;
        let balance = evm::balance_of(&self.rpc_url, &self.addresses.country_token, &payment.user).await?;
        ensure!(
            balance == u128::from(payment.shillings) * SHILLING,
            "the duplicate changed the balance"
        );
        self.show.step(
            "duplicate",
            "the same callback again: already_processed, two blocks later still one mint",
        );
        Ok(())
    }

    async fn accept_and_escrow(&self, name: &'static str, user: &str, shillings: u32) -> Result<Payment> {
        let tx_ref = fresh_tx_ref("DEMO")?;
        let body = intent_body(user, shillings, &tx_ref);
        let reply = self.client.create(&fresh_key()?, &body).await?;
        ensure!(
            reply.status == 201,
            "{}: {}",
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
        let intent_id = reply.json()?["intentId"]
            .as_str()
            .context("no intentId")?
            .to_owned();
        self.show.step(
            "accepted",
            &format!(
                "{name} asks for {shillings} KES, txRef {tx_ref}, intent {}",
                short(&intent_id)
            ),
        );
        let receipt = fresh_tx_ref("R")?;
        let payment = Payment {
            name,
            user: user.to_owned(),
            shillings,
            tx_ref,
            receipt,
            intent_id,
        };
        self.until(&payment, "escrowed", |intent| intent["stage"] == "escrowed")
            .await?;
        self.show.step(
            "escrowed",
            &format!("the treasury's deposit of {shillings} DAI is locked on chain"),
        );
        Ok(payment)
    }

    async fn pay(&self, payment: &Payment, expected: &str) -> Result<()> {
        let body = paid_body(&payment.tx_ref, payment.shillings, &payment.receipt)?;
        let reply = self.client.callback(&body).await?;
        let answer = String::from_utf8_lossy(&reply.body).into_owned();
        ensure!(
            reply.status == 200 && reply.json()?["status"] == expected,
            "{}: {answer}",
            reply.status
        );
        if expected == "accepted" {
            let Payment {
                name,
                shillings,
                receipt,
                ..
            } = payment;
            self.show.step(
                "paid",
                &format!("M-Pesa reports {shillings} KES from {name}, receipt {receipt}"),
            );
        }
        Ok(())
    }

    async fn until(&self, payment: &Payment, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let last = std::cell::RefCell::new(Value::Null);
        let waited = eventually(
            TIMEOUT,
            &format!("{}'s payment is {what}", payment.name),
            async || {
                let intent = self.client.read(&payment.intent_id).await?.json()?;
                let done = wanted(&intent);
                last.replace(intent);
                Ok(done.then_some(()))
            },
        )
        .await;
        waited.with_context(|| format!("last seen: {}", last.borrow()))?;
        Ok(last.into_inner())
    }

    async fn balances(&self, amina: &str, brian: &str) -> Result<Balances> {
        let Addresses {
            country_token: token,
            stablecoin,
            treasury,
            escrow,
            ..
        } = &self.addresses;
        Ok(Balances {
            treasury: evm::balance_of(&self.rpc_url, stablecoin, treasury).await?,
            escrow: evm::balance_of(&self.rpc_url, stablecoin, escrow).await?,
            amina: evm::balance_of(&self.rpc_url, token, amina).await?,
            brian: evm::balance_of(&self.rpc_url, token, brian).await?,
            supply: evm::total_supply(&self.rpc_url, token).await?,
        })
    }
}

/// Prints each step with its time, in colour only where someone looks.
struct Show {
    started: Instant,
    colour: bool,
}

impl Show {
    fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            started: Instant::now(),
            colour,
        }
    }

    fn step(&self, name: &str, text: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        if self.colour {
            println!("\x1b[2m{seconds:7.2} s\x1b[0m  \x1b[32m{name:<11}\x1b[0m {text}");
        } else {
            println!("{seconds:7.2} s  {name:<11} {text}");
        }
    }

    fn balances(&self, name: &str, balances: &Balances) {
        let Balances {
            treasury,
            escrow,
            amina,
            brian,
            supply,
        } = *balances;
        self.step(
            name,
            &format!(
                "on chain: treasury {} DAI, escrow {} DAI, Amina {} KES, Brian {} KES, supply {} KES",
                whole(treasury),
                whole(escrow),
                whole(amina),
                whole(brian),
                whole(supply)
            ),
        );
    }
}

fn whole(base_units: u128) -> String {
    let (whole, rest) = (base_units / SHILLING, base_units % SHILLING);
    if rest == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{rest:018}").trim_end_matches('0').to_owned()
    }
}

fn short(hex: &str) -> String {
    if hex.len() > 14 && hex.is_ascii() {
        format!("{}..{}", &hex[..8], &hex[hex.len() - 4..])
    } else {
        hex.to_owned()
    }
}
