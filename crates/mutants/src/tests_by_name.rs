//! Which tests exist, and how nextest is asked for one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

/// The paths of all tests, by package.
#[derive(Debug, Default)]
pub struct Tests(BTreeMap<String, BTreeSet<String>>);

impl Tests {
    pub fn add(&mut self, package: &str, paths: impl IntoIterator<Item = String>) {
        self.0.entry(package.to_owned()).or_default().extend(paths);
    }

    /// Whether a name of the register stands for at least one test.
    pub fn has(&self, name: &str) -> bool {
        let Ok(name) = Name::parse(name) else {
            return false;
        };
        let matches = |path: &String| {
            let path = format!("::{path}");
            if name.module {
                path.contains(&format!("::{}::", name.path))
            } else {
                path.ends_with(&format!("::{}", name.path))
            }
        };
        self.0
            .get(name.package)
            .is_some_and(|paths| paths.iter().any(matches))
    }
}

/// `package::test` or `package::module::`.
pub struct Name<'a> {
    pub package: &'a str,
    path: &'a str,
    module: bool,
}

impl<'a> Name<'a> {
    pub fn parse(text: &'a str) -> Result<Self> {
        let Some((package, rest)) = text.split_once("::") else {
            bail!("{text} names no package");
        };
        let path = rest.trim_end_matches("::");
        if path.is_empty() {
            bail!("{text} names no test");
        }
        Ok(Self {
            package,
            path,
            module: path.len() < rest.len(),
        })
    }

    /// As a nextest filter.
    pub fn filter(&self) -> String {
        let end = if self.module { "::" } else { "$" };
        format!("package({}) and test(/(^|::){}{end}/)", self.package, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_known_by_its_whole_name_and_a_module_by_its_end() {
        let mut tests = Tests::default();
        tests.add(
            "mint-executor",
            ["mint_executor::it::forgery::an_old_seal".to_owned()],
        );
        for known in [
            "mint-executor::an_old_seal",
            "mint-executor::forgery::an_old_seal",
            "mint-executor::forgery::",
        ] {
            assert!(tests.has(known), "{known}");
        }
        for unknown in [
            "mint-executor::old_seal",
            "mint-executor::forger::",
            "callback::an_old_seal",
            "an_old_seal",
        ] {
            assert!(!tests.has(unknown), "{unknown}");
        }
    }

    #[test]
    fn a_filter_names_the_package() {
        let filter = |text| Name::parse(text).unwrap().filter();
        assert_eq!(
            filter("callback::one"),
            "package(callback) and test(/(^|::)one$/)"
        );
        assert_eq!(
            filter("callback::races::"),
            "package(callback) and test(/(^|::)races::/)"
        );
    }
}
