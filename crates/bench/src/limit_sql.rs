//! Measures with pgbench, in the same run, how fast PostgreSQL alone stores the rows of accepted intents in batches.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Rows of each table per transaction: the size of a full intake group.
const ROWS_PER_TRANSACTION: usize = 64;
/// Two connections, as two intake workers use.
const CLIENTS: &str = "2";

const SCHEMA: &str = "
DROP SCHEMA IF EXISTS bench_limit CASCADE;
CREATE SCHEMA bench_limit;
CREATE TABLE bench_limit.mint_intents (LIKE public.mint_intents INCLUDING ALL);
CREATE TABLE bench_limit.idempotency_keys (LIKE public.idempotency_keys INCLUDING ALL);
CREATE TABLE bench_limit.gateway_outbox (LIKE public.gateway_outbox INCLUDING ALL);
CREATE TABLE bench_limit.mpesa_reports (LIKE public.mpesa_reports INCLUDING ALL);";

/// The write of the gateway that is imitated.
#[derive(Clone, Copy, Debug)]
pub enum GatewayWrite {
    Intents,
    Reports,
}

impl GatewayWrite {
    fn script(self) -> String {
        let rows = format!(
            "FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, {ROWS_PER_TRANSACTION})) AS g"
        );
        let body = match self {
            Self::Intents => format!(
                "INSERT INTO bench_limit.idempotency_keys (integrator, idempotency_key, fingerprint, status, body, mac_key_id, mac)
                   SELECT 'bench', id::text, sha256(id::text::bytea), 201, repeat('x', 200)::bytea, 'k', sha256(id::text::bytea) {rows};
                 INSERT INTO bench_limit.mint_intents (intent_id, integrator, chain_id, escrow, depositor, user_address, amount, country_code, tx_ref, idempotency_key, mac_key_id, mac)
                   SELECT sha256(id::text::bytea), 'bench', 31430, substr(sha256('e'), 1, 20), substr(sha256('d'), 1, 20), substr(sha256('u'), 1, 20), 1000000000000000000, 'KES', left(id::text, 31), id::text, 'k', sha256(id::text::bytea) {rows};"
            ),
            Self::Reports => format!(
                "INSERT INTO bench_limit.mpesa_reports (report_id, tx_ref, key_id, body, timestamp_header, signature_header, path, query, receipt, amount_shillings, paid, content_hash, late)
                   SELECT id, left(id::text, 31), 'k', repeat('x', 130)::bytea, '1767225600', repeat('s', 80), '/callbacks/mpesa', '', left(id::text, 16), 1, true, sha256(id::text::bytea), false {rows};"
            ),
        };
        format!(
            "BEGIN;\n{body}\nINSERT INTO bench_limit.gateway_outbox (message_id, queue, subject, envelope)
               SELECT id, 'mint.submit.v1', id::text, repeat('x', 700)::bytea {rows};\nCOMMIT;\n"
        )
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
        .replace("; ", ";\n")
    }
}

/// Accepted requests per second that PostgreSQL alone could store durably.
pub async fn measure(database_url: &str, write: GatewayWrite, seconds: u32) -> Result<f64> {
    let server = &Server::parse(database_url)?;
    psql(server, SCHEMA).await?;
    let dir = testkit::dirs::private("bench")?;
    let script = dir.path().join("group.sql");
    tokio::fs::write(&script, write.script()).await?;
    let out = Command::new(testkit::postgres::server_binary("pgbench")?)
        .args([
            "--no-vacuum",
            "--client",
            CLIENTS,
            "--jobs",
            "1",
            "--protocol",
            "prepared",
        ])
        .args(["--time", &seconds.to_string(), "--file"])
        .arg(&script)
        .args(server.arguments())
        .env("PGPASSWORD", &server.password)
        .stdin(Stdio::null())
        .output()
        .await
        .context("pgbench does not start")?;
    let text = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        bail!("pgbench failed: {}", String::from_utf8_lossy(&out.stderr));
    }
    let groups = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("tps = ")?
                .split_whitespace()
                .next()?
                .parse::<f64>()
                .ok()
        })
        .with_context(|| format!("pgbench printed no tps: {text}"))?;
    psql(server, "DROP SCHEMA bench_limit CASCADE").await?;
    Ok(groups * crate::load::ratio(ROWS_PER_TRANSACTION, 1))
}

/// The parts of `postgres://user:password@host:port/database`: the password must not stand on a command line.
struct Server {
    user: String,
    password: String,
    host: String,
    port: String,
    database: String,
}

impl Server {
    fn parse(url: &str) -> Result<Self> {
        let parts = || {
            let rest = url
                .strip_prefix("postgres://")
                .or_else(|| url.strip_prefix("postgresql://"))?;
            let (login, place) = rest.rsplit_once('@')?;
            let (user, password) = login.split_once(':')?;
            let (address, database) = place.split_once('/')?;
            let (host, port) = address.split_once(':')?;
            let database = database.split('?').next()?;
            Some([user, password, host, port, database].map(str::to_owned))
        };
        let [user, password, host, port, database] =
            parts().context("DATABASE_URL is not postgres://user:password@host:port/database")?;
        Ok(Self {
            user,
            password,
            host,
            port,
            database,
        })
    }

    fn arguments(&self) -> [&str; 7] {
        [
            "--host",
            &self.host,
            "--port",
            &self.port,
            "--username",
            &self.user,
            &self.database,
        ]
    }
}

async fn psql(server: &Server, sql: &str) -> Result<()> {
    let out = Command::new(testkit::postgres::server_binary("psql")?)
        .args([
            "--quiet",
            "--no-psqlrc",
            "--set",
            "ON_ERROR_STOP=1",
            "--command",
            sql,
        ])
        .args(server.arguments())
        .env("PGPASSWORD", &server.password)
        .stdin(Stdio::null())
        .output()
        .await
        .context("psql does not start")?;
    if out.status.success() {
        Ok(())
    } else {
        bail!("psql failed: {}", String::from_utf8_lossy(&out.stderr))
    }
}
