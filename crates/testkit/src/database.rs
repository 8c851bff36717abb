//! One fresh, migrated database per test, copied from a template that is migrated once.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;

use crate::{
    dirs,
    keys::random_hex,
    ports,
    postgres::{psql, psql_file},
};

/// Dropped (with whoever is still connected) when this is.
#[derive(Debug)]
pub struct Database {
    server_url: String,
    name: String,
    logins: Mutex<Vec<String>>,
}

impl Database {
    /// A copy of the migrated template of the server at `server_url`.
    pub async fn create(server_url: &str) -> Result<Self> {
        let url = server_url.to_owned();
        tokio::task::spawn_blocking(move || {
            let template = migrated_template(&url)?;
            Self::create_from(&url, &template)
        })
        .await?
    }

    /// Without any schema, for tests of the migrations themselves.
    pub async fn create_empty(server_url: &str) -> Result<Self> {
        let url = server_url.to_owned();
        tokio::task::spawn_blocking(move || Self::create_from(&url, "template0")).await?
    }

    fn create_from(server_url: &str, template: &str) -> Result<Self> {
        let name = format!("t_{}", random_hex::<8>()?);
        psql(server_url, &format!("create database {name} template {template}"))?;
        Ok(Self {
            server_url: server_url.to_owned(),
            name,
            logins: Mutex::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// As the server's superuser.
    pub fn url(&self) -> String {
        with_database(&self.server_url, &self.name)
    }

    /// A login with only the rights of `fiatrails_<service>`: gateway, callback, executor or ops.
    pub fn login(&self, service: &str) -> Result<String> {
        let password = random_hex::<16>()?;
        let login = self.make_login(service, &password)?;
        url_as(&self.url(), &login, &password)
    }

    /// A login `<database>_<service>` for each service, with one password; returns that.
    pub fn logins_for_services(&self) -> Result<String> {
        let password = random_hex::<16>()?;
        for service in ["gateway", "callback", "executor", "ops"] {
            self.make_login(service, &password)?;
        }
        Ok(password)
    }

    fn make_login(&self, service: &str, password: &str) -> Result<String> {
        let login = format!("{}_{service}", self.name);
        self.sql(&login_role_sql(&login, password, service))?;
        self.logins.lock().push(login.clone());
        Ok(login)
    }

    /// Runs SQL as superuser; unaligned rows without headers.
    pub fn sql(&self, sql: &str) -> Result<String> {
        Ok(psql(&self.url(), sql)?.trim_end().to_owned())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may have been killed by the test; its directory goes with its owner.
        drop(psql(
            &self.server_url,
            &format!("drop database if exists {} with (force)", self.name),
        ));
        for login in self.logins.get_mut().drain(..) {
            drop(psql(&self.server_url, &format!("drop role if exists {login}")));
        }
    }
}

/// Statements that make, or renew, a login that inherits the rights of a service and has none of its own.
pub fn login_role_sql(login: &str, password: &str, service: &str) -> String {
    format!(
        "do $$ begin create role {login}; exception when duplicate_object then null; end $$; \
         alter role {login} login password '{password}'; grant fiatrails_{service} to {login}"
    )
}

/// The same database as another user.
pub fn url_as(url: &str, user: &str, password: &str) -> Result<String> {
    let mut url = reqwest::Url::parse(url)?;
    if url.set_username(user).is_err() || url.set_password(Some(password)).is_err() {
        bail!("the database URL has no host");
    }
    Ok(url.into())
}

pub fn with_database(server_url: &str, name: &str) -> String {
    match server_url.rfind('/') {
        Some(slash) => format!("{}/{name}", &server_url[..slash]),
        None => server_url.to_owned(),
    }
}

/// The template for the migrations as they are now, made if this server has none yet.
///
/// Its name holds a hash of the migration files, so a long-lived server serves a developer who edits
/// them. A lock file keeps concurrent tests from making it twice; it gets its name only when whole.
pub fn migrated_template(server_url: &str) -> Result<String> {
    let files = migration_files(&dirs::workspace().join("migrations"))?;
    let name = format!("template_{:016x}", hash_of(&files)?);
    let exists = format!("select 1 from pg_database where datname = '{name}'");
    if !psql(server_url, &exists)?.trim().is_empty() {
        return Ok(name);
    }
    let lock = File::create(ports::lock_dir()?.join(&name))?;
    lock.lock().context("lock of the template database")?;
    if !psql(server_url, &exists)?.trim().is_empty() {
        return Ok(name);
    }
    let making = format!("making_{}", random_hex::<8>()?);
    psql(
        server_url,
        &format!("create database {making} template template0"),
    )?;
    let url = with_database(server_url, &making);
    for file in &files {
        psql_file(&url, file).with_context(|| format!("migration {}", file.display()))?;
    }
    psql(server_url, &format!("alter database {making} rename to {name}"))?;
    Ok(name)
}

/// `V<number>__<name>.sql`, by number.
fn migration_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some((number, _)) = name.strip_prefix('V').and_then(|rest| rest.split_once("__")) else {
            continue;
        };
        found.push((
            number
                .parse::<u32>()
                .with_context(|| format!("number of {name}"))?,
            path,
        ));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn hash_of(files: &[PathBuf]) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        std::fs::read(file)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}
