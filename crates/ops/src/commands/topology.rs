//! `topology`: declares and shows exchanges, queues, bindings and the services' broker users.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use messaging::Service;
use messaging::topology::{self, QueueKind};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style};
use crate::settings::BrokerUsers;
use crate::user_error::user_error;

/// Declare or inspect the broker's exchanges, queues and users
#[derive(Subcommand)]
pub enum TopologyCommand {
    Declare(DeclareTopology),
    Show(ShowTopology),
}

/// Declare every exchange, queue and binding; repeating it changes nothing
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    AMQP_URL                a user that may configure; its virtual host must exist\n  \
    AMQP_MANAGEMENT_URL     with --users: http://user:password@host:15672, an administrator\n  \
    GATEWAY_AMQP_PASSWORD   with --users; also CALLBACK_, EXECUTOR_, OPS_AMQP_PASSWORD;\n                          \
    each also as <NAME>_FILE\n\n\
    Examples:\n  \
    fiatrails topology declare\n  \
    fiatrails topology declare --users")]
pub struct DeclareTopology {
    /// Also create the broker users gateway, callback, executor and ops, each with only its service's rights
    #[arg(long)]
    users: bool,
}

/// Show every queue with its depth, and what each service's broker user may do
#[derive(Args)]
#[command(
    after_long_help = "Examples:\n  fiatrails topology show\n  fiatrails topology show --json | jq .permissions"
)]
pub struct ShowTopology {}

#[derive(Serialize)]
struct DeclaredTopology {
    broker: String,
    exchanges: usize,
    queues: usize,
    bindings: usize,
    users: Vec<&'static str>,
}

#[derive(Serialize)]
struct TopologyView {
    broker: String,
    queues: Vec<QueueDepthRow>,
    permissions: Vec<UserRights>,
}

#[derive(Serialize)]
struct QueueDepthRow {
    queue: String,
    kind: &'static str,
    ready: u32,
}

#[derive(Serialize)]
struct UserRights {
    user: &'static str,
    configure: String,
    write: String,
    read: String,
}

pub async fn run(
    context: &CommandContext,
    out: &mut Output,
    command: &TopologyCommand,
) -> Result<Completion> {
    match command {
        TopologyCommand::Declare(args) => declare(context, out, args).await,
        TopologyCommand::Show(_) => show(context, out).await,
    }
}

async fn declare(context: &CommandContext, out: &mut Output, args: &DeclareTopology) -> Result<Completion> {
    let broker = context.broker()?;
    let wanted = if args.users {
        let found: BrokerUsers = context.environment.read()?;
        let url = found.amqp_management_url.value();
        Some((Management::new(url, &broker.endpoint().vhost)?, found))
    } else {
        None
    };
    topology::declare_all(&broker).await?;
    let mut users = Vec::new();
    if let Some((management, found)) = wanted {
        for service in Service::ALL {
            management.ensure_user(service, password(&found, service)).await?;
            users.push(user(service));
        }
    }
    let declared = DeclaredTopology {
        broker: broker.endpoint().to_string(),
        exchanges: topology::exchanges().len(),
        queues: topology::queues().len(),
        bindings: topology::bindings().len(),
        users,
    };
    broker.close().await;
    out.show(&declared, |page| {
        page.styled(
            Style::Good,
            format!(
                "{} exchanges, {} queues and {} bindings are there on {}",
                declared.exchanges, declared.queues, declared.bindings, declared.broker
            ),
        );
        for user in &declared.users {
            page.styled(Style::Good, format!("broker user {user} is ready"));
        }
    })?;
    Ok(Completion::Success)
}

