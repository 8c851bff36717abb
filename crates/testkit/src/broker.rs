//! A private RabbitMQ node (own epmd, ports, home, cookie) and a virtual host per test.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    dirs,
    http::json_request,
    keys::random_hex,
    ports::Port,
    process::{Launch, Lifetime, Process},
    wait::eventually,
};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// Where a node lives and how it is reached; enough to start it again.
#[derive(Debug, Clone)]
pub struct Layout {
    pub dir: PathBuf,
    pub amqp_port: u16,
    pub management_port: u16,
    pub distribution_port: u16,
    pub epmd_port: u16,
    pub user: String,
    pub password: String,
    pub log: PathBuf,
}

impl Layout {
    pub fn amqp_url(&self) -> String {
        format!(
            "amqp://{}:{}@127.0.0.1:{}/%2f",
            self.user, self.password, self.amqp_port
        )
    }

    pub fn management_url(&self) -> String {
        format!(
            "http://{}:{}@127.0.0.1:{}",
            self.user, self.password, self.management_port
        )
    }

    /// Writes the configuration; harmless to repeat.
    pub fn init(&self) -> Result<()> {
        std::fs::create_dir_all(self.dir.join("mnesia"))?;
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {management}\n\
             default_user = {user}\n\
             default_pass = {password}\n\
             loopback_users = none\n\
             log.console = true\n\
             log.console.level = warning\n\
             log.file = false\n\
             disk_free_limit.absolute = 50MB\n\
             vm_memory_high_watermark.absolute = 2GB\n\
             collect_statistics_interval = 1000\n",
            amqp = self.amqp_port,
            management = self.management_port,
            user = self.user,
            password = self.password,
        );
        std::fs::write(self.dir.join("rabbitmq.conf"), config)?;
        // The file the system-wide installation would read in its place.
        std::fs::write(self.dir.join("rabbitmq-env.conf"), "")?;
        std::fs::write(self.dir.join("enabled_plugins"), "[rabbitmq_management].\n")?;
        let cookie = self.dir.join(".erlang.cookie");
        if !cookie.exists() {
            std::fs::write(&cookie, random_hex::<16>()?)?;
            std::fs::set_permissions(&cookie, PermissionsExt::from_mode(0o400))?;
        }
        Ok(())
    }

    /// The name daemon, in the foreground. The node would start one itself, as a daemon that nobody ends.
    pub fn launch_epmd(&self) -> Launch {
        Launch::new("epmd", "epmd", self.log.with_file_name("epmd.log"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .arg("-port")
            .arg(self.epmd_port.to_string())
            .stop_signal(Signal::SIGKILL)
    }

    pub fn launch(&self) -> Result<Launch> {
        if !Path::new(SERVER).is_file() {
            anyhow::bail!("RabbitMQ is not installed; run scripts/install-tools");
        }
        let at = |name: &str| self.dir.join(name);
        Ok(Launch::new("rabbitmq", SERVER, &self.log)
            .clear_env()
            .env("HOME", &self.dir)
            .env(
                "RABBITMQ_NODENAME",
                format!("fiatrails-{}@localhost", self.amqp_port),
            )
            .env("RABBITMQ_BASE", &self.dir)
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", at("rabbitmq-env.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", at("generated"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
            )
            // The script then becomes the node instead of watching over it.
            .env("RUNNING_UNDER_SYSTEMD", "1")
            // An orderly stop takes seconds and nobody needs its result.
            .stop_signal(Signal::SIGKILL)
            .cwd(&self.dir))
    }

    pub async fn answers(&self) -> Result<()> {
        let management = Management::new(&self.management_url())?;
        management.get("health/checks/local-alarms").await?;
        management.get("aliveness-test/%2f").await.map(drop)
    }
}

/// A node tied to its owner.
#[derive(Debug)]
pub struct Broker {
    layout: Layout,
    node: Process,
    _epmd: Process,
    _ports: [Port; 4],
    _dir: TempDir,
}

impl Broker {
    pub async fn start() -> Result<Self> {
        Self::start_in(&dirs::temporary()).await
    }

    pub async fn start_in(base: &Path) -> Result<Self> {
        let dir = dirs::private_in(base, "mq")?;
        let ports = [
            Port::reserve()?,
            Port::reserve()?,
            Port::reserve()?,
            Port::reserve()?,
        ];
        let layout = Layout {
            dir: dir.path().join("rabbitmq"),
            amqp_port: ports[0].number(),
            management_port: ports[1].number(),
            distribution_port: ports[2].number(),
            epmd_port: ports[3].number(),
            user: "fiatrails".into(),
            password: random_hex::<16>()?,
            log: dir.path().join("rabbitmq.log"),
        };
        layout.init()?;
        let epmd = layout.launch_epmd().spawn(Lifetime::Tied)?;
        let node = start_and_wait(&layout).await?;
        Ok(Self {
            layout,
            node,
            _epmd: epmd,
            _ports: ports,
            _dir: dir,
        })
    }

    pub fn url(&self) -> String {
        self.layout.amqp_url()
    }

    pub fn management_url(&self) -> String {
        self.layout.management_url()
    }

    pub fn port(&self) -> u16 {
        self.layout.amqp_port
    }

    pub fn log(&self) -> String {
        self.node.log()
    }

