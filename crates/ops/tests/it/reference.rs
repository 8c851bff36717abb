//! The committed command reference is what the program says.

use anyhow::{Result, ensure};

#[test]
fn cli_reference() -> Result<()> {
    let path = testkit::dirs::workspace().join("docs/CLI.md");
    let said = ops::reference();
    if std::env::var_os("FIATRAILS_WRITE_DOCS").is_some() {
        std::fs::write(&path, &said)?;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(
        committed == said,
        "docs/CLI.md is out of date; renew it as its first lines say"
    );
    Ok(())
}

#[test]
fn every_command_that_does_something_shows_examples() {
    let reference = ops::reference();
    let lacking: Vec<&str> = reference
        .split("\n## ")
        .skip(1)
        .filter(|section| !section.contains("Examples:") && !section.contains("\nCommands:\n"))
        .map(|section| section.lines().next().unwrap_or_default())
        .filter(|name| !name.contains("keys add "))
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}
