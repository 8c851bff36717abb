use std::process::Command;

use anyhow::{Context, Result};
use testkit::app::App;
use testkit::keys::{MPESA_KID, REQUEST_KID};

const README: &str = include_str!("../../../../README.md");

/// The block of commands behind the marker, unchanged.
fn hand_made_request() -> Result<&'static str> {
    let (_, after) = README
        .split_once("runs this block as written -->")
        .context("the marker is gone")?;
    let (_, block) = after
        .split_once("```bash\n")
        .context("no block behind the marker")?;
    Ok(block.split_once("```").context("the block does not end")?.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_hand_made_request_works_as_written() -> Result<()> {
    let app = App::start().await?;
    let dir = testkit::dirs::private("readme")?;
    std::fs::create_dir(dir.path().join(".stack"))?;
    let env = format!(
        "FIATRAILS_GATEWAY_URL={}\nFIATRAILS_REQUEST_KID={REQUEST_KID}\nFIATRAILS_REQUEST_SECRET_HEX={}\n\
         FIATRAILS_MPESA_KID={MPESA_KID}\nFIATRAILS_MPESA_SECRET_HEX={}\n",
        app.client()?.base(),
        app.keys.request_secret_hex,
        app.keys.mpesa_secret_hex
    );
    std::fs::write(dir.path().join(".stack/env"), env)?;
    let out = Command::new("bash")
        .args(["-eu", "-c", hand_made_request()?])
        .current_dir(dir.path())
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(text.starts_with("HTTP/1.1 201"), "{text}");
    assert!(text.contains("\"status\":\"pending\""), "{text}");
    Ok(())
}