    pub fn kill9(&mut self) -> Result<()> {
        self.node.kill9()
    }

    /// Starts it again on the same ports and data.
    pub async fn restart(&mut self) -> Result<()> {
        if self.node.ended().is_none() {
            self.node.stop(Duration::from_secs(30))?;
        }
        self.node = start_and_wait(&self.layout).await?;
        Ok(())
    }
}

async fn start_and_wait(layout: &Layout) -> Result<Process> {
    let mut node = layout.launch()?.spawn(Lifetime::Tied)?;
    wait_until_ready(layout, &mut node).await?;
    Ok(node)
}

pub async fn wait_until_ready(layout: &Layout, node: &mut Process) -> Result<()> {
    let ended = std::cell::RefCell::new(node);
    eventually(
        Duration::from_secs(90),
        "RabbitMQ's management API answers",
        async || {
            if let Err(error) = ended.borrow_mut().must_be_running() {
                return Ok(Some(Err(error)));
            }
            layout.answers().await.map(|()| Some(Ok(())))
        },
    )
    .await?
}

/// The management API of a node.
#[derive(Debug, Clone)]
pub struct Management {
    base: String,
    user: String,
    password: String,
}

impl Management {
    /// `url` as `http://user:password@host:port`.
    pub fn new(url: &str) -> Result<Self> {
        let mut parsed = reqwest::Url::parse(url).context("management URL")?;
        let user = parsed.username().to_owned();
        let password = parsed.password().unwrap_or_default().to_owned();
        if parsed.set_username("").is_err() || parsed.set_password(None).is_err() {
            anyhow::bail!("the management URL has no host");
        }
        Ok(Self {
            base: format!("{}api", String::from(parsed)),
            user,
            password,
        })
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<()> {
        self.call(Method::PUT, path, Some(body)).await.map(drop)
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Result<()> {
        self.call(Method::DELETE, path, None).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        json_request(
            method,
            &format!("{}/{path}", self.base),
            &self.user,
            &self.password,
            body,
        )
        .await
    }
}

/// A virtual host of its own; deleted with its users on drop.
#[derive(Debug)]
pub struct Vhost {
    name: String,
    amqp_url: String,
    management: Management,
    users: Vec<String>,
}

impl Vhost {
    pub async fn create(amqp_url: &str, management_url: &str) -> Result<Self> {
        let management = Management::new(management_url)?;
        let name = format!("t-{}", random_hex::<8>()?);
        management.put(&format!("vhosts/{name}"), &json!({})).await?;
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        management
            .put(&format!("permissions/{name}/{}", management.user), &all)
            .await?;
        let base = amqp_url.rsplit_once('/').map_or(amqp_url, |(base, _)| base);
        Ok(Self {
            amqp_url: format!("{base}/{name}"),
            name,
            management,
            users: Vec::new(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// As the node's administrator.
    pub fn url(&self) -> String {
        self.amqp_url.clone()
    }

    pub fn management(&self) -> &Management {
        &self.management
    }

    /// A user limited to this virtual host by the three patterns; returns its URL.
    pub async fn user(&mut self, role: &str, configure: &str, write: &str, read: &str) -> Result<String> {
        let user = format!("{role}-{}", self.name);
        let password = random_hex::<12>()?;
        self.management
            .put(
                &format!("users/{user}"),
                &json!({"password": password, "tags": ""}),
            )
            .await?;
        let rights = json!({"configure": configure, "write": write, "read": read});
        self.management
            .put(&format!("permissions/{}/{user}", self.name), &rights)
            .await?;
        self.users.push(user.clone());
        let mut url = reqwest::Url::parse(&self.amqp_url)?;
        if url.set_username(&user).is_err() || url.set_password(Some(&password)).is_err() {
            anyhow::bail!("the broker's URL has no host");
        }
        Ok(url.into())
    }

    /// The bodies waiting in a queue (peeked: they stay), oldest first.
    pub async fn peek(&self, queue: &str, count: u32) -> Result<Vec<Value>> {
        let body = json!({
            "count": count, "ackmode": "ack_requeue_true", "encoding": "auto", "truncate": 200_000,
        });
        let answer = self
            .management
            .post(&format!("queues/{}/{queue}/get", self.name), &body)
            .await?;
        Ok(answer.as_array().cloned().unwrap_or_default())
    }

    /// Everything waiting in a queue is thrown away.
    pub async fn purge(&self, queue: &str) -> Result<()> {
        self.management
            .delete(&format!("queues/{}/{queue}/contents", self.name))
            .await
    }

    /// The queue is gone, with everything in it.
    pub async fn delete_queue(&self, queue: &str) -> Result<()> {
        self.management
            .delete(&format!("queues/{}/{queue}", self.name))
            .await
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        let management = self.management.clone();
        let paths: Vec<String> = std::iter::once(format!("vhosts/{}", self.name))
            .chain(self.users.iter().map(|user| format!("users/{user}")))
            .collect();
        // Dropped inside a runtime, where nothing may block on another future; so on its own thread.
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                for path in paths {
                    // The node may have been killed by the test; its directory goes with its owner.
                    drop(runtime.block_on(management.delete(&path)));
                }
            }
        });
        drop(deleting.join());
    }
}
