//! The page of settings is what the programs declare, and names every variable that anything of ours reads.

mod page;
mod sources;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use callback::settings::CallbackSettings;
use clap::Parser;
use domain::policy::Policy;
use gateway::settings::GatewaySettings;
use mint_executor::settings::ExecutorSettings;
use runtime::Environment;
use runtime::settings::{command, variables};
use testkit::dirs::workspace;

#[test]
fn the_reference_of_settings_is_current() -> Result<()> {
    let path = workspace().join("docs/SETTINGS.md");
    let said = page::reference()?;
    if std::env::var_os("FIATRAILS_WRITE_DOCS").is_some() {
        std::fs::write(&path, &said)?;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(
        committed == said,
        "docs/SETTINGS.md is out of date; renew it as its first lines say"
    );
    Ok(())
}

#[test]
fn every_variable_that_something_reads_is_on_the_page() -> Result<()> {
    let page = page::reference()?;
    let known: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    let mut seen = 0;
    for (file, name) in sources::variables()? {
        seen += 1;
        ensure!(
            known.contains(name.as_str()),
            "{file} reads {name}, which is not on the page"
        );
    }
    ensure!(seen > 80, "only {seen} were found");
    Ok(())
}

#[test]
fn every_override_of_the_policy_on_the_page_is_one() -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("deploy/policy.json"))?;
    let overrides = page::policy_overrides()?;
    ensure!(overrides.len() > 20, "{overrides:?}");
    Policy::load(&text, overrides)?;
    Ok(())
}

/// What is asked for help in a shell full of secrets shows none of them.
#[test]
fn help_and_errors_of_no_service_show_a_secret() {
    fn check<S: Parser + clap::Args>() {
        let declared = variables(&S::command());
        let environment: Environment = declared
            .iter()
            .map(|variable| (variable.name.clone(), "canary".to_owned()))
            .collect();
        let error = environment.read::<S>().err().unwrap();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        let help = command::<S>().render_long_help().to_string();
        assert!(!help.contains("canary"));
        for variable in declared {
            assert!(help.contains(&variable.name), "{}", variable.name);
        }
        assert!(help.contains("Examples:"), "{help}");
    }
    check::<GatewaySettings>();
    check::<ExecutorSettings>();
    check::<CallbackSettings>();
}
