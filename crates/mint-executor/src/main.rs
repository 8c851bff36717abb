//! The executor's process.

use runtime::Environment;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let environment = Environment::of_process();
    runtime::probe::exit_if_readiness_check(&environment);
    let app = mint_executor::app::build(&environment)?;
    app.run_until_stopped().await
}
