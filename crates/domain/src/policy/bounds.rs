//! What the values of a policy must be for the rules to hold.

use super::{
    ChainPolicy, CompliancePolicy, CountryTokenPolicy, MintPolicy, Policy, PolicyError, TokenPolicy,
    WindowPolicy,
};
use crate::money::BaseUnits;
use crate::retry::RetryPolicy;

/// A field, and what is wrong with it unless `holds`.
struct Check {
    holds: bool,
    field: &'static str,
    problem: &'static str,
}

const fn check(holds: bool, field: &'static str, problem: &'static str) -> Check {
    Check {
        holds,
        field,
        problem,
    }
}

/// Refuses the first field that is wrong.
pub(super) fn validate(policy: &Policy) -> Result<(), PolicyError> {
    let checks = chain(&policy.chain)
        .into_iter()
        .chain(stablecoin(&policy.stablecoin))
        .chain(country_token(&policy.country_token))
        .chain(compliance(&policy.compliance))
        .chain(mint(&policy.mint))
        .chain(retry(&policy.retry))
        .chain(windows(&policy.windows));
    match checks.into_iter().find(|check| !check.holds) {
        None => Ok(()),
        Some(wrong) => Err(PolicyError::Invalid {
            field: wrong.field.to_owned(),
            problem: wrong.problem.to_owned(),
        }),
    }
}

fn chain(policy: &ChainPolicy) -> [Check; 4] {
    [
        check(policy.chain_id > 0, "chain.chainId", "must not be 0"),
        check(policy.block_time_ms > 0, "chain.blockTimeMs", "must not be 0"),
        check(
            policy.confirmations > 0,
            "chain.confirmations",
            "must not be 0: a block that can still go is not final",
        ),
        check(policy.rpc_timeout_ms > 0, "chain.rpcTimeoutMs", "must not be 0"),
    ]
}

fn stablecoin(policy: &TokenPolicy) -> [Check; 3] {
    [
        check(
            !policy.symbol.is_empty(),
            "stablecoin.symbol",
            "must not be empty",
        ),
        check(!policy.name.is_empty(), "stablecoin.name", "must not be empty"),
        check(
            policy.decimals == 18,
            "stablecoin.decimals",
            "must be 18: deposits are 1:1",
        ),
    ]
}

fn country_token(policy: &CountryTokenPolicy) -> [Check; 3] {
    [
        check(
            !policy.symbol.is_empty(),
            "countryToken.symbol",
            "must not be empty",
        ),
        check(!policy.name.is_empty(), "countryToken.name", "must not be empty"),
        check(
            policy.decimals == 18,
            "countryToken.decimals",
            "must be 18: mints are 1:1",
        ),
    ]
}

fn compliance(policy: &CompliancePolicy) -> [Check; 1] {
    [check(
        policy.max_risk_score <= 100,
        "compliance.maxRiskScore",
        "must be at most 100",
    )]
}

fn mint(policy: &MintPolicy) -> [Check; 5] {
    [
        check(
            policy.min_amount > BaseUnits::ZERO,
            "mint.minAmount",
            "must not be 0",
        ),
        check(
            policy.min_amount <= policy.max_amount,
            "mint.maxAmount",
            "must not be below mint.minAmount",
        ),
        check(
            policy.max_amount <= policy.daily_limit_per_user,
            "mint.dailyLimitPerUser",
            "must not be below mint.maxAmount",
        ),
        check(
            policy.max_amount <= policy.executor_mint_per_hour,
            "mint.executorMintPerHour",
            "must not be below mint.maxAmount",
        ),
        check(policy.max_unpaid > 0, "mint.maxUnpaid", "must not be 0"),
    ]
}

fn retry(policy: &RetryPolicy) -> [Check; 4] {
    [
        check(
            (1..=20).contains(&policy.max_attempts),
            "retry.maxAttempts",
            "must be 1 to 20",
        ),
        check(policy.base_ms > 0, "retry.baseMs", "must not be 0"),
        check(
            policy.base_ms <= policy.cap_ms,
            "retry.capMs",
            "must not be below retry.baseMs",
        ),
        check(!policy.seed.is_empty(), "retry.seed", "must not be empty"),
    ]
}

fn windows(policy: &WindowPolicy) -> [Check; 7] {
    [
        check(
            policy.payment_seconds > 0,
            "windows.paymentSeconds",
            "must not be 0",
        ),
        check(
            policy.payment_seconds < policy.deposit_expiry_seconds,
            "windows.depositExpirySeconds",
            "must be longer than windows.paymentSeconds",
        ),
        check(
            policy.orphan_match_seconds > 0,
            "windows.orphanMatchSeconds",
            "must not be 0",
        ),
        check(
            policy.redrive_seconds > 0,
            "windows.redriveSeconds",
            "must not be 0",
        ),
        check(
            policy.freshness_seconds > 0,
            "windows.freshnessSeconds",
            "must not be 0",
        ),
        check(
            policy.idempotency_seconds >= policy.freshness_seconds,
            "windows.idempotencySeconds",
            "must not be below windows.freshnessSeconds, or a captured request could be replayed",
        ),
        check(
            policy.webhook_timeout_ms > 0,
            "windows.webhookTimeoutMs",
            "must not be 0",
        ),
    ]
}
