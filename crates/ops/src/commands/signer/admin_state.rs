//! Changes the state of a key that operators set: active, draining, retired. The state only controls which key gets work; only the
//! chain authorizes a key.

use std::time::Duration;

use anyhow::Result;
use chain::{BlockRef, ChainClient, roles};
use clap::Args;
use domain::address::Address;
use serde_json::json;
use storage::DbClient;
use storage::ops::audit::{self, AuditEntry};
use storage::ops::signers::{self, SignerAdminState, SignerRow};

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style};
use crate::user_error::user_error;

/// Activate a key, once the chain authorizes it
///
/// Refused while the key lacks EXECUTOR_ROLE or has no balance for gas. A drained key may be added again, a retired one never.
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL                    the state of the key, and the audit log\n  \
    RPC_URLS, ESCROW_ADDRESS        where role and balance are looked up\n\n\
    Examples:\n  fiatrails signer add 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC --reason 'yearly rotation'")]
pub struct AddSigner {
    /// The key's address
    address: Address,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
}

/// Stop a key from signing new transactions; its intents move to other keys once its nonces are final
///
/// Transactions that it signed are still followed, even when no executor holds the key any more.
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL                    the state of the key, and the audit log\n\n\
    Examples:\n  \
    fiatrails signer drain 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --reason 'yearly rotation' --wait 120")]
pub struct DrainSigner {
    /// The key's address
    address: Address,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
    /// Maximum seconds to wait until its nonces are final; exit code 1 if they are not
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86400))]
    wait: u64,
}

/// Retire a drained key permanently, once the chain no longer authorizes it
///
/// Refused while any transaction that it signed is not final, and while it holds EXECUTOR_ROLE.
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL                    the state of the key, and the audit log\n  \
    RPC_URLS, ESCROW_ADDRESS        where the role is looked up\n\n\
    Examples:\n  fiatrails signer retire 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --reason 'yearly rotation'")]
pub struct RetireSigner {
    /// The key's address
    address: Address,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
}

/// Replace one key with another: add, drain and retire, with intents in flight
///
/// Run it again after each step that somebody else must take: the admin call that it names to grant or revoke
/// EXECUTOR_ROLE, gas for the new key, an executor that holds it. Nothing is lost meanwhile, and both keys work.
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL                    the state of the key, and the audit log\n  \
    RPC_URLS, ESCROW_ADDRESS        where roles and balance are looked up\n\n\
    Examples:\n  fiatrails signer rotate 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 \
    --to 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC --reason 'yearly rotation'")]
pub struct RotateSigner {
    /// The old key's address
    address: Address,
    /// The new key's address
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
    /// Maximum seconds to wait until the old key's nonces are final; exit code 1 if they are not
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=86400))]
    wait: u64,
}

pub async fn rotate(context: &CommandContext, out: &mut Output, args: &RotateSigner) -> Result<Completion> {
    if args.to == args.address {
        return Err(user_error("both keys are the same", "name the new one with --to"));
    }
    let (chain, client) = (chain(context)?, context.client().await?);
    check_eligible(&chain, &args.to).await?;
    let new = signers::list(&client, Some(args.to.as_bytes())).await?.pop();
    if new
        .as_ref()
        .is_none_or(|row| row.admin_state != SignerAdminState::Active)
    {
        set_state(context, &args.to, SignerAdminState::Active, &args.reason).await?;
    }
    if !new.is_some_and(|row| row.leased) {
        let fix = "give it to an executor and start that, then run this again";
        return Err(user_error(format!("no executor holds {}", args.to), fix));
    }
    let old = read(&client, &args.address).await?;
    if old.admin_state == SignerAdminState::Active {
        set_state(context, &args.address, SignerAdminState::Draining, &args.reason).await?;
    }
    let row = wait_until_drained(&client, &args.address, args.wait).await?;
    if !row.is_drained() {
        show_order(out, &args.address, SignerAdminState::Draining, Some(&row))?;
        return Ok(Completion::Negative);
    }
    check_role_revoked(&chain, &args.address).await?;
    if row.admin_state != SignerAdminState::Retired {
        set_state(context, &args.address, SignerAdminState::Retired, &args.reason).await?;
    }
    show_order(out, &args.address, SignerAdminState::Retired, None)
}

