//! `signer`: the executor's keys. They are rotated without a stuck intent: add the new one, drain the old one, take its
//! role away, retire it.

mod orders;

use anyhow::Result;
use chain::Signer as _;
use chain::signer::pkcs11::{Token, TokenConfig};
use clap::{Args, Subcommand};
use domain::address::Address;
use serde::Serialize;
use serde_json::json;
use storage::ops::audit::{self, AuditEntry};
use storage::ops::signers::{self, SignerRow};

use crate::Verdict;
use crate::context::Context;
use crate::output::{Output, Style};

/// List, create, add, drain, retire and rotate the keys that sign transactions
///
/// The drill, with intents in flight: create the new key (or make one elsewhere), fund it, start an executor that holds
/// it, and `rotate`: it adds the new key, drains the old one and retires it, and says which call of an admin is missing.
/// Nothing is lost at any step, and each may wait for as long as it likes.
#[derive(Subcommand)]
pub enum Signer {
    List(List),
    Create(Create),
    Add(orders::Add),
    Drain(orders::Drain),
    Retire(orders::Retire),
    Rotate(orders::Rotate),
}

/// Show every key: what is ordered, who holds it, what it has under way
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL                    the rows\n  \
    RPC_URLS, ESCROW_ADDRESS        if set, balance and role are shown too\n\n\
    Examples:\n  fiatrails signer list\n  fiatrails signer list --json")]
pub struct List {}

/// Make a key inside a PKCS#11 token; it can never leave it
///
/// Prints the address. The executor finds the key by its label: name it in EXECUTOR_PKCS11_KEYS.
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    EXECUTOR_PKCS11_MODULE          the vendor's library, e.g. /usr/lib/softhsm/libsofthsm2.so\n  \
    EXECUTOR_PKCS11_TOKEN           label of the token\n  \
    EXECUTOR_PKCS11_PIN             its user PIN, also _FILE\n  \
    DATABASE_URL                    for the audit log\n\n\
    Examples:\n  fiatrails signer create --label executor-2026 --reason 'yearly rotation'")]
pub struct Create {
    /// Name of the key in the token
    #[arg(long)]
    label: String,
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
}

pub async fn run(context: &Context, out: &mut Output, command: &Signer) -> Result<Verdict> {
    match command {
        Signer::List(_) => list(context, out).await,
        Signer::Create(args) => create(context, out, args).await,
        Signer::Add(args) => orders::add(context, out, args).await,
        Signer::Drain(args) => orders::drain(context, out, args).await,
        Signer::Retire(args) => orders::retire(context, out, args).await,
        Signer::Rotate(args) => orders::rotate(context, out, args).await,
    }
}

/// One key as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    address: String,
    order: &'static str,
    reason: Option<String>,
    held: bool,
    next_nonce: Option<u64>,
    in_flight: u64,
    not_final: u64,
    intents: u64,
    drained: bool,
    /// Wei; only with RPC_URLS.
    balance: Option<String>,
    has_role: Option<bool>,
}

impl Shown {
    fn of(row: SignerRow) -> Result<(Address, Self)> {
        let address = Address::from_bytes(row.address)?;
        let shown = Self {
            address: address.to_string(),
            order: row.admin_state.name(),
            held: row.leased,
            next_nonce: row.next_nonce,
            in_flight: row.in_flight,
            not_final: row.not_final,
            intents: row.intents,
            drained: row.is_drained(),
            reason: row.reason,
            balance: None,
            has_role: None,
        };
        Ok((address, shown))
    }

    fn cells(&self) -> Vec<String> {
        let unknown = || "-".to_owned();
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        vec![
            self.address.clone(),
            self.order.to_owned(),
            yes(self.held),
            self.next_nonce.map_or_else(unknown, |nonce| nonce.to_string()),
            self.in_flight.to_string(),
            self.not_final.to_string(),
            self.intents.to_string(),
            self.balance.clone().unwrap_or_else(unknown),
            self.has_role.map_or_else(unknown, yes),
        ]
    }
}

async fn list(context: &Context, out: &mut Output) -> Result<Verdict> {
    let rows = signers::list(&context.client().await?, None).await?;
    let chain = match context.environment.text("RPC_URLS") {
        Some(_) => Some(context.chain(context.environment.contracts()?.escrow)?),
        None => None,
    };
    let mut keys = Vec::new();
    for row in rows {
        let (address, mut shown) = Shown::of(row)?;
        if let Some(chain) = &chain {
            let status = chain.signer_status(&address).await?;
            shown.balance = Some(status.balance.to_string());
            shown.has_role = Some(status.may_execute);
        }
        keys.push(shown);
    }
    out.show(&keys, |page| {
        page.table(
            &[
                "address",
                "order",
                "held",
                "next nonce",
                "in flight",
                "not final",
                "intents",
                "balance (wei)",
                "role",
            ],
            &keys.iter().map(Shown::cells).collect::<Vec<_>>(),
        );
    })?;
    Ok(Verdict::Yes)
}

async fn create(context: &Context, out: &mut Output, args: &Create) -> Result<Verdict> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let environment = &context.environment;
    let client = context.client().await?;
    let token = Token::open(TokenConfig {
        module: environment.required("EXECUTOR_PKCS11_MODULE")?.into(),
        label: environment.required("EXECUTOR_PKCS11_TOKEN")?.to_owned(),
        pin: environment.required_secret("EXECUTOR_PKCS11_PIN")?,
    })?;
    let address = token.generate(&args.label)?.address();
    let target = address.to_string();
    let act = AuditEntry {
        actor: who,
        action: "signer.create",
        target: &target,
        reason: why,
        detail: json!({ "label": args.label }),
    };
    audit::record(&client, &act).await?;
    out.show(&json!({ "address": target, "label": args.label }), |page| {
        page.styled(
            Style::Good,
            format!("{target} is in the token as {:?}", args.label),
        );
    })?;
    Ok(Verdict::Yes)
}
