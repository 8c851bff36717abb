//! The callback service.

use callback::App;
use runtime::{Environment, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::read(&Environment::of_process())?;
    let app = App::build(settings)?;
    app.stop_on_signals()?;
    Ok(app.run_until_stopped().await?)
}
