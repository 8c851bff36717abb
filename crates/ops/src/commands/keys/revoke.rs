//! `keys revoke`: the row says no, and the secret goes.

use anyhow::Result;
use clap::{Args, ValueEnum};
use domain::signature::KeyId;
use serde_json::json;
use storage::ops::audit::{self, Act};
use storage::ops::keys;

use crate::Verdict;
use crate::confirm::confirm;
use crate::context::Context;
use crate::key_files::KeyFiles;
use crate::output::{Output, Style};
use crate::problem::problem;

/// End a key: its row is marked and its secret removed, so that an edited row revives nothing
///
/// An M-Pesa key ends as retired (no new callbacks; stored reports still verify, so the secret stays while one of
/// them is undecided: run it again later) or as compromised (the secret goes at once; what was not decided is
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
    keys::set_state(&tx, (kid, &purpose, &owner), state.name()).await?;
    let detail = json!({ "purpose": purpose, "owner": owner, "state": state.name() });
    audit::record(
        &tx,
        &Act {
            who,
            act: "keys.revoke",
            target: kid,
            why,
            detail,
        },
    )
    .await?;
    tx.commit().await?;

    // Counted after the row is in force: from then on no new report comes in under this key.
    let undecided = if state == State::Retired {
        keys::undecided_reports(&client, kid).await?
    } else {
        0
    };
    let removed = match &place {
        Some(place) if undecided == 0 => files.remove(place)?,
        _ => Vec::new(),
    };
    let removed: Vec<String> = removed.iter().map(|path| path.display().to_string()).collect();
    let value =
        json!({ "keyId": kid, "state": state.name(), "removed": removed, "undecidedReports": undecided });
    out.show(&value, |page| {
        page.styled(Style::Good, format!("key {kid} is {}", state.name()));
        for path in &removed {
            page.field("removed", path);
        }
        if undecided > 0 {
            page.styled(
                Style::Warn,
                format!("its secret stays: {undecided} stored report(s) are undecided; run this again later"),
            );
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
