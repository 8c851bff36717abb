//! `logins`: renews a service's database login by creating a second one, so that no connection is ever refused.

use runtime::stop::pause;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Url;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use storage::ops::audit::{self, AuditEntry};
use storage::ops::logins::{self, Login};
use tokio::time::Instant;

use crate::completion::Completion;
use crate::confirm::confirm;
use crate::context::CommandContext;
use crate::output::{Output, Style};
use crate::text::age_argument;
use crate::user_error::user_error;

const POLL: Duration = Duration::from_millis(200);

/// Renew the services' database logins
#[derive(Subcommand)]
pub enum LoginsCommand {
    Rotate(RotateLogin),
    Retire(RetireLogin),
}

/// Create a second login for a service and hand it over
///
/// The new login has the same rights, another name and a new password. Its URL takes the place of the one in the file
/// that the service's DATABASE_URL_FILE names; a running service follows the file within seconds, without a restart,
/// and finishes what it has begun on the old connections. Both logins work until `logins retire` ends the old one.
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL   the owner's login; it must be allowed to create roles\n\n\
    Examples:\n  \
    fiatrails logins rotate gateway --url-file /run/secrets/gateway/database_url --reason 'yearly rotation'\n  \
    fiatrails logins retire gateway_20260101120000 --reason 'yearly rotation'")]
pub struct RotateLogin {
    /// Service whose login to renew
    service: ServiceRole,
    /// File with the service's database URL; it is replaced atomically
    #[arg(long, value_name = "FILE")]
    url_file: PathBuf,
    /// Maximum time to wait until the service connects with the new login
    #[arg(long, value_name = "AGE", default_value = "30s", value_parser = age_argument)]
    wait: Duration,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
}

/// End an old login; refused while a connection uses it
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails logins retire gateway --reason 'yearly rotation' --yes\n\n\
    Exit code 1: a connection still uses it.")]
pub struct RetireLogin {
    /// The login, as `logins rotate` named it
    login: String,
    /// Maximum time to wait until its last connection ends
    #[arg(long, value_name = "AGE", default_value = "30s", value_parser = age_argument)]
    wait: Duration,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ServiceRole {
    Gateway,
    Callback,
    Executor,
    Ops,
}

impl ServiceRole {
    const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Callback => "callback",
            Self::Executor => "executor",
            Self::Ops => "ops",
        }
    }

    fn role(self) -> String {
        format!("fiatrails_{}", self.name())
    }
}

pub async fn run(context: &CommandContext, out: &mut Output, command: &LoginsCommand) -> Result<Completion> {
    match command {
        LoginsCommand::Rotate(args) => rotate(context, out, args).await,
        LoginsCommand::Retire(args) => retire(context, out, args).await,
    }
}

async fn rotate(context: &CommandContext, out: &mut Output, args: &RotateLogin) -> Result<Completion> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let url = read_url(&args.url_file)?;
    let old = url.username().to_owned();
    let mut client = context.client().await?;
    let role = args.service.role();
    if !logins::is_member(&client, &old, &role).await? {
        return Err(user_error(
            format!("the file's login {old:?} is no member of {role}"),
            "name the service whose file it is",
        ));
    }
    let now = context.clock.now();
    let stamp = now.unix_timestamp();
    let new = format!("{}_{stamp}", base_name(&old));
    let password = password()?;
    let login = Login::new(new.clone(), role, &password)
        .map_err(|error| user_error(error.to_string(), "try again"))?;
    logins::ensure(&mut client, &[login]).await?;
    // Recorded before the file is changed: an unused login does no harm, an unexplained one does.
    let detail = json!({ "service": args.service.name(), "old": old, "new": new });
    let act = AuditEntry {
        actor: who,
        action: "logins.rotate",
        target: &new,
        reason: why,
        detail,
    };
    audit::record(&client, &act).await?;
    write_url(&args.url_file, url, &new, &password)?;
    let seen = wait_for(args.wait, async || Ok(logins::sessions(&client, &new).await? > 0)).await?;
    let value = json!({ "service": args.service.name(), "old": old, "new": new, "seen": seen });
    out.show(&value, |page| {
        page.styled(Style::Good, format!("login {new} takes the place of {old}"));
        if seen {
            page.line("the service is connected with it");
        } else {
            page.styled(
                Style::Warn,
                "nobody was seen with it yet; the service may not follow that file",
            );
        }
        page.line(format!("then: fiatrails logins retire {old}"));
    })?;
    Ok(if seen {
        Completion::Success
    } else {
        Completion::Negative
    })
}

