//! The gateway: settings from the environment, then serve until a signal.

use gateway::settings::GatewaySettings;
use runtime::Environment;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = GatewaySettings::read(&Environment::of_process())?;
    let app = gateway::app::build(settings)?;
    app.stop_on_signals()?;
    app.run_until_stopped().await?;
    Ok(())
}