async fn show(context: &CommandContext, out: &mut Output) -> Result<Completion> {
    let broker = context.broker()?;
    let depths = topology::depths(&broker).await?;
    let shown = TopologyView {
        broker: broker.endpoint().to_string(),
        queues: depths
            .into_iter()
            .map(|d| QueueDepthRow {
                queue: d.queue,
                kind: kind(d.kind),
                ready: d.ready,
            })
            .collect(),
        permissions: Service::ALL.into_iter().map(rights).collect(),
    };
    broker.close().await;
    out.show(&shown, |page| {
        page.field("broker", &shown.broker);
        page.section("queues");
        let rows: Vec<_> = shown
            .queues
            .iter()
            .map(|q| vec![q.queue.clone(), q.kind.into(), q.ready.to_string()])
            .collect();
        page.table(&["queue", "kind", "ready"], &rows);
        page.section("rights");
        let row = |r: &UserRights| {
            vec![
                r.user.into(),
                r.configure.clone(),
                r.write.clone(),
                r.read.clone(),
            ]
        };
        let rows: Vec<_> = shown.permissions.iter().map(row).collect();
        page.table(&["user", "configure", "write", "read"], &rows);
    })?;
    Ok(Completion::Success)
}

const fn kind(kind: QueueKind) -> &'static str {
    match kind {
        QueueKind::Work => "work",
        QueueKind::Delay => "delay",
        QueueKind::Dead => "dead",
    }
}

/// The name of a service's database login and broker user, which is also part of its password variables.
const fn user(service: Service) -> &'static str {
    match service {
        Service::MintExecutor => "executor",
        other => other.name(),
    }
}

const fn password(found: &BrokerUsers, service: Service) -> &SecretString {
    match service {
        Service::Gateway => found.gateway_amqp_password.value(),
        Service::MintExecutor => found.executor_amqp_password.value(),
        Service::Callback => found.callback_amqp_password.value(),
        Service::Ops => found.ops_amqp_password.value(),
    }
}

fn rights(service: Service) -> UserRights {
    let permissions = service.permissions();
    UserRights {
        user: user(service),
        configure: permissions.configure,
        write: permissions.write,
        read: permissions.read,
    }
}

/// RabbitMQ's management API, because AMQP cannot create users.
struct Management {
    http: reqwest::Client,
    base: reqwest::Url,
    user: String,
    password: SecretString,
    vhost: String,
}

const TIMEOUT: Duration = Duration::from_secs(10);

impl Management {
    fn new(secret: &SecretString, vhost: &str) -> Result<Self> {
        let invalid = || {
            user_error(
                "AMQP_MANAGEMENT_URL is not a URL with user and password",
                "use http://user:password@host:15672",
            )
        };
        let mut base: reqwest::Url = secret.expose_secret().parse().map_err(|_| invalid())?;
        let user = base.username().to_owned();
        let password: SecretString = base.password().map(str::to_owned).ok_or_else(invalid)?.into();
        base.set_username("").map_err(|()| invalid())?;
        base.set_password(None).map_err(|()| invalid())?;
        // Fails if the process has already installed a provider, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self {
            http,
            base,
            user,
            password,
            vhost: vhost.to_owned(),
        })
    }

    async fn ensure_user(&self, service: Service, password: &SecretString) -> Result<()> {
        let name = user(service);
        let account = serde_json::json!({ "password": password.expose_secret(), "tags": "" });
        self.put(&["api", "users", name], &account).await?;
        let rights = rights(service);
        let permissions =
            serde_json::json!({ "configure": rights.configure, "write": rights.write, "read": rights.read });
        self.put(&["api", "permissions", &self.vhost, name], &permissions)
            .await
    }

    async fn put(&self, path: &[&str], body: &serde_json::Value) -> Result<()> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| {
                user_error(
                    "AMQP_MANAGEMENT_URL has no path",
                    "use http://user:password@host:15672",
                )
            })?
            .pop_if_empty()
            .extend(path);
        let shown = format!("{} of the broker's management API", path.join("/"));
        let request = self
            .http
            .put(url)
            .basic_auth(&self.user, Some(self.password.expose_secret()));
        let answer = request
            .json(body)
            .send()
            .await
            .with_context(|| format!("put {shown}"))?;
        if !answer.status().is_success() {
            return Err(user_error(
                format!("put {shown}: {}", answer.status()),
                "check that the management URL's user is an administrator",
            ));
        }
        Ok(())
    }
}
