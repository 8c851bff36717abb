//! The committed command reference is what the program says.

use anyhow::{Result, ensure};

#[test]
fn cli_reference() -> Result<()> {
    let path = testkit::dirs::workspace().join("docs/CLI.md");
    let generated = ops::reference();
    if std::env::var_os("FIATRAILS_WRITE_DOCS").is_some() {
        std::fs::write(&path, &generated)?;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(
        committed == generated,
        "docs/CLI.md is out of date; renew it as its first lines say"
    );
    Ok(())
}

const MANUALS: [&str; 4] = [
    "docs/RUNBOOK.md",
    "docs/EXCEPTIONS.md",
    "docs/LOGGING.md",
    "deploy/README.md",
];

/// Words of the manuals in whose place the reader puts their own.
const PLACES: [(&str, &str); 12] = [
    ("0xNEW", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
    ("0xOLD", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
    ("<message id>", "018f0000-0000-7000-8000-000000000001"),
    ("<report id>", "018f0000-0000-7000-8000-000000000001"),
    ("<entry>", "018f0000-0000-7000-8000-000000000001"),
    ("<intent id>", "TX1"),
    ("<queue>", "mint.submit"),
    ("<class>", "storage"),
    ("<txRef>", "TX1"),
    ("<kid>", "ik_1"),
    ("<id>", "7"),
    ("...", "because"),
];

/// What is written as code: each line of a block, and what stands in backquotes, over the ends of lines too.
fn code(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, text) in page.split("```").enumerate() {
        if at % 2 == 1 {
            found.extend(text.lines().map(str::to_owned));
        } else {
            let quoted = text.split('`').skip(1).step_by(2);
            found.extend(quoted.map(|quoted| quoted.replace('\n', " ")));
        }
    }
    found
}

/// `one 'two words' three` as a shell takes it apart.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The command of ours in a line of code, without what the shell does with it.
pub fn command(line: &str) -> Option<Vec<String>> {
    let starts = ["", "until ", "docker-compose run --rm "];
    let called = |line: &str| {
        let rest = starts
            .iter()
            .find_map(|start| line.strip_prefix(start)?.strip_prefix("fiatrails "));
        rest.map(str::to_owned)
    };
    let typed = called(line.trim()).or_else(|| called(line.split_once("$(")?.1))?;
    let end = typed.find(['#', '|', ';', ')', '$']).unwrap_or(typed.len());
    Some(words(&typed[..end]))
}

/// Whoever is woken at three types what is written, also where it stands in a sentence and no test runs it.
#[test]
fn every_command_that_the_manuals_name_is_understood() -> Result<()> {
    use clap::error::ErrorKind as Kind;
    let mut seen = 0;
    for page in MANUALS {
        let text = std::fs::read_to_string(testkit::dirs::workspace().join(page))?;
        for line in code(&text) {
            let filled = PLACES
                .iter()
                .fold(line.clone(), |line, (place, value)| line.replace(place, value));
            let Some(words) = command(&filled) else { continue };
            seen += 1;
            let Err(error) = ops::understands(&words) else {
                continue;
            };
            // Spoken of by its name alone.
            let named = match error.kind() {
                Kind::MissingSubcommand | Kind::DisplayHelpOnMissingArgumentOrSubcommand => true,
                Kind::MissingRequiredArgument => !words.iter().any(|word| word.starts_with('-')),
                _ => false,
            };
            ensure!(named, "{page}: {line}\n{error}");
        }
    }
    ensure!(seen > 60, "only {seen} commands were found");
    Ok(())
}

#[test]
fn every_command_line_of_our_own_programs_is_understood() {
    let user = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    for verified in [true, false] {
        let line = testkit::operator::set_compliance(user, 10, verified);
        assert!(ops::understands(&line).is_ok(), "{line:?}");
    }
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
