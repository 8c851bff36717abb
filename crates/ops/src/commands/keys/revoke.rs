//! `keys revoke`: marks the key's row and removes its secret.

use anyhow::Result;
use clap::{Args, ValueEnum};
use domain::key_state::KeyState;
use domain::signature::KeyId;
use serde_json::json;
use storage::ops::audit::{self, AuditEntry};
use storage::ops::keys;

use crate::completion::Completion;
use crate::confirm::confirm;
use crate::context::CommandContext;
use crate::key_files::KeyFiles;
use crate::output::{Output, Style};
use crate::user_error::user_error;

/// End a key: mark its row and remove its secret, so that editing the row cannot revive the key
///
/// An M-Pesa key ends as retired (new callbacks are refused; stored reports still verify, so the secret stays for half a
/// minute and while one of them is undecided: run the command again later) or as compromised (the secret is removed at
/// once; undecided reports that it signed never cause a mint).
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails keys revoke ik_acme_1 --reason 'rotated, last used 3 days ago' --yes\n  \
    fiatrails keys revoke mk_2025 --as-state retired --reason 'yearly rotation'\n  \
    fiatrails keys revoke mk_2025 --as-state compromised --reason 'INC-42'")]
pub struct RevokeKey {
    /// The key to end
    kid: KeyId,
    /// Final state [default: revoked; an M-Pesa key needs retired or compromised]
    #[arg(long, value_enum, value_name = "STATE")]
    as_state: Option<KeyEndState>,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyEndState {
    Revoked,
    Retired,
    Compromised,
}

impl KeyEndState {
    const fn state(self) -> KeyState {
        match self {
            Self::Revoked => KeyState::Revoked,
            Self::Retired => KeyState::Retired,
            Self::Compromised => KeyState::Compromised,
        }
    }

    const fn name(self) -> &'static str {
        self.state().name()
    }
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &RevokeKey) -> Result<Completion> {
    let who = context.who()?;
    let why = crate::context::reason("--reason", &args.reason)?;
    let files = KeyFiles::of(&context.environment)?;
    let kid = args.kid.as_str();
    let mut client = context.client().await?;
    let location = super::find(&files, &args.kid)?;
    let row = keys::list(&client)
        .await?
        .into_iter()
        .find(|row| row.key_id == kid);
    let known = row.and_then(|row| row.purpose.zip(row.owner));
    let from_file = location.as_ref().map(|p| {
        (
            p.purpose.clone(),
            p.owner.clone().unwrap_or_else(|| p.purpose.clone()),
        )
    });
    let Some((purpose, owner)) = known.or(from_file) else {
        return Err(user_error(
            format!("no integrator or M-Pesa key is called {kid}"),
            "`fiatrails keys list` shows every key",
        ));
    };
    let state = ending(&purpose, args.as_state)?;
    confirm(
        args.yes,
        &format!("End the {purpose} key {kid} of {owner} as {}?", state.name()),
    )?;

    let tx = client.begin().await?;
    let found = keys::set_state(&tx, kid, &purpose, &owner, state.state()).await?;
    if found.state != state.state() {
        return Err(user_error(
            format!("key {kid} is {}", found.state),
            "that is for ever: what it signed stays held until a person settles it",
        ));
    }
    let detail = json!({ "purpose": purpose, "owner": owner, "state": state.name() });
    audit::record(
        &tx,
        &AuditEntry {
            actor: who,
            action: "keys.revoke",
            target: kid,
            reason: why,
            detail,
        },
    )
    .await?;
    tx.commit().await?;

    let stays = match state {
        KeyEndState::Retired => RetainedSecret::because(&client, kid, found.seconds).await?,
        KeyEndState::Revoked | KeyEndState::Compromised => None,
    };
    let removed = match &location {
        Some(location) if stays.is_none() => files.remove(location)?,
        _ => Vec::new(),
    };
    let removed: Vec<String> = removed.iter().map(|path| path.display().to_string()).collect();
    let value = json!({ "keyId": kid, "state": state.name(), "removed": removed,
                        "undecidedReports": stays.as_ref().map_or(0, |stays| stays.undecided),
                        "tryAgainSeconds": stays.as_ref().map_or(0, |stays| stays.seconds) });
    out.show(&value, |page| {
        page.styled(Style::Good, format!("key {kid} is {}", state.name()));
        for path in &removed {
            page.field("removed", path);
        }
        if let Some(stays) = &stays {
            page.styled(Style::Warn, stays.to_string());
        } else if removed.is_empty() {
            page.styled(
                Style::Warn,
                "no secret file was here; remove it wherever it is mounted",
            );
        }
    })?;
    if !files.reaches_services() {
        crate::output::print_note(
            "note: FIATRAILS_KEYS_ROOT is not set; remove the secret from the services' directories too",
        );
    }
    Ok(Completion::Success)
}

/// Why a retired key's secret must stay: reports may still be verified with it.
struct RetainedSecret {
    undecided: u64,
    /// How long gateways may still accept reports under the key.
    seconds: u64,
}

impl RetainedSecret {
    /// A gateway reads the rows every second and finishes running requests within the webhook's time-out.
    const IN_FORCE_SECONDS: f64 = 30.0;

    async fn because(session: &impl storage::DbSession, kid: &str, retired_for: f64) -> Result<Option<Self>> {
        let left = (Self::IN_FORCE_SECONDS - retired_for).max(0.0).ceil();
        let stays = Self {
            undecided: keys::undecided_reports(session, kid).await?,
            seconds: std::time::Duration::try_from_secs_f64(left)?.as_secs(),
        };
        Ok((stays.undecided > 0 || stays.seconds > 0).then_some(stays))
    }
}

impl std::fmt::Display for RetainedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.undecided > 0 {
            write!(
                f,
                "its secret stays: {} stored report(s) are undecided; run this again later",
                self.undecided
            )
        } else {
            write!(
                f,
                "its secret stays: a report may just be coming in under it; run this again in {} s",
                self.seconds
            )
        }
    }
}

fn ending(purpose: &str, asked: Option<KeyEndState>) -> Result<KeyEndState> {
    match (purpose, asked) {
        ("mpesa", Some(state @ (KeyEndState::Retired | KeyEndState::Compromised))) => Ok(state),
        ("mpesa", _) => Err(user_error(
            "an M-Pesa key ends as retired or as compromised",
            "pass --as-state retired (rotation) or --as-state compromised (it leaked)",
        )),
        (_, None | Some(KeyEndState::Revoked)) => Ok(KeyEndState::Revoked),
        (_, Some(KeyEndState::Compromised)) => Ok(KeyEndState::Compromised),
        (_, Some(KeyEndState::Retired)) => Err(user_error(
            "only M-Pesa keys retire",
            "leave --as-state away: revoked",
        )),
    }
}
