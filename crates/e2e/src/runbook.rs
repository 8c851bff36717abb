//! Runs the shell blocks of the operator's pages unchanged: those behind a `<!-- tested -->` mark.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testkit::App;
use testkit::dirs;
use testkit::wiring::{CALLBACK, EXECUTOR, GATEWAY};

#[derive(Debug, Clone, Copy)]
pub struct Block<'p> {
    /// The heading of its section.
    pub section: &'p str,
    /// The rest of the mark, such as `while it is away`.
    pub mark: &'p str,
    pub code: &'p str,
}

impl Block<'_> {
    /// The test file that the mark names, which reads this block and runs it.
    pub fn named_test(&self) -> Option<&str> {
        let rust = |word: &&str| Path::new(word).extension().is_some_and(|ending| ending == "rs");
        self.mark.split_whitespace().find(rust)
    }
}

/// Fails if a block of shell is not tested: each must be marked, and a test that a mark names must exist.
pub fn check_all_blocks_are_tested(page: &str) -> Result<()> {
    let found = blocks(page);
    for shell in page.split("```").skip(1).step_by(2) {
        let code = shell.strip_prefix("bash\n");
        ensure!(
            code.map_or(!shell.contains("fiatrails "), |code| found
                .iter()
                .any(|block| block.code == code)),
            "this block is not marked, so no test runs it:\n{shell}"
        );
    }
    let marked = found.len();
    ensure!(
        marked == page.matches("```bash").count(),
        "{marked} blocks are marked, and there are more"
    );
    for block in &found {
        let Some(path) = block.named_test() else { continue };
        ensure!(
            dirs::workspace().join(path).is_file(),
            "{}: {path} is named, and does not exist",
            block.section
        );
    }
    Ok(())
}

/// The marked blocks of a page, in order.
pub fn blocks(page: &str) -> Vec<Block<'_>> {
    let sections = page.split("\n## ");
    sections
        .flat_map(|section| {
            let title = section.lines().next().unwrap_or_default();
            let marked = section.split("<!-- tested").skip(1);
            marked.filter_map(move |text| {
                let (mark, rest) = text.split_once("-->")?;
                let code = rest.trim_start().strip_prefix("```bash\n")?.split_once("```")?.0;
                Some(Block {
                    section: title,
                    mark: mark.trim(),
                    code,
                })
            })
        })
        .collect()
}

/// The block that names this test file, as `file!()` gives it.
pub fn block_of<'p>(page: &'p str, test: &str) -> Result<Block<'p>> {
    let named = |block: &Block<'_>| block.named_test() == Some(test);
    blocks(page)
        .into_iter()
        .find(named)
        .with_context(|| format!("no block names {test}"))
}

/// An alert's section of the runbook: `RpcDown` is `rpc-down`.
pub fn to_kebab_case(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Runs a block with the operator's settings only, and returns what it printed.
pub fn run(app: &App, block: &Block<'_>) -> Result<String> {
    let fiatrails = dirs::binary("fiatrails")?;
    let path = format!(
        "{}:{}",
        fiatrails.parent().unwrap_or(&fiatrails).display(),
        std::env::var("PATH")?
    );
    let keys_root = app.keys.dir("ops");
    let mut bash = Command::new("timeout");
    bash.args(["90", "bash", "-euo", "pipefail", "-c", block.code])
        .env_clear()
        .envs(app.wiring.operator_env())
        .env("FIATRAILS_KEYS_ROOT", keys_root.parent().unwrap_or(&keys_root))
        .env("PATH", &path)
        // Backups leave the virtual hosts of others alone.
        .env("BROKER_VHOST", app.vhost.name())
        .current_dir(dirs::workspace());
    for (name, service) in [
        (GATEWAY, &app.gateway),
        (EXECUTOR, &app.executor),
        (CALLBACK, &app.callback),
    ] {
        if let Some(service) = service {
            bash.env(admin_variable(name), service.admin_url()?);
        }
    }
    let out = bash.output()?;
    let printed = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(
        out.status.success(),
        "{}: {}\n{printed}{}",
        block.section,
        block.code,
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(printed)
}

/// The runbook's name for a service's admin port.
const fn admin_variable(service: &str) -> &'static str {
    match service.as_bytes() {
        b"gateway" => "GATEWAY",
        b"callback" => "CALLBACK",
        _ => "EXECUTOR",
    }
}

#[cfg(test)]
mod tests {
    use super::{blocks, check_all_blocks_are_tested};

    #[test]
    fn only_marked_shell_is_found_and_knows_its_section() {
        let page = "# Page\n\n<!-- tested -->\n```bash\none\n```\n\n```bash\nnot this\n```\n\n## second\nwords\n\n\
                    <!-- tested while it is away -->\n```bash\ntwo\n```\n";
        let found: Vec<_> = blocks(page).iter().map(|b| (b.section, b.mark, b.code)).collect();
        assert_eq!(
            found,
            [("# Page", "", "one\n"), ("second", "while it is away", "two\n")]
        );
    }

    #[test]
    fn shell_that_nobody_runs_is_refused() {
        let marked =
            |mark: &str, code: &str| format!("# Page\n\n<!-- tested{mark} -->\n```bash\n{code}\n```\n");
        let here = ": crates/ops/tests/it/statement.rs";
        for good in [
            marked("", "one"),
            marked(here, "fiatrails reconcile --statement day.csv"),
            marked("", "one") + "```\na form\n```\n",
        ] {
            check_all_blocks_are_tested(&good).unwrap();
        }
        for (page, why) in [
            (marked("", "one") + "```bash\ntwo\n```\n", "not marked"),
            (marked("", "one") + "```bash\none\n```\n", "there are more"),
            (marked("", "one") + "```\nfiatrails halt\n```\n", "not marked"),
            (marked(": crates/e2e/src/gone.rs", "one"), "gone.rs is named"),
        ] {
            let printed = check_all_blocks_are_tested(&page).unwrap_err().to_string();
            assert!(printed.contains(why), "{page}: {printed}");
        }
    }
}
