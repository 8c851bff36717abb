//! The gateway: settings from the environment, then serve until a signal.

use gateway::settings::GatewaySettings;
use runtime::Environment;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let environment = Environment::of_process();
    runtime::probe::exit_if_readiness_check(&environment);
    let settings = GatewaySettings::read(&environment)?;
    let app = gateway::app::build(&settings)?;
    app.stop_on_signals()?;
    app.run_until_stopped().await?;
    Ok(())
}
