//! The operator's manuals, run as they stand: the shell behind each `<!-- tested -->` mark, as somebody would paste it.

use std::process::Command;

use anyhow::{Result, ensure};
use testkit::App;
use testkit::dirs;
use testkit::wiring::{CALLBACK, EXECUTOR, GATEWAY};

#[derive(Debug, Clone, Copy)]
pub struct Block<'p> {
    /// The heading that it stands under.
    pub section: &'p str,
    /// What the mark says, such as `tested` or `tested while it is away`.
    pub mark: &'p str,
    pub code: &'p str,
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

/// An alert's section of the runbook: `RpcDown` is `rpc-down`.
pub fn kebab(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Runs a block with the operator's settings and nothing else of ours. What it printed.
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
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(
        out.status.success(),
        "{}: {}\n{said}{}",
        block.section,
        block.code,
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(said)
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
    use super::blocks;

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
}
