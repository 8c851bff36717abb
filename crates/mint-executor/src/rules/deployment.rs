//! How the deployment on chain differs from the policy.

use std::fmt::Display;

use chain::inspect::Deployment;
use domain::address::Address;
use domain::policy::Policy;

/// One sentence for each difference between policy and chain.
pub fn differences(policy: &Policy, treasury: Address, found: &Deployment) -> Vec<String> {
    let mut differences = compare_tokens(policy, treasury, found);
    differences.extend(compare_limits(policy, found));
    differences
}

/// `None` when both are the same.
fn difference(what: &str, expected: impl Display, found: impl Display) -> Option<String> {
    let (expected, found) = (expected.to_string(), found.to_string());
    (expected != found).then(|| format!("{what}: expected {expected}, the chain has {found}"))
}

fn compare_tokens(policy: &Policy, treasury: Address, found: &Deployment) -> Vec<String> {
    let (stablecoin, token) = (&policy.stablecoin, &policy.country_token);
    let code = hex::encode(token.country_code.to_word());
    let rows = [
        difference("treasury", treasury, found.treasury),
        difference("stablecoin name", &stablecoin.name, &found.stablecoin_name),
        difference("stablecoin symbol", &stablecoin.symbol, &found.stablecoin_symbol),
        difference(
            "stablecoin decimals",
            stablecoin.decimals,
            found.stablecoin_decimals,
        ),
        difference("country token name", &token.name, &found.country_token_name),
        difference("country token symbol", &token.symbol, &found.country_token_symbol),
        difference(
            "country token decimals",
            token.decimals,
            found.country_token_decimals,
        ),
        difference("country code", code, hex::encode(found.country_code)),
    ];
    rows.into_iter().flatten().collect()
}

fn compare_limits(policy: &Policy, found: &Deployment) -> Vec<String> {
    let (compliance, mint) = (&policy.compliance, &policy.mint);
    let twice_daily = mint.daily_limit_per_user.get().saturating_mul(2);
    let rows = [
        difference(
            "largest risk score",
            compliance.max_risk_score,
            found.max_risk_score,
        ),
        difference(
            "attestation required",
            compliance.attestation_required,
            found.attestation_required,
        ),
        difference(
            "smallest attestation age",
            compliance.min_attestation_age_seconds,
            found.min_attestation_age_seconds,
        ),
        difference("smallest mint", mint.min_amount, found.min_mint_amount),
        difference("largest mint", mint.max_amount, found.max_mint_amount),
        difference(
            "daily limit (twice the policy's)",
            twice_daily,
            found.daily_limit_per_user,
        ),
        difference(
            "hourly mint limit",
            mint.executor_mint_per_hour,
            found.executor_mint_per_hour,
        ),
        difference(
            "deposit expiry",
            policy.windows.deposit_expiry_seconds,
            found.deposit_expiry_seconds,
        ),
    ];
    rows.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::load(include_str!("../../../../deploy/policy.json"), []).unwrap()
    }

    fn matching_deployment() -> (Address, Deployment) {
        let treasury: Address = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap();
        let policy = policy();
        let deployment = Deployment {
            chain_id: 31430,
            treasury,
            stablecoin: treasury,
            stablecoin_name: "Dai Stablecoin".into(),
            stablecoin_symbol: "DAI".into(),
            stablecoin_decimals: 18,
            country_token: treasury,
            country_token_name: "Kenya Shilling Token".into(),
            country_token_symbol: "KES".into(),
            country_token_decimals: 18,
            compliance_source: treasury,
            max_risk_score: 91,
            attestation_required: true,
            min_attestation_age_seconds: 0,
            country_code: policy.country_token.country_code.to_word(),
            min_mint_amount: policy.mint.min_amount.get(),
            max_mint_amount: policy.mint.max_amount.get(),
            daily_limit_per_user: 2 * policy.mint.daily_limit_per_user.get(),
            executor_mint_per_hour: policy.mint.executor_mint_per_hour.get(),
            deposit_expiry_seconds: 604_800,
            version: "1.0.0".into(),
        };
        (treasury, deployment)
    }

    #[test]
    fn a_deployment_that_is_the_policys_has_no_difference() {
        let (treasury, found) = matching_deployment();
        assert_eq!(differences(&policy(), treasury, &found), Vec::<String>::new());
    }

    type Change = fn(&mut Deployment);

    fn other() -> Address {
        "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".parse().unwrap()
    }

    #[test]
    fn every_difference_is_named() {
        let (treasury, base) = matching_deployment();
        let changes: [(&str, Change); 14] = [
            ("treasury", |d| d.treasury = other()),
            ("stablecoin decimals", |d| d.stablecoin_decimals = 6),
            ("country token decimals", |d| d.country_token_decimals = 6),
            ("country code", |d| d.country_code = [0; 32]),
            ("stablecoin name", |d| d.stablecoin_name = "Tai".into()),
            ("country token name", |d| d.country_token_name = "Kenia".into()),
            ("largest risk score", |d| d.max_risk_score = 92),
            ("attestation required", |d| d.attestation_required = false),
            ("smallest attestation age", |d| d.min_attestation_age_seconds = 1),
            ("smallest mint", |d| d.min_mint_amount = 1),
            ("largest mint", |d| d.max_mint_amount = 1),
            ("daily limit", |d| d.daily_limit_per_user = 1),
            ("hourly mint limit", |d| d.executor_mint_per_hour = 1),
            ("deposit expiry", |d| d.deposit_expiry_seconds = 1),
        ];
        for (what, change) in changes {
            let mut found = base.clone();
            change(&mut found);
            let named = differences(&policy(), treasury, &found);
            assert!(
                named.len() == 1 && named[0].starts_with(what),
                "{what}: {named:?}"
            );
        }
    }
}
