//! docs/OPERATIONS.md, as an operator would paste it: every block marked as tested, in order, against a running stack.

use std::process::Command;

use anyhow::{Result, ensure};
use testkit::app::App;
use testkit::client::fresh_address;
use testkit::dirs;

use crate::PATIENCE;

const OPERATIONS: &str = include_str!("../../../../docs/OPERATIONS.md");

/// The code behind each marker.
fn blocks() -> Vec<&'static str> {
    let marked = OPERATIONS.split("<!-- tested").skip(1);
    marked
        .filter_map(|text| text.split_once("```bash\n")?.1.split_once("```"))
        .map(|(block, _)| block)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_marked_block_of_the_operations_manual_works_as_written() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.allow(&user).await?;
    let id = app.accept(&user, 10, "MANUAL-1").await?;
    app.pay("MANUAL-1", 10, "RCPTMANUAL1").await?;
    app.until_status(&id, "executed", PATIENCE).await?;

    let blocks = blocks();
    ensure!(blocks.len() >= 8, "only {} blocks are marked", blocks.len());
    let fiatrails = dirs::binary("fiatrails")?;
    let path = format!(
        "{}:{}",
        fiatrails.parent().unwrap_or(&fiatrails).display(),
        std::env::var("PATH")?
    );
    let keys_root = app.keys.dir("ops");
    for block in blocks {
        let out = Command::new("timeout")
            .args(["90", "bash", "-euc", block])
            .env_clear()
            .envs(app.wiring.operator_env())
            .env("FIATRAILS_KEYS_ROOT", keys_root.parent().unwrap_or(&keys_root))
            .env("PATH", &path)
            .current_dir(dirs::workspace())
            .output()?;
        ensure!(
            out.status.success(),
            "{block}\n{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    // The manual leaves everything running, and the rotated integrator on its new key.
    assert_eq!(app.database.sql("select count(*) from halts where halted")?, "0");
    assert_eq!(
        app.database
            .sql("select state from api_keys where key_id = 'ik_dev_0001'")?,
        "revoked"
    );
    Ok(())
}