async fn retire(context: &CommandContext, out: &mut Output, args: &RetireLogin) -> Result<Completion> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let client = context.client().await?;
    let login = args.login.as_str();
    if !logins::is_services(&client, login).await? {
        return Err(user_error(
            format!("{login:?} is no login of a service"),
            "services' logins are members of fiatrails_gateway, _callback, _executor or _ops, and of nothing else",
        ));
    }
    confirm(args.yes, &format!("End the login {login}?"))?;
    let idle = wait_for(args.wait, async || {
        Ok(logins::sessions(&client, login).await? == 0)
    })
    .await?;
    let connected = if idle {
        0
    } else {
        logins::sessions(&client, login).await?
    };
    if idle {
        let act = AuditEntry {
            actor: who,
            action: "logins.retire",
            target: login,
            reason: why,
            detail: json!({}),
        };
        audit::record(&client, &act).await?;
        logins::disable(&client, login).await?;
    }
    let value = json!({ "login": login, "retired": idle, "connected": connected });
    out.show(&value, |page| {
        if idle {
            page.styled(Style::Good, format!("login {login} is refused from now on"));
        } else {
            page.styled(
                Style::Warn,
                format!("login {login} stays: {connected} connection(s) use it"),
            );
        }
    })?;
    Ok(if idle {
        Completion::Success
    } else {
        Completion::Negative
    })
}

async fn wait_for(timeout: Duration, probe: impl AsyncFn() -> Result<bool>) -> Result<bool> {
    let end = Instant::now() + timeout;
    loop {
        if probe().await? {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        pause(POLL).await;
    }
}

/// The login's name without the timestamp of an earlier rotation.
fn base_name(login: &str) -> &str {
    match login.rsplit_once('_') {
        Some((base, stamp)) if stamp.len() == 10 && stamp.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => login,
    }
}

fn password() -> Result<SecretString> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(bytes.as_mut())
        .map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    Ok(hex::encode(bytes.as_ref()).into())
}

fn read_url(file: &Path) -> Result<Url> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let text = Zeroizing::new(text);
    // The parser's error is dropped, because it may quote the URL.
    let url = Url::parse(text.trim())
        .ok()
        .filter(|url| !url.username().is_empty());
    url.ok_or_else(|| {
        user_error(
            format!(
                "{} holds no postgres://user:password@host/database",
                file.display()
            ),
            "name the file that DATABASE_URL_FILE of the service names",
        )
    })
}

/// Writes a temporary file and renames it, so that a service never reads a partial URL.
fn write_url(file: &Path, mut url: Url, login: &str, password: &SecretString) -> Result<()> {
    let named = url.set_username(login).is_ok() && url.set_password(Some(password.expose_secret())).is_ok();
    anyhow::ensure!(named, "the database URL has no host");
    let mode = fs::metadata(file)?.permissions().mode();
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .context("a file's name")?;
    let part = file.with_file_name(format!(".{name}.part"));
    let text = Zeroizing::new(format!("{url}\n"));
    let written = (|| {
        let mut target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        target.write_all(text.as_bytes())?;
        target.set_permissions(fs::Permissions::from_mode(mode))?;
        target.sync_all()?;
        fs::rename(&part, file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written.with_context(|| format!("write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_rotation_renews_the_name() {
        assert_eq!(base_name("gateway"), "gateway");
        assert_eq!(base_name("gateway_1767225600"), "gateway");
        assert_eq!(base_name("x_gateway"), "x_gateway");
    }

    #[test]
    fn the_url_file_keeps_its_path_and_mode_and_no_error_quotes_the_url() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        fs::write(&file, "postgres://a:canary@h:5/d?x=1\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let url = read_url(&file).unwrap();
        write_url(&file, url, "b", &"new".into()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "postgres://b:new@h:5/d?x=1\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&file, "canary").unwrap();
        assert!(!format!("{:#}", read_url(&file).unwrap_err()).contains("canary"));
    }
}