pub async fn add(context: &CommandContext, out: &mut Output, args: &AddSigner) -> Result<Completion> {
    check_eligible(&chain(context)?, &args.address).await?;
    set_state(context, &args.address, SignerAdminState::Active, &args.reason).await?;
    show_order(out, &args.address, SignerAdminState::Active, None)
}

/// Checks that the key has the role and a balance for gas.
async fn check_eligible(chain: &ChainClient, address: &Address) -> Result<()> {
    let status = chain.signer_status(address).await?;
    if !status.may_execute {
        let data = hex::encode(roles::grant_executor(address));
        return Err(user_error(
            format!("{address} lacks EXECUTOR_ROLE"),
            format!("have an admin call the escrow {} with 0x{data}", chain.escrow()),
        ));
    }
    if status.balance == 0 {
        let fix = "send it native coin; see `fiatrails signer list` for the balances";
        return Err(user_error(format!("{address} cannot pay for gas"), fix));
    }
    Ok(())
}

pub async fn drain(context: &CommandContext, out: &mut Output, args: &DrainSigner) -> Result<Completion> {
    set_state(context, &args.address, SignerAdminState::Draining, &args.reason).await?;
    let row = wait_until_drained(&context.client().await?, &args.address, args.wait).await?;
    let drained = row.is_drained();
    show_order(out, &args.address, SignerAdminState::Draining, Some(&row))?;
    Ok(if drained || args.wait == 0 {
        Completion::Success
    } else {
        Completion::Negative
    })
}

/// Waits until the key's nonces are final or the time is over; returns its row.
async fn wait_until_drained(client: &DbClient, address: &Address, seconds: u64) -> Result<SignerRow> {
    let mut row = read(client, address).await?;
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    while !row.is_drained() && tokio::time::Instant::now() < until {
        runtime::stop::pause(Duration::from_secs(1)).await;
        row = read(client, address).await?;
    }
    Ok(row)
}

pub async fn retire(context: &CommandContext, out: &mut Output, args: &RetireSigner) -> Result<Completion> {
    check_role_revoked(&chain(context)?, &args.address).await?;
    set_state(context, &args.address, SignerAdminState::Retired, &args.reason).await?;
    show_order(out, &args.address, SignerAdminState::Retired, None)
}

async fn check_role_revoked(chain: &ChainClient, address: &Address) -> Result<()> {
    if chain.may_execute(address, BlockRef::Latest).await? {
        let data = hex::encode(roles::revoke_executor(address));
        return Err(user_error(
            format!("{address} holds EXECUTOR_ROLE"),
            format!("have an admin call the escrow {} with 0x{data}", chain.escrow()),
        ));
    }
    Ok(())
}

fn chain(context: &CommandContext) -> Result<ChainClient> {
    context.chain(context.contracts()?.escrow)
}

async fn read(client: &DbClient, address: &Address) -> Result<SignerRow> {
    let row = signers::list(client, Some(address.as_bytes())).await?.pop();
    row.ok_or_else(|| {
        user_error(
            format!("no key {address} is known"),
            "see `fiatrails signer list`",
        )
    })
}

/// Writes the new state and its audit row together, if the transition is allowed.
async fn set_state(
    context: &CommandContext,
    address: &Address,
    state: SignerAdminState,
    reason: &str,
) -> Result<()> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", reason)?);
    let mut client = context.client().await?;
    let tx = client.begin().await?;
    let before = signers::lock(&tx, address.as_bytes()).await?;
    let known = signers::list(&tx, Some(address.as_bytes())).await?.pop();
    if let Err((what, fix)) = may_follow(before, state, known.as_ref()) {
        return Err(user_error(format!("{address} {what}"), fix));
    }
    signers::set(&tx, address.as_bytes(), state, why, who).await?;
    let target = address.to_string();
    let act = AuditEntry {
        actor: who,
        action: match state {
            SignerAdminState::Active => "signer.add",
            SignerAdminState::Draining => "signer.drain",
            SignerAdminState::Retired => "signer.retire",
        },
        target: &target,
        reason: why,
        detail: json!({ "before": before.map(SignerAdminState::name) }),
    };
    audit::record(&tx, &act).await?;
    tx.commit().await?;
    Ok(())
}

