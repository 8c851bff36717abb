//! The callback service.

use callback::App;
use runtime::{Environment, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let environment = Environment::of_process();
    runtime::probe::exit_if_readiness_check(&environment);
    let settings = Settings::read(&environment)?;
    let app = App::build(settings)?;
    app.stop_on_signals()?;
    Ok(app.run_until_stopped().await?)
}
