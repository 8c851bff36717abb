//! The policy file: every limit and window in one place, validated at load (docs/POLICY.md).

mod bounds;

use serde::Deserialize;
use serde_json::Value;

use crate::country::CountryCode;
use crate::money::BaseUnits;
use crate::retry::RetryPolicy;

/// Prefix of environment variables that override one value, e.g. `FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS`.
pub const OVERRIDE_PREFIX: &str = "FIATRAILS_POLICY_";

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    pub chain: ChainPolicy,
    pub stablecoin: TokenPolicy,
    pub country_token: CountryTokenPolicy,
    pub compliance: CompliancePolicy,
    pub mint: MintPolicy,
    pub retry: RetryPolicy,
    pub windows: WindowPolicy,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainPolicy {
    pub chain_id: u64,
    /// Expected time between blocks, ms.
    pub block_time_ms: u64,
    /// The rule that makes a block final.
    #[serde(default)]
    pub finality: FinalityRule,
    /// By depth, a block is final when head - block >= confirmations.
    pub confirmations: u64,
    /// Number of blocks for which a final block is still watched for a deeper reorganisation.
    pub watch_blocks_past_final: u64,
    /// Time-out of one RPC call, ms.
    pub rpc_timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FinalityRule {
    /// The block has `confirmations` blocks on top of it.
    #[default]
    Confirmations,
    /// The chain says so: the block is not above its `finalized` block.
    FinalizedTag,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenPolicy {
    pub symbol: String,
    pub name: String,
    pub decimals: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CountryTokenPolicy {
    pub symbol: String,
    pub name: String,
    pub country_code: CountryCode,
    pub decimals: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompliancePolicy {
    pub max_risk_score: u8,
    pub attestation_required: bool,
    pub min_attestation_age_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MintPolicy {
    pub min_amount: BaseUnits,
    pub max_amount: BaseUnits,
    /// Per user and UTC day, at intake; the contract allows twice as much.
    pub daily_limit_per_user: BaseUnits,
    pub executor_mint_per_hour: BaseUnits,
    /// Maximum number of unpaid intents per integrator.
    pub max_unpaid: u64,
}

/// Windows in seconds unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowPolicy {
    pub payment_seconds: u64,
    pub deposit_expiry_seconds: u64,
    pub orphan_match_seconds: u64,
    pub redrive_seconds: u64,
    pub idempotency_seconds: u64,
    pub freshness_seconds: u64,
    pub webhook_timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("the policy cannot be read: {0}")]
    Unreadable(String),
    #[error("policy field {field}: {problem}")]
    Invalid { field: String, problem: String },
    #[error("{0} names no policy field")]
    UnknownOverride(String),
}

impl Policy {
    /// Parses the file's text, applies the overrides, and validates.
    pub fn load(
        text: &str,
        overrides: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, PolicyError> {
        let mut value: Value =
            serde_json::from_str(text).map_err(|e| PolicyError::Unreadable(e.to_string()))?;
        for (name, new) in overrides {
            let Some(path) = name.strip_prefix(OVERRIDE_PREFIX) else {
                continue;
            };
            // The variable that names the file itself has the same prefix.
            if path == "FILE" {
                continue;
            }
            let leaf =
                find_leaf(&mut value, path).ok_or_else(|| PolicyError::UnknownOverride(name.clone()))?;
            *leaf = if leaf.is_string() {
                Value::String(new)
            } else {
                parse_leaf(&name, &new)?
            };
        }
        let policy: Self = serde_path_to_error::deserialize(value).map_err(|error| PolicyError::Invalid {
            field: error.path().to_string(),
            problem: error.inner().to_string(),
        })?;
        bounds::validate(&policy)?;
        Ok(policy)
    }
}

fn parse_leaf(name: &str, text: &str) -> Result<Value, PolicyError> {
    serde_json::from_str(text)
        .map_err(|_| PolicyError::Unreadable(format!("{name} is neither a number nor true/false")))
}

/// `WINDOWS_REDRIVE_SECONDS` -> `windows.redriveSeconds`.
fn find_leaf<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let sections = value.as_object_mut()?;
    sections.iter_mut().find_map(|(section, fields)| {
        let rest = path
            .strip_prefix(&upper_snake(section))?
            .strip_prefix('_')?
            .to_owned();
        let fields = fields.as_object_mut()?;
        fields
            .iter_mut()
            .find(|(field, _)| upper_snake(field) == rest)
            .map(|(_, leaf)| leaf)
    })
}

fn upper_snake(camel: &str) -> String {
    let mut out = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../../deploy/policy.json");

    fn load(overrides: &[(&str, &str)]) -> Result<Policy, PolicyError> {
        let owned = overrides
            .iter()
            .map(|(name, value)| (format!("{OVERRIDE_PREFIX}{name}"), (*value).to_owned()));
        Policy::load(COMMITTED, owned)
    }

    /// The field that the refusal of these values names.
    fn invalid_field(overrides: &[(&str, &str)]) -> String {
        match load(overrides) {
            Err(PolicyError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_committed_policy_has_the_documented_figures() {
        let policy = load(&[]).unwrap();
        assert_eq!(policy.chain.chain_id, 31430);
        assert_eq!(policy.mint.max_amount.to_string(), "1000000000000000000000");
        assert_eq!(
            policy.mint.daily_limit_per_user.to_string(),
            "10000000000000000000000"
        );
        assert_eq!(
            policy.mint.executor_mint_per_hour.to_string(),
            "1000000000000000000000000"
        );
        assert_eq!(
            (policy.windows.payment_seconds, policy.windows.redrive_seconds),
            (3600, 120)
        );
        assert_eq!(policy.retry.max_attempts, 6);
    }

    #[test]
    fn the_environment_overrides_one_value() {
        let policy = load(&[
            ("WINDOWS_REDRIVE_SECONDS", "3"),
            ("MINT_MAX_AMOUNT", "2000000000000000000"),
        ])
        .unwrap();
        assert_eq!(policy.windows.redrive_seconds, 3);
        assert_eq!(policy.mint.max_amount.to_string(), "2000000000000000000");
    }

    #[test]
    fn each_bound_is_exact() {
        // Variable, the last accepted value, the first refused one, the field that is named.
        let table = "
            CHAIN_CHAIN_ID 1 0 chain.chainId
            CHAIN_BLOCK_TIME_MS 1 0 chain.blockTimeMs
            CHAIN_CONFIRMATIONS 1 0 chain.confirmations
            CHAIN_RPC_TIMEOUT_MS 1 0 chain.rpcTimeoutMs
            COMPLIANCE_MAX_RISK_SCORE 100 101 compliance.maxRiskScore
            MINT_MIN_AMOUNT 1 0 mint.minAmount
            MINT_MAX_AMOUNT 1000000000000000000 999999999999999999 mint.maxAmount
            MINT_DAILY_LIMIT_PER_USER 1000000000000000000000 999999999999999999999 mint.dailyLimitPerUser
            MINT_EXECUTOR_MINT_PER_HOUR 1000000000000000000000 999999999999999999999 mint.executorMintPerHour
            MINT_MAX_UNPAID 1 0 mint.maxUnpaid
            RETRY_MAX_ATTEMPTS 1 0 retry.maxAttempts
            RETRY_MAX_ATTEMPTS 20 21 retry.maxAttempts
            RETRY_BASE_MS 1 0 retry.baseMs
            RETRY_CAP_MS 751 750 retry.capMs
            WINDOWS_PAYMENT_SECONDS 1 0 windows.paymentSeconds
            WINDOWS_PAYMENT_SECONDS 604799 604800 windows.depositExpirySeconds
            WINDOWS_ORPHAN_MATCH_SECONDS 1 0 windows.orphanMatchSeconds
            WINDOWS_REDRIVE_SECONDS 1 0 windows.redriveSeconds
            WINDOWS_IDEMPOTENCY_SECONDS 300 299 windows.idempotencySeconds
            WINDOWS_FRESHNESS_SECONDS 1 0 windows.freshnessSeconds
            WINDOWS_WEBHOOK_TIMEOUT_MS 1 0 windows.webhookTimeoutMs
            ";
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let [variable, accepted, refused, named] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            assert!(load(&[(variable, accepted)]).is_ok(), "{line}");
            assert_eq!(invalid_field(&[(variable, refused)]), named, "{line}");
        }
    }

    #[test]
    fn bad_values_name_their_field() {
        for (variable, value, name) in [
            ("STABLECOIN_DECIMALS", "6", "stablecoin.decimals"),
            ("COUNTRY_TOKEN_DECIMALS", "6", "countryToken.decimals"),
            ("RETRY_SEED", "", "retry.seed"),
            ("STABLECOIN_SYMBOL", "", "stablecoin.symbol"),
            ("STABLECOIN_NAME", "", "stablecoin.name"),
            ("COUNTRY_TOKEN_SYMBOL", "", "countryToken.symbol"),
            ("COUNTRY_TOKEN_NAME", "", "countryToken.name"),
        ] {
            assert_eq!(invalid_field(&[(variable, value)]), name);
        }
        assert!(matches!(
            load(&[("NO_SUCH_FIELD", "1")]),
            Err(PolicyError::UnknownOverride(_))
        ));
        assert!(matches!(
            load(&[("RETRY_CAP_MS", "soon")]),
            Err(PolicyError::Unreadable(_))
        ));
    }

    #[test]
    fn each_field_of_a_wrong_type_is_named() {
        let committed: Value = serde_json::from_str(COMMITTED).unwrap();
        let mut tried = 0;
        for (section, fields) in committed.as_object().unwrap() {
            for name in fields.as_object().unwrap().keys() {
                let mut changed = committed.clone();
                changed[section][name] = serde_json::json!([]);
                let Err(PolicyError::Invalid { field, .. }) = Policy::load(&changed.to_string(), []) else {
                    panic!("{section}.{name}");
                };
                assert_eq!(field, format!("{section}.{name}"));
                tried += 1;
            }
        }
        assert!(tried > 25, "{tried}");
    }

    #[test]
    fn unknown_fields_are_refused() {
        let text = COMMITTED.replacen("\"chain\"", "\"surprise\": 1, \"chain\"", 1);
        let Err(PolicyError::Invalid { problem, .. }) = Policy::load(&text, []) else {
            panic!("{text}");
        };
        assert!(problem.contains("surprise"), "{problem}");
    }
}