/// Checks a transition; the error says what is wrong and how to fix it. Pure.
fn may_follow(
    before: Option<SignerAdminState>,
    state: SignerAdminState,
    known: Option<&SignerRow>,
) -> Result<(), (&'static str, &'static str)> {
    match (before, state) {
        (Some(SignerAdminState::Retired), SignerAdminState::Active | SignerAdminState::Draining) => {
            Err(("is retired", "a retired key never comes back: add another one"))
        }
        (_, SignerAdminState::Draining) if known.is_none() => {
            Err(("is not known", "see `fiatrails signer list`"))
        }
        (None | Some(SignerAdminState::Active), SignerAdminState::Retired) => {
            Err(("is not draining", "drain it first: `fiatrails signer drain`"))
        }
        (Some(SignerAdminState::Draining), SignerAdminState::Retired)
            if known.is_some_and(|row| !row.is_drained()) =>
        {
            Err((
                "has signed what is not final yet",
                "wait: `fiatrails signer drain --wait 120`, or see `fiatrails signer list`",
            ))
        }
        _ => Ok(()),
    }
}

fn show_order(
    out: &mut Output,
    address: &Address,
    state: SignerAdminState,
    row: Option<&SignerRow>,
) -> Result<Completion> {
    let value = json!({
        "address": address.to_string(),
        "state": state.name(),
        "inFlight": row.map(|row| row.in_flight),
        "notFinal": row.map(|row| row.not_final),
        "intents": row.map(|row| row.intents),
        "drained": row.map(SignerRow::is_drained),
    });
    out.show(&value, |page| {
        page.styled(Style::Good, format!("{address} is {state} from now on"));
        if let Some(row) = row {
            let (open, intents) = (row.in_flight + row.not_final, row.intents);
            page.line(format!(
                "{open} of its transactions are not final; {intents} intents are with it"
            ));
        }
    })?;
    Ok(Completion::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_order_may_follow_which() {
        let row = |not_final| SignerRow {
            address: [1; 20],
            admin_state: SignerAdminState::Draining,
            reason: None,
            leased: true,
            next_nonce: Some(1),
            in_flight: 0,
            not_final,
            intents: 0,
        };
        let (idle, busy) = (row(0), row(1));
        let table = [
            (None, SignerAdminState::Active, None, true),
            (None, SignerAdminState::Draining, None, false),
            (None, SignerAdminState::Draining, Some(&busy), true),
            (None, SignerAdminState::Retired, Some(&idle), false),
            (
                Some(SignerAdminState::Active),
                SignerAdminState::Retired,
                Some(&idle),
                false,
            ),
            (
                Some(SignerAdminState::Active),
                SignerAdminState::Draining,
                Some(&busy),
                true,
            ),
            (
                Some(SignerAdminState::Draining),
                SignerAdminState::Active,
                Some(&busy),
                true,
            ),
            (
                Some(SignerAdminState::Draining),
                SignerAdminState::Retired,
                Some(&busy),
                false,
            ),
            (
                Some(SignerAdminState::Draining),
                SignerAdminState::Retired,
                Some(&idle),
                true,
            ),
            (
                Some(SignerAdminState::Retired),
                SignerAdminState::Retired,
                Some(&idle),
                true,
            ),
            (
                Some(SignerAdminState::Retired),
                SignerAdminState::Active,
                Some(&idle),
                false,
            ),
            (
                Some(SignerAdminState::Retired),
                SignerAdminState::Draining,
                Some(&idle),
                false,
            ),
        ];
        for (before, state, known, expected) in table {
            assert_eq!(
                may_follow(before, state, known).is_ok(),
                expected,
                "{before:?} {state:?} {known:?}"
            );
        }
    }
}
