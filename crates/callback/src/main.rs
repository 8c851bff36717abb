//! The callback service: settings, then work until a signal.

use callback::App;
use callback::settings::CallbackSettings;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings: CallbackSettings = runtime::start::settings()?;
    let app = App::build(settings.shared)?;
    app.stop_on_signals()?;
    Ok(app.run_until_stopped().await?)
}
