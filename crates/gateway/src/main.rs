//! The gateway: settings, then serve until a signal.

use gateway::settings::GatewaySettings;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings: GatewaySettings = runtime::start::settings()?;
    let app = gateway::app::build(&settings)?;
    app.stop_on_signals()?;
    app.run_until_stopped().await?;
    Ok(())
}
