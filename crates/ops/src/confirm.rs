//! Asks for confirmation before actions that cannot be undone.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Result, bail};

use crate::user_error::user_error;

/// Returns if the operator confirms, otherwise fails. Without a terminal only `--yes` confirms.
pub fn confirm(yes: bool, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(user_error(
            format!("{question} nobody is there to confirm"),
            "pass --yes",
        ));
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("stopped: nothing was changed");
    }
    Ok(())
}
