//! The settings of each service: its own login, broker user and key directory, and no other's.

use anyhow::{Context, Result};

use crate::{addresses::Addresses, anvil, database::url_as, dirs, keys::DevKeys, process::run};

pub const GATEWAY: &str = "gateway";
pub const EXECUTOR: &str = "mint-executor";
pub const CALLBACK: &str = "callback";
pub const SERVICES: [&str; 3] = [GATEWAY, EXECUTOR, CALLBACK];

/// The name a service's database login and broker user go by.
pub fn login_name(service: &str) -> &str {
    if service == EXECUTOR { "executor" } else { service }
}

/// What a set of services is connected to.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// As the owner; services get their own logins.
    pub database_url: String,
    /// The login of a service is this and its name.
    pub login_prefix: String,
    pub database_password: String,
    /// As the broker's administrator.
    pub amqp_url: String,
    pub amqp_management_url: String,
    pub amqp_password: String,
    pub rpc_url: String,
    pub addresses: Addresses,
    pub keys: DevKeys,
    /// Further settings for every service: `FIATRAILS_POLICY_*`, `RUST_LOG`.
    pub extra: Vec<(String, String)>,
}

impl Wiring {
    /// The settings of a service, by its binary's name.
    pub fn env(&self, service: &str) -> Result<Vec<(String, String)>> {
        let login = login_name(service);
        let database = url_as(
            &self.database_url,
            &format!("{}{login}", self.login_prefix),
            &self.database_password,
        )?;
        let amqp = amqp_url_as(&self.amqp_url, login, &self.amqp_password)?;
        let mut env = vec![
            ("DATABASE_URL".into(), database),
            ("AMQP_URL".into(), amqp),
            (
                "FIATRAILS_KEYS_DIR".into(),
                self.keys.dir(service).display().to_string(),
            ),
        ];
        if service == EXECUTOR {
            env.push(("RPC_URLS".into(), self.rpc_url.clone()));
            env.push(("EXECUTOR_PRIVATE_KEY".into(), anvil::EXECUTOR_PRIVATE_KEY.into()));
        }
        env.extend(self.common());
        Ok(env)
    }

    /// The settings of the operator's command line: the owner's connections and all keys.
    pub fn operator_env(&self) -> Vec<(String, String)> {
        let mut env = vec![
            ("DATABASE_URL".into(), self.database_url.clone()),
            ("AMQP_URL".into(), self.amqp_url.clone()),
            ("AMQP_MANAGEMENT_URL".into(), self.amqp_management_url.clone()),
            (
                "FIATRAILS_KEYS_DIR".into(),
                self.keys.dir("ops").display().to_string(),
            ),
            (
                "FIATRAILS_KEYS_ROOT".into(),
                self.keys.root().display().to_string(),
            ),
            ("RPC_URLS".into(), self.rpc_url.clone()),
            (
                "COMPLIANCE_MANAGER_ADDRESS".into(),
                self.addresses.compliance_manager.clone(),
            ),
            ("COMPLIANCE_PRIVATE_KEY".into(), anvil::ADMIN_PRIVATE_KEY.into()),
            ("FIATRAILS_OPERATOR".into(), "testkit".into()),
        ];
        for login in ["GATEWAY", "CALLBACK", "EXECUTOR", "OPS"] {
            env.push((format!("{login}_DB_PASSWORD"), self.database_password.clone()));
            env.push((format!("{login}_AMQP_PASSWORD"), self.amqp_password.clone()));
        }
        env.extend(self.common());
        env
    }

    fn common(&self) -> Vec<(String, String)> {
        let policy = dirs::workspace().join("deploy/policy.json");
        let mut env = vec![
            ("ESCROW_ADDRESS".into(), self.addresses.escrow.clone()),
            ("TREASURY_ADDRESS".into(), self.addresses.treasury.clone()),
            ("FIATRAILS_POLICY_FILE".into(), policy.display().to_string()),
        ];
        env.extend(self.extra.iter().cloned());
        env
    }

    /// Runs `fiatrails` with the operator's settings; its standard output.
    pub async fn fiatrails(&self, args: &[&str]) -> Result<String> {
        let mut command = std::process::Command::new(dirs::binary("fiatrails")?);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.operator_env())
            .current_dir(dirs::workspace());
        let what = format!("fiatrails {}", args.join(" "));
        tokio::task::spawn_blocking(move || run(&mut command))
            .await?
            .context(what)
    }
}

/// The same broker and virtual host as another user.
pub fn amqp_url_as(url: &str, user: &str, password: &str) -> Result<String> {
    let (_, place) = url.rsplit_once('@').context("the broker's URL has no user")?;
    Ok(format!("amqp://{user}:{password}@{place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wiring(dir: &std::path::Path) -> Wiring {
        let address = |n: u8| format!("0x{}", hex::encode([n; 20]));
        Wiring {
            database_url: "postgres://postgres:owner@127.0.0.1:5/d".into(),
            login_prefix: "x_".into(),
            database_password: "db-password".into(),
            amqp_url: "amqp://admin:root@127.0.0.1:6/%2f".into(),
            amqp_management_url: "http://admin:root@127.0.0.1:7".into(),
            amqp_password: "mq-password".into(),
            rpc_url: "http://127.0.0.1:8".into(),
            addresses: Addresses {
                escrow: address(1),
                country_token: address(2),
                stablecoin: address(3),
                user_registry: address(4),
                compliance_manager: address(5),
                treasury: address(6),
            },
            keys: DevKeys::generate(dir).unwrap(),
            extra: vec![("RUST_LOG".into(), "debug".into())],
        }
    }

    #[test]
    fn no_service_gets_the_owners_or_anothers_access() {
        let dir = tempfile::tempdir().unwrap();
        let wiring = wiring(dir.path());
        for service in SERVICES {
            let env = wiring.env(service).unwrap();
            let all = format!("{env:?}");
            assert!(!all.contains(":owner@") && !all.contains(":root@"), "{all}");
            assert_eq!(all.contains("EXECUTOR_PRIVATE_KEY"), service == EXECUTOR);
            assert_eq!(all.contains("RPC_URLS"), service == EXECUTOR);
            assert!(all.contains(&format!("/{service}\"")), "its own keys: {all}");
        }
        let gateway = wiring.env(GATEWAY).unwrap();
        assert!(gateway.contains(&(
            "DATABASE_URL".into(),
            "postgres://x_gateway:db-password@127.0.0.1:5/d".into()
        )));
        assert!(gateway.contains(&(
            "AMQP_URL".into(),
            "amqp://gateway:mq-password@127.0.0.1:6/%2f".into()
        )));
    }
}
