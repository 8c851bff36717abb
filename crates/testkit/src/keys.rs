//! Random development keys and the key directories of the services.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

pub const REQUEST_KID: &str = "ik_dev_0001";
pub const MPESA_KID: &str = "mk_dev_0001";
pub const INTEGRATOR: &str = "dev";
const STORED_ANSWER_KID: &str = "sk_dev_0001";
const PIPELINE_KID: &str = "pk_dev_0001";

const MINT_SUBMIT: &str = "mint.submit";
const MINT_EXECUTE: &str = "mint.execute";
const MINT_REFUND: &str = "mint.refund";
const MINT_OUTCOME: &str = "mint.outcome";
const MPESA_RESULT: &str = "mpesa.result";
const QUEUES: [&str; 5] = [MINT_SUBMIT, MINT_EXECUTE, MINT_REFUND, MINT_OUTCOME, MPESA_RESULT];

/// What a service may know, and no more.
struct Holder {
    name: &'static str,
    integrators: bool,
    mpesa: bool,
    stored_answer: bool,
    pipeline: &'static [&'static str],
}

const HOLDERS: [Holder; 4] = [
    Holder {
        name: "gateway",
        integrators: true,
        mpesa: true,
        stored_answer: true,
        pipeline: &[MINT_SUBMIT, MPESA_RESULT],
    },
    Holder {
        name: "mint-executor",
        integrators: false,
        mpesa: true,
        stored_answer: false,
        pipeline: &[MINT_SUBMIT, MINT_EXECUTE, MINT_REFUND, MINT_OUTCOME],
    },
    Holder {
        name: "callback",
        integrators: false,
        mpesa: true,
        stored_answer: false,
        pipeline: &[MPESA_RESULT, MINT_EXECUTE, MINT_REFUND, MINT_OUTCOME],
    },
    Holder {
        name: "ops",
        integrators: true,
        mpesa: true,
        stored_answer: true,
        pipeline: &QUEUES,
    },
];

/// One directory per service under `root`, each with only that service's keys.
#[derive(Debug, Clone)]
pub struct DevKeys {
    root: PathBuf,
    pub request_secret_hex: String,
    pub mpesa_secret_hex: String,
}

impl DevKeys {
    /// Makes the directories, or reads back what an earlier call made there.
    pub fn generate(root: &Path) -> Result<Self> {
        let mut secrets = BTreeMap::new();
        for file in all_files() {
            let kept = root.join("ops").join(&file);
            let secret = match std::fs::read_to_string(&kept) {
                Ok(text) => text.trim().to_owned(),
                Err(_) => random_hex::<32>()?,
            };
            secrets.insert(file, secret);
        }
        for holder in &HOLDERS {
            for file in files_of(holder) {
                write_secret(&root.join(holder.name).join(&file), &secrets[&file])?;
            }
        }
        Ok(Self {
            root: root.to_path_buf(),
            request_secret_hex: secrets[&integrator_file(INTEGRATOR, REQUEST_KID)].clone(),
            mpesa_secret_hex: secrets[&format!("mpesa/{MPESA_KID}")].clone(),
        })
    }

    /// Where the directories of all services lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `service`: gateway, mint-executor, callback or ops.
    pub fn dir(&self, service: &str) -> PathBuf {
        self.root.join(service)
    }

    /// A further integrator key, for the gateway and the operator; returns its secret.
    pub fn add_integrator(&self, owner: &str, kid: &str) -> Result<String> {
        let secret = random_hex::<32>()?;
        for service in ["gateway", "ops"] {
            write_secret(&self.dir(service).join(integrator_file(owner, kid)), &secret)?;
        }
        Ok(secret)
    }

    /// A further M-Pesa key, for everyone who verifies reports; returns its secret.
    pub fn add_mpesa(&self, kid: &str) -> Result<String> {
        let secret = random_hex::<32>()?;
        for holder in HOLDERS.iter().filter(|holder| holder.mpesa) {
            write_secret(&self.dir(holder.name).join(format!("mpesa/{kid}")), &secret)?;
        }
        Ok(secret)
    }

    /// A pipeline queue's secret, for tests that forge or re-seal a message.
    pub fn pipeline_secret_hex(&self, queue: &str) -> Result<String> {
        let path = self.dir("ops").join("pipeline").join(queue).join(PIPELINE_KID);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }
}

fn integrator_file(owner: &str, kid: &str) -> String {
    format!("integrator/{owner}/{kid}")
}

fn files_of(holder: &Holder) -> Vec<String> {
    let mut files: Vec<String> = holder
        .pipeline
        .iter()
        .map(|queue| format!("pipeline/{queue}/{PIPELINE_KID}"))
        .collect();
    if holder.integrators {
        files.push(integrator_file(INTEGRATOR, REQUEST_KID));
    }
    if holder.mpesa {
        files.push(format!("mpesa/{MPESA_KID}"));
    }
    if holder.stored_answer {
        files.push(format!("stored-answer/{STORED_ANSWER_KID}"));
    }
    files
}

fn all_files() -> std::collections::BTreeSet<String> {
    HOLDERS.iter().flat_map(files_of).collect()
}

/// Written beside and renamed: a service that reloads meanwhile never reads half a secret.
fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let dir = path.parent().context("a secret file lies in a directory")?;
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    std::io::Write::write_all(&mut file, secret.as_bytes())?;
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600))?;
    file.persist(path)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// `N` random bytes in lower hex.
pub fn random_hex<const N: usize>() -> Result<String> {
    Ok(hex::encode(random_bytes::<N>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_gets_only_its_own_keys() {
        let dir = tempfile::tempdir().unwrap();
        let keys = DevKeys::generate(dir.path()).unwrap();
        let has = |service: &str, file: &str| keys.dir(service).join(file).is_file();
        assert!(has("gateway", "pipeline/mint.submit/pk_dev_0001"));
        assert!(!has("gateway", "pipeline/mint.execute/pk_dev_0001"));
        assert!(!has("gateway", "pipeline/mint.outcome/pk_dev_0001"));
        assert!(!has("mint-executor", "integrator/dev/ik_dev_0001"));
        assert!(!has("callback", "pipeline/mint.submit/pk_dev_0001"));
        assert!(!has("mint-executor", "stored-answer/sk_dev_0001"));
        assert!(has("callback", "mpesa/mk_dev_0001") && has("mint-executor", "mpesa/mk_dev_0001"));
    }

    #[test]
    fn generating_again_keeps_the_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let first = DevKeys::generate(dir.path()).unwrap();
        let again = DevKeys::generate(dir.path()).unwrap();
        assert_eq!(first.request_secret_hex, again.request_secret_hex);
        assert_eq!(first.mpesa_secret_hex, again.mpesa_secret_hex);
        assert_ne!(first.request_secret_hex, first.mpesa_secret_hex);
    }
}
