//! The callback service.

use callback::App;
use runtime::{Environment, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let environment = Environment::of_process();
    runtime::probe::answer_if_asked(&environment);
    let settings = Settings::read(&environment)?;
    let app = App::build(settings)?;
    app.stop_on_signals()?;
    Ok(app.run_until_stopped().await?)
}
