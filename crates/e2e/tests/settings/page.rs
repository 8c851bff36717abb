//! What `docs/SETTINGS.md` says.

use anyhow::{Context as _, Result};
use callback::settings::CallbackSettings;
use clap::CommandFactory as _;
use gateway::settings::GatewaySettings;
use mint_executor::settings::ExecutorSettings;
use runtime::settings::{Variable, variables};
use serde_json::Value;
use testkit::dirs::workspace;

const HEAD: &str = "# Settings

Written from the declarations by the test that compares it; renew it with
`FIATRAILS_WRITE_DOCS=1 cargo nextest run -p e2e -E 'test(the_reference_of_settings)'`.

Every setting is an environment variable. Services take it as a flag too, which goes first: DRAIN_MS is --drain-ms.
An empty variable counts as not set. A secret comes from its variable or from the file that the variable of the same
name with _FILE names, never from a flag: other users of the machine see command lines. `--help` of each program says
the same as this page.
";

const SETTINGS: &str = "| variable | default | unit | read by | |
|---|---|---|---|---|
";

const OVERRIDES: &str = "
## Overrides of the policy

Each overrides one value of the policy file, for every program that reads FIATRAILS_POLICY_FILE.

| variable | in deploy/policy.json |
|---|---|
";

const OTHERS: &str = "
## Elsewhere

Read by make, scripts, containers, development tools and tests.

| variable | default | read by | |
|---|---|---|---|
";

/// Variable, default, readers and meaning, with tabs between them.
const ELSEWHERE: &str = include_str!("elsewhere.tsv");

/// Who reads a variable.
struct Row {
    variable: Variable,
    readers: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let programs = [
        ("gateway", variables(&GatewaySettings::command())),
        ("mint-executor", variables(&ExecutorSettings::command())),
        ("callback", variables(&CallbackSettings::command())),
        ("fiatrails", ops::variables()),
    ];
    let mut rows: Vec<Row> = Vec::new();
    for (program, declared) in programs {
        for variable in declared {
            match rows.iter_mut().find(|row| row.variable.name == variable.name) {
                Some(row) => row.readers.push(program),
                None => rows.push(Row {
                    variable,
                    readers: vec![program],
                }),
            }
        }
    }
    rows
}

pub fn reference() -> Result<String> {
    let rows = rows();
    let mut text = vec![HEAD.to_owned()];
    let mut groups: Vec<&str> = Vec::new();
    for row in &rows {
        if !groups.contains(&row.variable.group.as_str()) {
            groups.push(&row.variable.group);
        }
    }
    for group in groups {
        text.push(format!("\n## {group}\n\n{SETTINGS}"));
        for row in rows.iter().filter(|row| row.variable.group == group) {
            text.push(line(row));
        }
    }
    text.push(OVERRIDES.to_owned());
    for (name, value) in policy_overrides()? {
        text.push(format!("| `{name}` | {value} |\n"));
    }
    text.push(OTHERS.to_owned());
    for line in ELSEWHERE.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let [name, default, readers, meaning] = cells[..] else {
            anyhow::bail!("elsewhere.tsv: {line}");
        };
        text.push(format!("| `{name}` | {default} | {readers} | {meaning} |\n"));
    }
    Ok(text.concat())
}

fn line(row: &Row) -> String {
    let Variable {
        name,
        secret,
        required,
        default,
        unit,
        meaning,
        ..
    } = &row.variable;
    let name = if *secret {
        format!("`{name}`, `{name}_FILE`")
    } else {
        format!("`{name}`")
    };
    let default = match default {
        Some(default) => default.as_str(),
        None if *required => "must be set",
        None => "",
    };
    let readers = row.readers.join(", ");
    let cells = [name.as_str(), default, unit, &readers, meaning];
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.join(" | "))
}

/// Each value of the policy file and the variable that overrides it.
pub fn policy_overrides() -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(workspace().join("deploy/policy.json"))?;
    let policy: Value = serde_json::from_str(&text)?;
    let mut found = Vec::new();
    leaves(&policy, "FIATRAILS_POLICY", &mut found)?;
    Ok(found)
}

fn leaves(value: &Value, name: &str, found: &mut Vec<(String, String)>) -> Result<()> {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                leaves(value, &format!("{name}_{}", upper(field)), found)?;
            }
        }
        Value::String(text) => found.push((name.to_owned(), text.clone())),
        other => found.push((name.to_owned(), serde_json::to_string(other).context("policy")?)),
    }
    Ok(())
}

/// `blockTimeMs` as `BLOCK_TIME_MS`.
fn upper(field: &str) -> String {
    let mut text = String::new();
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}
