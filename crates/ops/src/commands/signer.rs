//! `signer`: manages the executor's keys. They are rotated without blocking any intent: add the new key, drain the old one,
//! revoke its role, retire it.

mod admin_state;

use anyhow::Result;
use chain::Signer as _;
use chain::signer::pkcs11::{Token, TokenConfig};
use clap::{Args, Subcommand};
use domain::address::Address;
use serde::Serialize;
use serde_json::json;
use storage::ops::audit::{self, AuditEntry};
use storage::ops::signers::{self, SignerRow};

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style};
use crate::settings::{NodeSettings, TokenSettings};

/// List, create, add, drain, retire and rotate the keys that sign transactions
///
/// To rotate a key with intents in flight: create the new key (here or elsewhere), fund it, start an executor that holds
/// it, and run `rotate`, which adds the new key, drains and retires the old one, and names an admin call that is missing.
/// No step loses anything, and each may wait as long as needed.
#[derive(Subcommand)]
pub enum SignerCommand {
    List(ListSigners),
    Create(CreateSigner),
    Add(admin_state::AddSigner),
    Drain(admin_state::DrainSigner),
    Retire(admin_state::RetireSigner),
    Rotate(admin_state::RotateSigner),
}

/// Show every key: its ordered state, whether an executor holds it, and its open transactions
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL                    the rows\n  \
    RPC_URLS, ESCROW_ADDRESS        if set, balance and role are shown too\n\n\
    Examples:\n  fiatrails signer list\n  fiatrails signer list --json")]
pub struct ListSigners {}

/// Create a key inside a PKCS#11 token, which never exports it
///
/// Prints the address. The executor finds the key by its label: name it in EXECUTOR_PKCS11_KEYS.
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    EXECUTOR_PKCS11_MODULE          the vendor's library, e.g. /usr/lib/softhsm/libsofthsm2.so\n  \
    EXECUTOR_PKCS11_TOKEN           label of the token\n  \
    EXECUTOR_PKCS11_PIN             its user PIN, also _FILE\n  \
    DATABASE_URL                    for the audit log\n\n\
    Examples:\n  fiatrails signer create --label executor-2026 --reason 'yearly rotation'")]
pub struct CreateSigner {
    /// Label of the key in the token
    #[arg(long)]
    label: String,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
}

pub async fn run(context: &CommandContext, out: &mut Output, command: &SignerCommand) -> Result<Completion> {
    match command {
        SignerCommand::List(_) => list(context, out).await,
        SignerCommand::Create(args) => create(context, out, args).await,
        SignerCommand::Add(args) => admin_state::add(context, out, args).await,
        SignerCommand::Drain(args) => admin_state::drain(context, out, args).await,
        SignerCommand::Retire(args) => admin_state::retire(context, out, args).await,
        SignerCommand::Rotate(args) => admin_state::rotate(context, out, args).await,
    }
}

/// One key, as it is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignerView {
    address: String,
    state: &'static str,
    reason: Option<String>,
    held: bool,
    next_nonce: Option<u64>,
    in_flight: u64,
    not_final: u64,
    intents: u64,
    drained: bool,
    /// The balance in wei; only with RPC_URLS.
    balance: Option<String>,
    has_role: Option<bool>,
}

impl SignerView {
    fn of(row: SignerRow) -> Result<(Address, Self)> {
        let address = Address::from_bytes(row.address)?;
        let shown = Self {
            address: address.to_string(),
            state: row.admin_state.name(),
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
            self.state.to_owned(),
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

async fn list(context: &CommandContext, out: &mut Output) -> Result<Completion> {
    let rows = signers::list(&context.client().await?, None).await?;
    let node: NodeSettings = context.environment.read()?;
    let chain = match node.rpc_urls {
        Some(_) => Some(context.chain(context.contracts()?.escrow)?),
        None => None,
    };
    let mut keys = Vec::new();
    for row in rows {
        let (address, mut shown) = SignerView::of(row)?;
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
                "state",
                "held",
                "next nonce",
                "in flight",
                "not final",
                "intents",
                "balance (wei)",
                "role",
            ],
            &keys.iter().map(SignerView::cells).collect::<Vec<_>>(),
        );
    })?;
    Ok(Completion::Success)
}

async fn create(context: &CommandContext, out: &mut Output, args: &CreateSigner) -> Result<Completion> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let client = context.client().await?;
    let found: TokenSettings = context.environment.read()?;
    let token = Token::open(TokenConfig {
        module: found.module,
        label: found.label,
        pin: found.pin.value().clone(),
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
    Ok(Completion::Success)
}
