//! `compliance`: shows or sets a user's risk score and attestation on chain.

use std::time::Duration;

use anyhow::{Context as _, Result};
use chain::compliance::{Assessment, UserCompliance};
use chain::{ChainClient, LocalKey, Signer as _};
use clap::{Args, Subcommand};
use domain::address::Address;
use serde_json::{Value, json};
use storage::ops::audit::{self, AuditEntry};

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style, TextPage};
use crate::settings::ComplianceSettings;
use crate::user_error::user_error;

/// Show or set a user's risk score and attestation
#[derive(Subcommand)]
pub enum ComplianceCommand {
    Show(ShowCompliance),
    Set(SetCompliance),
}

/// Show what the chain knows about a user, and whether a mint to them would pass
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    RPC_URLS or RPC_URL             the chain\n  \
    COMPLIANCE_MANAGER_ADDRESS      or ESCROW_ADDRESS, whose compliance source is taken\n\n\
    Examples:\n  fiatrails compliance show 0x70997970C51812dc3A010C7d01b50e0d17dc79C8")]
pub struct ShowCompliance {
    /// The user
    user: Address,
}

/// Set a user's risk score, attestation and verification in one transaction, and wait for it
///
/// Scores go from 0 (none) to 100 (worst). A user who is not compliant is refunded, never minted.
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    COMPLIANCE_PRIVATE_KEY          the officer's key, also _FILE; in development DEV_ADMIN_PRIVATE_KEY\n  \
    RPC_URLS or RPC_URL             the chain\n  \
    CHAIN_ID                        if set, any other chain is refused\n  \
    COMPLIANCE_MANAGER_ADDRESS      or ESCROW_ADDRESS, whose compliance source is taken\n  \
    DATABASE_URL                    for the audit log\n\n\
    Examples:\n  \
    fiatrails compliance set 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --risk 10 \\\n    \
    --attestation 0x6b79630000000000000000000000000000000000000000000000000000000001 --reason 'documents seen'\n  \
    fiatrails compliance set 0x7099...79C8 --risk 95 --unverified --reason 'sanctions hit, case 7'")]
pub struct SetCompliance {
    /// The user
    user: Address,
    /// Risk score, 0 to 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    risk: u8,
    /// Hash of the attestation, 0x and 64 hexadecimal digits [default: none, all zeros]
    #[arg(long, value_name = "HASH", value_parser = hash)]
    attestation: Option<[u8; 32]>,
    /// The user's identity is not verified
    #[arg(long)]
    unverified: bool,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
    /// Maximum seconds to wait for the receipt
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    let digits = text
        .strip_prefix("0x")
        .ok_or("a hash is 0x and 64 hexadecimal digits")?;
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| "a hash is 0x and 64 hexadecimal digits")?;
    Ok(bytes)
}

pub async fn run(
    context: &CommandContext,
    out: &mut Output,
    command: &ComplianceCommand,
) -> Result<Completion> {
    match command {
        ComplianceCommand::Show(args) => show(context, out, args).await,
        ComplianceCommand::Set(args) => set(context, out, args).await,
    }
}

async fn show(context: &CommandContext, out: &mut Output, args: &ShowCompliance) -> Result<Completion> {
    let (chain, manager) = connect(context).await?;
    let facts = chain.user_compliance(&manager, &args.user).await?;
    out.show(&document(&args.user, facts.as_ref()), |page| {
        describe(page, &args.user, facts.as_ref());
    })?;
    Ok(if facts.is_some_and(|facts| facts.compliant) {
        Completion::Success
    } else {
        Completion::Negative
    })
}

async fn set(context: &CommandContext, out: &mut Output, args: &SetCompliance) -> Result<Completion> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let officer = officer(context)?;
    let (chain, manager) = connect(context).await?;
    let wanted = Assessment {
        risk_score: args.risk,
        attestation: args.attestation.unwrap_or_default(),
        verified: !args.unverified,
    };
    let client = context.client().await?;
    let target = args.user.to_string();
    let mut detail = json!({ "risk": wanted.risk_score, "attestation": hex_text(&wanted.attestation),
                             "verified": wanted.verified, "manager": manager, "officer": officer.address() });
    // The intention is recorded first: once sent, the transaction may be mined even if this process dies.
    audit::record(
        &client,
        &AuditEntry {
            actor: who,
            action: "compliance.set",
            target: &target,
            reason: why,
            detail: detail.clone(),
        },
    )
    .await?;
    let timeout = Duration::from_secs(args.wait);
    let receipt = chain
        .set_user_compliance(&officer, &manager, &args.user, &wanted, timeout)
        .await?;
    detail["txHash"] = receipt.tx_hash.to_string().into();
    detail["block"] = receipt.block_number.into();
    audit::record(
        &client,
        &AuditEntry {
            actor: who,
            action: "compliance.set.done",
            target: &target,
            reason: why,
            detail,
        },
    )
    .await?;
    let facts = chain.user_compliance(&manager, &args.user).await?;
    let mut value = document(&args.user, facts.as_ref());
    value["txHash"] = receipt.tx_hash.to_string().into();
    value["block"] = receipt.block_number.into();
    out.show(&value, |page| {
        page.styled(
            Style::Good,
            format!("set in block {} by {}", receipt.block_number, receipt.tx_hash),
        );
        describe(page, &args.user, facts.as_ref());
    })?;
    Ok(Completion::Success)
}

fn officer(context: &CommandContext) -> Result<LocalKey> {
    let found: ComplianceSettings = context.environment.read()?;
    let key = found.officer.or(found.developer).ok_or_else(|| {
        user_error(
            "no officer's key",
            "set COMPLIANCE_PRIVATE_KEY or COMPLIANCE_PRIVATE_KEY_FILE",
        )
    })?;
    LocalKey::from_hex(key.value()).context("COMPLIANCE_PRIVATE_KEY or DEV_ADMIN_PRIVATE_KEY")
}

/// Connects to the chain and finds its compliance manager.
async fn connect(context: &CommandContext) -> Result<(ChainClient, Address)> {
    let ComplianceSettings { manager, escrow, .. } = context.environment.read()?;
    let Some(about) = escrow.or(manager) else {
        return Err(user_error(
            "no contract to ask",
            "set COMPLIANCE_MANAGER_ADDRESS or ESCROW_ADDRESS",
        ));
    };
    let chain = context.chain(about)?;
    context.check_chain_id(&chain).await?;
    let manager = match manager {
        Some(manager) => manager,
        None => chain.deployment().await?.compliance_source,
    };
    Ok((chain, manager))
}

fn document(user: &Address, facts: Option<&UserCompliance>) -> Value {
    json!({
        "user": user,
        "known": facts.is_some(),
        "compliant": facts.is_some_and(|facts| facts.compliant),
        "risk": facts.map(|facts| facts.risk_score),
        "attestation": facts.map(|facts| hex_text(&facts.attestation)),
        "verified": facts.map(|facts| facts.verified),
        "lastUpdated": facts.map(|facts| facts.last_updated),
    })
}

fn describe(page: &mut TextPage, user: &Address, facts: Option<&UserCompliance>) {
    page.field("user", user.to_string());
    let Some(facts) = facts else {
        page.styled(Style::Warn, "not compliant: nobody assessed this user");
        return;
    };
    let (style, text) = if facts.compliant {
        (Style::Good, "compliant")
    } else {
        (Style::Bad, "not compliant")
    };
    page.styled(style, text);
    page.field("risk", facts.risk_score.to_string());
    page.field("attestation", hex_text(&facts.attestation));
    page.field("verified", crate::text::yes_no(facts.verified));
}

fn hex_text(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}
