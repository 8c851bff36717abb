//! What is tolerated for now: a number of offenders for each rule and part of the tree, which may only fall.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::offender::Offender;
use crate::rules::RULES;

/// Type names that may be defined more than once; more would be a habit, not an exception.
const MOST_SHARED_NAMES: usize = 10;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ratchet {
    /// By rule, then by part of the tree.
    #[serde(default)]
    pub tolerated: BTreeMap<String, BTreeMap<String, usize>>,
    #[serde(default)]
    pub shared_names: Vec<SharedName>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedName {
    pub name: String,
    pub reason: String,
}

/// How a part of the tree stands to one rule.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    pub rule: &'static str,
    pub group: String,
    pub found: usize,
    pub tolerated: usize,
}

impl Count {
    pub fn is_red(&self) -> bool {
        self.found > self.tolerated
    }

    pub fn is_loose(&self) -> bool {
        self.found < self.tolerated
    }
}

impl Ratchet {
    pub fn parse(text: &str) -> Result<Self> {
        let ratchet: Self = toml::from_str(text).context("the ratchet cannot be read")?;
        for rule in ratchet.tolerated.keys() {
            ensure!(
                RULES.iter().any(|known| known.name == rule),
                "the ratchet tolerates something of a rule that is not there: {rule}"
            );
        }
        ensure!(
            ratchet.shared_names.len() <= MOST_SHARED_NAMES,
            "{} shared names are too many, at most {MOST_SHARED_NAMES}",
            ratchet.shared_names.len()
        );
        for shared in &ratchet.shared_names {
            ensure!(
                !shared.reason.trim().is_empty(),
                "{} is shared without a reason",
                shared.name
            );
        }
        Ok(ratchet)
    }

    pub fn names_that_may_be_shared(&self) -> Vec<String> {
        self.shared_names
            .iter()
            .map(|shared| shared.name.clone())
            .collect()
    }

    /// Every pair of rule and part that has offenders or tolerates some.
    pub fn compare(&self, offenders: &[Offender]) -> Vec<Count> {
        let mut counts = Vec::new();
        for rule in RULES {
            let mut found: BTreeMap<&str, usize> = BTreeMap::new();
            for offender in offenders.iter().filter(|offender| offender.rule == rule.name) {
                *found.entry(&offender.group).or_default() += 1;
            }
            let none = BTreeMap::new();
            let tolerated = self.tolerated.get(rule.name).unwrap_or(&none);
            for group in tolerated.keys() {
                found.entry(group).or_default();
            }
            counts.extend(found.into_iter().map(|(group, found)| Count {
                rule: rule.name,
                group: group.to_owned(),
                found,
                tolerated: tolerated.get(group).copied().unwrap_or_default(),
            }));
        }
        counts
    }
}

/// The same text with lower numbers, comments kept; a line whose number is zero goes. No number rises.
pub fn tighten(text: &str, counts: &[Count]) -> String {
    let mut rule = String::new();
    let mut tightened = String::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            header
                .trim_end_matches(']')
                .trim_start_matches("tolerated.")
                .clone_into(&mut rule);
        }
        let key = line.split(" = ").next().unwrap_or_default();
        let loose = counts
            .iter()
            .find(|count| count.rule == rule && count.group == key && count.is_loose());
        match loose {
            Some(count) if count.found == 0 => {}
            Some(count) => tightened.extend([key, " = ", &count.found.to_string(), "\n"]),
            None => tightened.extend([line, "\n"]),
        }
    }
    tightened
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# kept\n[tolerated.circles]\ngateway = 3\nops = 2\nruntime = 1\n\n[tolerated.file-length]\nops = 5\n";

    fn offender(rule: &'static str, krate: &str, line: usize) -> Offender {
        Offender::new(rule, &format!("crates/{krate}/src/lib.rs"), line, String::new())
    }

    fn found() -> Vec<Offender> {
        vec![
            offender("circles", "gateway", 1),
            offender("circles", "ops", 1),
            offender("circles", "ops", 2),
            offender("circles", "ops", 3),
            offender("circles", "chain", 1),
        ]
    }

    #[test]
    fn more_is_red_and_fewer_is_green() {
        let counts = Ratchet::parse(TEXT).unwrap().compare(&found());
        let of = |group: &str| {
            let count = counts
                .iter()
                .find(|count| count.rule == "circles" && count.group == group);
            let count = count.unwrap();
            (count.is_red(), count.is_loose())
        };
        assert_eq!(of("gateway"), (false, true));
        assert_eq!(of("ops"), (true, false));
        assert_eq!(of("chain"), (true, false), "what is not listed tolerates nothing");
        assert_eq!(of("runtime"), (false, true));
    }

    #[test]
    fn tightening_lowers_and_never_raises() {
        let counts = Ratchet::parse(TEXT).unwrap().compare(&found());
        let tightened = tighten(TEXT, &counts);
        assert_eq!(
            tightened,
            "# kept\n[tolerated.circles]\ngateway = 1\nops = 2\n\n[tolerated.file-length]\n"
        );
    }

    #[test]
    fn a_shared_name_needs_a_reason_and_ten_are_enough() {
        let shared = |reason: &str| format!("[[shared-names]]\nname = \"Settings\"\nreason = \"{reason}\"\n");
        assert!(Ratchet::parse(&shared("each service has its own")).is_ok());
        assert!(Ratchet::parse(&shared(" ")).is_err());
        assert!(Ratchet::parse(&shared("why").repeat(11)).is_err());
    }

    #[test]
    fn a_rule_that_is_not_there_is_refused() {
        assert!(Ratchet::parse("[tolerated.circle]\nops = 1\n").is_err());
    }
}
