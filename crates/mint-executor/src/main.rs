//! The executor's process.

use runtime::Environment;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = mint_executor::app::build(&Environment::of_process())?;
    app.run_until_stopped().await
}
