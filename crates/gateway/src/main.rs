//! The gateway: settings, then serve until a signal.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Ok(runtime::start::run(gateway::app::build).await?)
}
