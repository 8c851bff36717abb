//! Database logins of the services: each is a member of one role, and of no other.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::error::StorageError;
use crate::pool::DbClient;
use crate::row::RowReader;
use crate::session::{DbSession, query_one, query_opt};

const SHORTEST_PASSWORD: usize = 16;

/// A login to be created or updated. It holds the password's SCRAM verifier, so that the password never appears in the
/// server's log.
pub struct Login {
    pub name: String,
    pub member_of: String,
    verifier: SecretString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has at least {SHORTEST_PASSWORD} characters")]
pub struct WeakPassword;

impl Login {
    pub fn new(name: String, member_of: String, password: &SecretString) -> Result<Self, WeakPassword> {
        let password = password.expose_secret();
        if password.chars().count() < SHORTEST_PASSWORD {
            return Err(WeakPassword);
        }
        let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes()).into();
        Ok(Self {
            name,
            member_of,
            verifier,
        })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("name", &self.name)
            .field("member_of", &self.member_of)
            .finish_non_exhaustive()
    }
}

statements! {
    MAY_LOG_IN = "select rolcanlogin as may from pg_roles where rolname = $1";
    // CREATE ROLE takes no parameters: the server itself quotes the name and the verifier.
    CREATE = "select format('create role %I login inherit password %L', $1::text, $2::text) as sql";
    ALTER = "select format('alter role %I login inherit password %L', $1::text, $2::text) as sql";
    IS_MEMBER = "\
select exists (select from pg_auth_members m join pg_roles r on r.oid = m.roleid join pg_roles u on u.oid = m.member
               where u.rolname = $1 and r.rolname = $2) as found";
    IS_SERVICES = "\
select coalesce(bool_and(r.rolname in ('fiatrails_gateway', 'fiatrails_callback', 'fiatrails_executor',
                                       'fiatrails_ops')), false) as found
from pg_auth_members m join pg_roles r on r.oid = m.roleid join pg_roles u on u.oid = m.member
where u.rolname = $1 and not u.rolsuper";
    SESSIONS = "select count(*) as sessions from pg_stat_activity where usename = $1";
    DISABLE = "select format('alter role %I nologin password null', $1::text) as sql";
    GRANT = "select format('grant %I to %I', $1::text, $2::text) as sql";
}

/// Whether a login has a service's rights.
pub async fn is_member(session: &impl DbSession, login: &str, role: &str) -> Result<bool, StorageError> {
    Ok(query_one(session, IS_MEMBER, &[&login, &role])
        .await?
        .try_get("found")?)
}

/// Whether a login is a member of service roles only.
pub async fn is_services(session: &impl DbSession, login: &str) -> Result<bool, StorageError> {
    Ok(query_one(session, IS_SERVICES, &[&login])
        .await?
        .try_get("found")?)
}

/// Number of open connections of a login.
pub async fn sessions(session: &impl DbSession, login: &str) -> Result<u64, StorageError> {
    let row = query_one(session, SESSIONS, &[&login]).await?;
    RowReader::new(&row, "pg_stat_activity", login).unsigned("sessions")
}

/// Disables a login; its open connections stay.
pub async fn disable(client: &DbClient, login: &str) -> Result<(), StorageError> {
    let sql: String = query_one(client, DISABLE, &[&login]).await?.try_get("sql")?;
    Ok(client.batch_execute(&sql).await?)
}

/// `may` says whether the login may connect, where it exists: a disabled one stays so.
fn is_disabled(may: Option<bool>) -> bool {
    may == Some(false)
}

/// Creates missing logins and sets every password in one transaction. Disabled logins stay as they are; returns their
/// names.
pub async fn ensure(client: &mut DbClient, logins: &[Login]) -> Result<Vec<String>, StorageError> {
    let mut disabled = Vec::new();
    let tx = client.begin().await?;
    for login in logins {
        let known = query_opt(&tx, MAY_LOG_IN, &[&login.name]).await?;
        let may = known.map(|row| row.try_get::<_, bool>("may")).transpose()?;
        if is_disabled(may) {
            disabled.push(login.name.clone());
            continue;
        }
        let change = if may.is_some() { ALTER } else { CREATE };
        let verifier = login.verifier.expose_secret();
        let sql: String = query_one(&tx, change, &[&login.name, &verifier])
            .await?
            .try_get("sql")?;
        tx.batch_execute(&sql).await?;
        let sql: String = query_one(&tx, GRANT, &[&login.member_of, &login.name])
            .await?
            .try_get("sql")?;
        tx.batch_execute(&sql).await?;
    }
    tx.commit().await?;
    Ok(disabled)
}
