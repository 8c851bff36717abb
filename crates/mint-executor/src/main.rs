//! The executor's process: settings, then work until a signal.

use anyhow::Context as _;
use mint_executor::settings::ExecutorSettings;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings: ExecutorSettings = runtime::start::settings().context("settings")?;
    let app = mint_executor::app::build(settings)?;
    app.run_until_stopped().await
}
