//! `keys revoke`: the row says no, and the secret goes.

use anyhow::Result;
use clap::{Args, ValueEnum};
use domain::signature::KeyId;
use serde_json::json;
use storage::ops::audit::{self, AuditEntry};
use storage::ops::keys;

use crate::Verdict;
use crate::confirm::confirm;
use crate::context::Context;
use crate::key_files::KeyFiles;
use crate::output::{Output, Style};
use crate::problem::problem;

/// End a key: its row is marked and its secret removed, so that an edited row revives nothing
///
/// An M-Pesa key ends as retired (no new callbacks; stored reports still verify, so the secret stays for half a minute
/// and while one of them is undecided: run it again later) or as compromised (the secret goes at once; what was not decided is
/// never minted on its word).
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails keys revoke ik_acme_1 --reason 'rotated, last used 3 days ago' --yes\n  \
    fiatrails keys revoke mk_2025 --as-state retired --reason 'yearly rotation'\n  \
    fiatrails keys revoke mk_2025 --as-state compromised --reason 'INC-42'")]
pub struct Revoke {
    /// The key to end
    kid: KeyId,
    /// How it ends [default: revoked; an M-Pesa key needs retired or compromised]
    #[arg(long, value_enum, value_name = "STATE")]
    as_state: Option<State>,
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Revoked,
    Retired,
    Compromised,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Retired => "retired",
            Self::Compromised => "compromised",
        }
    }
}

pub async fn run(context: &Context, out: &mut Output, args: &Revoke) -> Result<Verdict> {
    let who = context.who()?;
    let why = crate::context::reason("--reason", &args.reason)?;
    let files = KeyFiles::of(&context.environment)?;
    let kid = args.kid.as_str();
    let mut client = context.client().await?;
    let place = super::find(&files, &args.kid)?;
    let row = keys::list(&client)
        .await?
        .into_iter()
        .find(|row| row.key_id == kid);
    let known = row.and_then(|row| row.purpose.zip(row.owner));
    let from_file = place.as_ref().map(|p| {
        (
            p.purpose.clone(),
            p.owner.clone().unwrap_or_else(|| p.purpose.clone()),
        )
    });
    let Some((purpose, owner)) = known.or(from_file) else {
        return Err(problem(
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
    let found = keys::set_state(&tx, (kid, &purpose, &owner), state.name()).await?;
    if found.state != state.name() {
        return Err(problem(
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
        State::Retired => Stays::because(&client, kid, found.seconds).await?,
        State::Revoked | State::Compromised => None,
    };
    let removed = match &place {
        Some(place) if stays.is_none() => files.remove(place)?,
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
        crate::output::note(
            "note: FIATRAILS_KEYS_ROOT is not set; remove the secret from the services' directories too",
        );
    }
    Ok(Verdict::Yes)
}

/// A retired key's secret stays while something may still be verified with it.
struct Stays {
    undecided: u64,
    /// Gateways may still be taking reports under it for so long.
    seconds: u64,
}

impl Stays {
    /// A gateway reads the rows every second, and then finishes what it has begun within the webhook's time-out.
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

impl std::fmt::Display for Stays {
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

fn ending(purpose: &str, asked: Option<State>) -> Result<State> {
    match (purpose, asked) {
        ("mpesa", Some(state @ (State::Retired | State::Compromised))) => Ok(state),
        ("mpesa", _) => Err(problem(
            "an M-Pesa key ends as retired or as compromised",
            "pass --as-state retired (rotation) or --as-state compromised (it leaked)",
        )),
        (_, None | Some(State::Revoked)) => Ok(State::Revoked),
        (_, Some(State::Compromised)) => Ok(State::Compromised),
        (_, Some(State::Retired)) => Err(problem(
            "only M-Pesa keys retire",
            "leave --as-state away: revoked",
        )),
    }
}
