//! `migrate`: creates or updates the schema and the services' logins.

use anyhow::Result;
use clap::Args;
use runtime::settings::SecretSource;
use serde::Serialize;
use storage::ops::logins::{self, Login};

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style};
use crate::settings::DatabasePasswords;
use crate::user_error::user_error;

/// Create or update the database schema, and optionally the services' logins
///
/// Applies the missing migrations in order; running it again changes nothing. Needs a DATABASE_URL that owns the
/// database (and, for --login-roles, may create roles).
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL            the owner's login\n  \
    GATEWAY_DB_PASSWORD     with --login-roles; also CALLBACK_, EXECUTOR_, OPS_DB_PASSWORD;\n                          \
    each also as <NAME>_FILE\n\n\
    Examples:\n  \
    fiatrails migrate\n  \
    fiatrails migrate --dry-run\n  \
    GATEWAY_DB_PASSWORD_FILE=/run/secrets/gateway_db ... fiatrails migrate --login-roles")]
pub struct Migrate {
    /// List the missing migrations without applying them
    #[arg(long)]
    dry_run: bool,
    /// Also create the users gateway, callback, executor and ops, each with only its service's rights; existing
    /// users get the password again, but a login that `logins retire` ended stays ended
    #[arg(long, conflicts_with = "dry_run")]
    login_roles: bool,
    /// Prefix of the users' names, for servers that host several databases
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        requires = "login_roles",
        hide_default_value = true
    )]
    login_prefix: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MigrationReport {
    dry_run: bool,
    migrations: Vec<MigrationStep>,
    logins: Vec<String>,
    retired: Vec<String>,
}

#[derive(Serialize)]
struct MigrationStep {
    version: i64,
    name: String,
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &Migrate) -> Result<Completion> {
    let config = context.database()?;
    // Checked before anything changes, so that a missing password does not leave a partial result.
    let logins = if args.login_roles {
        wanted_logins(context, &args.login_prefix)?
    } else {
        Vec::new()
    };
    let steps = if args.dry_run {
        storage::migrate::pending(&config).await?
    } else {
        storage::migrate::migrate(&config).await?
    };
    let retired = if logins.is_empty() {
        Vec::new()
    } else {
        logins::ensure(&mut context.client().await?, &logins).await?
    };
    let report = MigrationReport {
        dry_run: args.dry_run,
        migrations: steps
            .into_iter()
            .map(|m| MigrationStep {
                version: m.version,
                name: m.name,
            })
            .collect(),
        logins: logins
            .into_iter()
            .map(|login| login.name)
            .filter(|name| !retired.contains(name))
            .collect(),
        retired,
    };
    out.show(&report, |page| {
        let verb = if report.dry_run { "would apply" } else { "applied" };
        for step in &report.migrations {
            page.styled(Style::Good, format!("{verb} V{} {}", step.version, step.name));
        }
        if report.migrations.is_empty() {
            page.line("the schema is up to date");
        }
        for login in &report.logins {
            page.styled(Style::Good, format!("login {login} is ready"));
        }
        for login in &report.retired {
            page.line(format!("login {login} was retired and stays so"));
        }
    })?;
    Ok(Completion::Success)
}

fn wanted_logins(context: &CommandContext, prefix: &str) -> Result<Vec<Login>> {
    let passwords: DatabasePasswords = context.environment.read()?;
    let login = |(service, password): (&str, SecretSource)| {
        Login::new(
            format!("{prefix}{service}"),
            format!("fiatrails_{service}"),
            password.value(),
        )
        .map_err(|error| {
            user_error(
                password.unfit(error).to_string(),
                "use a password of at least 16 characters",
            )
        })
    };
    let of_services = [
        ("gateway", passwords.gateway_db_password),
        ("callback", passwords.callback_db_password),
        ("executor", passwords.executor_db_password),
        ("ops", passwords.ops_db_password),
    ];
    of_services.into_iter().map(login).collect()
}
