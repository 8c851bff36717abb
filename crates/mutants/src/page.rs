//! The table of docs/MUTANTS.md, made from the register.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::guards::Register;

const PAGE: &str = "docs/MUTANTS.md";
/// What follows is written by the tool.
const MARK: &str = "<!-- from here on: mutants --write-page -->\n";

pub fn problem(root: &Path, register: &Register) -> Result<Option<String>> {
    let committed = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let is_true = committed
        .split_once(MARK)
        .is_some_and(|(_, table)| table == written(register));
    Ok((!is_true).then(|| format!("{PAGE} differs from the register: cargo run -p mutants -- --write-page")))
}

pub fn write(root: &Path, register: &Register) -> Result<()> {
    let file = root.join(PAGE);
    let committed = fs::read_to_string(&file).context(PAGE)?;
    let (before, _) = committed.split_once(MARK).context("the page has no mark")?;
    fs::write(file, format!("{before}{MARK}{}", written(register)))?;
    Ok(())
}

fn written(register: &Register) -> String {
    let mut page = String::from("\n| lost with the guard | taken out | noticed by |\n|---|---|---|\n");
    let quoted = |names: &[String]| {
        names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    for guard in &register.guard {
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            guard.lost,
            quoted(guard.items()),
            quoted(&guard.tests)
        );
    }
    for pure in &register.pure {
        let _ = writeln!(page, "| {} | `{}` | cargo-mutants |", pure.lost, pure.item);
    }
    for proven in &register.proven {
        let _ = writeln!(
            page,
            "| {} | no single item: {} | {} |",
            proven.lost,
            proven.why,
            quoted(&proven.tests)
        );
    }
    if !register.excluded.is_empty() {
        page.push_str("\nExcluded:\n\n| lost with the guard | why nothing shows it |\n|---|---|\n");
    }
    for excluded in &register.excluded {
        let _ = writeln!(page, "| {} | {} |", excluded.lost, excluded.why);
    }
    page
}
