//! Compares the deployment on chain with the policy before anything is sent. On a difference the executor stays up,
//! reports the problem in its heartbeat, and does no work.

use std::time::Duration;

use chain::inspect::Deployment;
use chain::{BlockRef, ChainError};
use domain::address::Address;
use domain::policy::Policy;
use runtime::Stop;

use crate::context::{Context, ExecutorProblem};

const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// Checks until the deployment is correct; true once it is, false at the stop.
pub async fn wait_until_correct(ctx: &Context, treasury: Address, stop: &Stop) -> bool {
    loop {
        let problem = match find_problems(ctx, treasury).await {
            Ok(problems) if problems.is_empty() => None,
            Ok(problems) => Some(ExecutorProblem::WrongDeployment(problems.join("; "))),
            Err(error) => Some(ExecutorProblem::NotChecked(format!(
                "the deployment cannot be read: {error}"
            ))),
        };
        let changed = ctx.problem.send_if_modified(|now| {
            let changed = *now != problem;
            now.clone_from(&problem);
            changed
        });
        match problem {
            None => return true,
            Some(problem) if changed => tracing::error!(%problem, "refusing to work"),
            Some(_) => {}
        }
        if !stop.sleep(RETRY_INTERVAL).await {
            return false;
        }
    }
}

async fn find_problems(ctx: &Context, treasury: Address) -> Result<Vec<String>, ChainError> {
    let chain_id = ctx.chain.chain_id().await?;
    if chain_id != ctx.policy.chain.chain_id {
        return Ok(vec![format!(
            "the node's chain id is {chain_id}, the policy's {}",
            ctx.policy.chain.chain_id
        )]);
    }
    if !ctx.chain.has_code(&ctx.chain.escrow(), BlockRef::Latest).await? {
        return Ok(vec![format!(
            "there is no contract at ESCROW_ADDRESS {}",
            ctx.chain.escrow()
        )]);
    }
    let found = match ctx.chain.deployment().await {
        Ok(found) => found,
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => {
            return Ok(vec![format!(
                "the contract at ESCROW_ADDRESS is no escrow of ours: {error}"
            )]);
        }
    };
    let problems = differences(&ctx.policy, treasury, &found);
    ctx.breakers.set_deployment(found);
    // A signer without the role or without gas blocks its own share only.
    for signer in &ctx.signers {
        let status = ctx.chain.signer_status(&signer.address()).await?;
        if let Err(why) = crate::signer_handle::can_sign(&status, ctx.tuning.min_signer_balance) {
            tracing::error!(signer = %signer.address(), why, "a signing key cannot work");
            signer.role_and_balance.trip(&why);
        }
    }
    Ok(problems)
}

/// One sentence for each difference between policy and chain. Pure.
pub fn differences(policy: &Policy, treasury: Address, found: &Deployment) -> Vec<String> {
    let twice_daily = policy.mint.daily_limit_per_user.get().saturating_mul(2);
    let code = policy.country_token.country_code;
    let rows = [
        ("treasury", treasury.to_string(), found.treasury.to_string()),
        (
            "stablecoin name",
            policy.stablecoin.name.clone(),
            found.stablecoin_name.clone(),
        ),
        (
            "stablecoin symbol",
            policy.stablecoin.symbol.clone(),
            found.stablecoin_symbol.clone(),
        ),
        (
            "stablecoin decimals",
            policy.stablecoin.decimals.to_string(),
            found.stablecoin_decimals.to_string(),
        ),
        (
            "country token name",
            policy.country_token.name.clone(),
            found.country_token_name.clone(),
        ),
        (
            "country token symbol",
            policy.country_token.symbol.clone(),
            found.country_token_symbol.clone(),
        ),
        (
            "country token decimals",
            policy.country_token.decimals.to_string(),
            found.country_token_decimals.to_string(),
        ),
        (
            "country code",
            hex::encode(code.to_word()),
            hex::encode(found.country_code),
        ),
        (
            "largest risk score",
            policy.compliance.max_risk_score.to_string(),
            found.max_risk_score.to_string(),
        ),
        (
            "attestation required",
            policy.compliance.attestation_required.to_string(),
            found.attestation_required.to_string(),
        ),
        (
            "smallest attestation age",
            policy.compliance.min_attestation_age_seconds.to_string(),
            found.min_attestation_age_seconds.to_string(),
        ),
        (
            "smallest mint",
            policy.mint.min_amount.to_string(),
            found.min_mint_amount.to_string(),
        ),
        (
            "largest mint",
            policy.mint.max_amount.to_string(),
            found.max_mint_amount.to_string(),
        ),
        (
            "daily limit (twice the policy's)",
            twice_daily.to_string(),
            found.daily_limit_per_user.to_string(),
        ),
        (
            "hourly mint limit",
            policy.mint.executor_mint_per_hour.to_string(),
            found.executor_mint_per_hour.to_string(),
        ),
        (
            "deposit expiry",
            policy.windows.deposit_expiry_seconds.to_string(),
            found.deposit_expiry_seconds.to_string(),
        ),
    ];
    rows.into_iter()
        .filter(|(_, expected, found)| expected != found)
        .map(|(what, expected, found)| format!("{what}: expected {expected}, the chain has {found}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::load(include_str!("../../../deploy/policy.json"), []).unwrap()
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

    #[test]
    fn every_difference_is_named() {
        let (treasury, base) = matching_deployment();
        let other: Address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".parse().unwrap();
        let changed = [
            (
                "treasury",
                Deployment {
                    treasury: other,
                    ..base.clone()
                },
            ),
            (
                "stablecoin decimals",
                Deployment {
                    stablecoin_decimals: 6,
                    ..base.clone()
                },
            ),
            (
                "country token decimals",
                Deployment {
                    country_token_decimals: 6,
                    ..base.clone()
                },
            ),
            (
                "country code",
                Deployment {
                    country_code: [0; 32],
                    ..base.clone()
                },
            ),
            (
                "stablecoin name",
                Deployment {
                    stablecoin_name: "Tai".into(),
                    ..base.clone()
                },
            ),
            (
                "country token name",
                Deployment {
                    country_token_name: "Kenia".into(),
                    ..base.clone()
                },
            ),
            (
                "largest risk score",
                Deployment {
                    max_risk_score: 92,
                    ..base.clone()
                },
            ),
            (
                "attestation required",
                Deployment {
                    attestation_required: false,
                    ..base.clone()
                },
            ),
            (
                "smallest attestation age",
                Deployment {
                    min_attestation_age_seconds: 1,
                    ..base.clone()
                },
            ),
            (
                "smallest mint",
                Deployment {
                    min_mint_amount: 1,
                    ..base.clone()
                },
            ),
            (
                "largest mint",
                Deployment {
                    max_mint_amount: 1,
                    ..base.clone()
                },
            ),
            (
                "daily limit",
                Deployment {
                    daily_limit_per_user: 1,
                    ..base.clone()
                },
            ),
            (
                "hourly mint limit",
                Deployment {
                    executor_mint_per_hour: 1,
                    ..base.clone()
                },
            ),
            (
                "deposit expiry",
                Deployment {
                    deposit_expiry_seconds: 1,
                    ..base
                },
            ),
        ];
        for (what, found) in changed {
            let named = differences(&policy(), treasury, &found);
            assert!(
                named.len() == 1 && named[0].starts_with(what),
                "{what}: {named:?}"
            );
        }
    }
}
