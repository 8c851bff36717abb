//! A hardware security module in software: one private token, removed with its owner.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::dirs;

/// Debian's path of the module.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub const TOKEN: &str = "fiatrails-test";
/// Of a token that lives for one test; recognisable, so that a log may be searched for it.
pub const PIN: &str = "pin-of-the-test-token-7731";

#[derive(Debug)]
pub struct SoftHsm {
    config: PathBuf,
    _dir: TempDir,
}

impl SoftHsm {
    pub fn start() -> Result<Self> {
        let dir = dirs::private("softhsm")?;
        let (tokens, config) = (dir.path().join("tokens"), dir.path().join("softhsm2.conf"));
        fs::create_dir(&tokens)?;
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            tokens.display()
        );
        fs::write(&config, text)?;
        let hsm = Self { config, _dir: dir };
        let token = [
            "--init-token",
            "--free",
            "--label",
            TOKEN,
            "--so-pin",
            PIN,
            "--pin",
            PIN,
        ];
        hsm.run("softhsm2-util", &token)?;
        Ok(hsm)
    }

    /// What a process needs to find the token and open it.
    pub fn env(&self) -> Vec<(String, String)> {
        vec![
            ("SOFTHSM2_CONF".into(), self.config.display().to_string()),
            ("EXECUTOR_PKCS11_MODULE".into(), MODULE.into()),
            ("EXECUTOR_PKCS11_TOKEN".into(), TOKEN.into()),
            ("EXECUTOR_PKCS11_PIN".into(), PIN.into()),
        ]
    }

    /// Looks into the token from outside, logged in: `pkcs11-tool`.
    pub fn look(&self, args: &[&str]) -> Result<String> {
        let login = [
            "--module",
            MODULE,
            "--token-label",
            TOKEN,
            "--login",
            "--pin",
            PIN,
        ];
        self.run("pkcs11-tool", &[&login, args].concat())
    }

    /// A secp256k1 key that was made outside, put into the token: neither readable nor extractable there.
    pub fn import(&self, label: &str) -> Result<()> {
        let outside = self.config.with_file_name(format!("{label}.pem"));
        let outside = outside.to_str().context("a path in UTF-8")?;
        let curve = "ec_paramgen_curve:secp256k1";
        let make = ["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", outside];
        self.run("openssl", &make)?;
        let import = [
            "--import", outside, "--token", TOKEN, "--label", label, "--id", "0e", "--pin", PIN,
        ];
        self.run("softhsm2-util", &import).map(drop)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let done = Command::new(program)
            .args(args)
            .env("SOFTHSM2_CONF", &self.config)
            .output()
            .with_context(|| format!("{program} does not start; run scripts/install-tools"))?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let errors = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{program}: {text}{errors}");
        Ok(text)
    }
}
