//! Reads how the contracts are set up: for the comparison with the policy at the start, and for the breakers' probes.

use domain::address::Address;
use ethers::providers::Middleware;
use ethers::types::U256;

use crate::bindings::compliance_manager as manager;
use crate::bindings::erc_20 as erc20;
use crate::bindings::mint_escrow as escrow;
use crate::client::{BlockRef, ChainClient};
use crate::convert::{from_h160, to_h160, to_u64};
use crate::error::ChainError;

/// Everything about the deployment that the policy prescribes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    pub chain_id: u64,
    pub treasury: Address,
    pub stablecoin: Address,
    pub stablecoin_name: String,
    pub stablecoin_symbol: String,
    pub stablecoin_decimals: u8,
    pub country_token: Address,
    pub country_token_name: String,
    pub country_token_symbol: String,
    pub country_token_decimals: u8,
    pub compliance_source: Address,
    pub max_risk_score: u8,
    pub attestation_required: bool,
    pub min_attestation_age_seconds: u64,
    /// Right-padded ASCII.
    pub country_code: [u8; 32],
    pub min_mint_amount: u128,
    pub max_mint_amount: u128,
    pub daily_limit_per_user: u128,
    pub executor_mint_per_hour: u128,
    pub deposit_expiry_seconds: u64,
    pub version: String,
}

/// State of the contracts and the treasury that a command depends on, whichever signer sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscrowStatus {
    pub escrow_paused: bool,
    pub token_paused: bool,
    /// `None`: the source does not answer `paused()` with a boolean.
    pub compliance_paused: Option<bool>,
    pub treasury_balance: u128,
    pub treasury_allowance: u128,
}

/// Balance and rights of one signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerStatus {
    /// Native balance, wei.
    pub balance: u128,
    /// Holds EXECUTOR_ROLE.
    pub may_execute: bool,
    /// How much it may still mint in this hour, base units.
    pub mint_available: u128,
}

impl ChainClient {
    pub async fn chain_id(&self) -> Result<u64, ChainError> {
        let method = "eth_chainId";
        let id = self
            .provider()
            .get_chainid()
            .await
            .map_err(|error| ChainError::from_provider(method, &error))?;
        to_u64(id).ok_or_else(|| ChainError::bad_answer(method, "a chain id past 2^64"))
    }

    pub async fn has_code(&self, account: &Address, at: BlockRef) -> Result<bool, ChainError> {
        let method = "eth_getCode";
        let code = self
            .provider()
            .get_code(to_h160(account), Some(at.block_id()))
            .await;
        Ok(!code
            .map_err(|error| ChainError::from_provider(method, &error))?
            .is_empty())
    }

    pub async fn may_execute(&self, executor: &Address, at: BlockRef) -> Result<bool, ChainError> {
        let role: [u8; 32] = self.view(&self.escrow(), escrow::ExecutorRoleCall, at).await?;
        let call = escrow::HasRoleCall {
            role,
            account: to_h160(executor),
        };
        self.view(&self.escrow(), call, at).await
    }

    pub async fn deployment(&self) -> Result<Deployment, ChainError> {
        let at = BlockRef::Latest;
        let (here, chain_id) = (self.escrow(), self.chain_id().await?);
        let stablecoin = self.account(escrow::StablecoinCall).await?;
        let country_token = self.account(escrow::CountryTokenCall).await?;
        let expiry: U256 = self.view(&here, escrow::DepositExpirySecondsCall, at).await?;
        let expiry =
            to_u64(expiry).ok_or_else(|| ChainError::bad_answer("eth_call", "an expiry past 2^64"))?;
        let compliance_source = self.account(escrow::UserRegistryCall).await?;
        Ok(Deployment {
            chain_id,
            treasury: self.account(escrow::TreasuryCall).await?,
            stablecoin,
            stablecoin_name: self.view(&stablecoin, erc20::NameCall, at).await?,
            stablecoin_symbol: self.view(&stablecoin, erc20::SymbolCall, at).await?,
            stablecoin_decimals: self.view(&stablecoin, erc20::DecimalsCall, at).await?,
            country_token,
            country_token_name: self.view(&country_token, erc20::NameCall, at).await?,
            country_token_symbol: self.view(&country_token, erc20::SymbolCall, at).await?,
            country_token_decimals: self.view(&country_token, erc20::DecimalsCall, at).await?,
            compliance_source,
            max_risk_score: self
                .view(&compliance_source, manager::MaxRiskScoreCall, at)
                .await?,
            attestation_required: self
                .view(&compliance_source, manager::AttestationRequiredCall, at)
                .await?,
            min_attestation_age_seconds: self
                .view(&compliance_source, manager::MinAttestationAgeCall, at)
                .await?,
            country_code: self.view(&here, escrow::CountryCodeCall, at).await?,
            min_mint_amount: self.units(&here, escrow::MinMintAmountCall, at).await?,
            max_mint_amount: self.units(&here, escrow::MaxMintAmountCall, at).await?,
            daily_limit_per_user: self.units(&here, escrow::DailyLimitPerUserCall, at).await?,
            executor_mint_per_hour: self.units(&here, escrow::ExecutorMintPerHourCall, at).await?,
            deposit_expiry_seconds: expiry,
            version: self.view(&here, escrow::VersionCall, at).await?,
        })
    }

    /// Reads what the breakers of the commands probe.
    pub async fn escrow_status(&self, on: &Deployment) -> Result<EscrowStatus, ChainError> {
        let (here, at) = (self.escrow(), BlockRef::Latest);
        let (owner, spender) = (to_h160(&on.treasury), to_h160(&here));
        // The compliance source may be any contract: one that has no `paused` is not paused.
        let compliance_paused = match self.view(&on.compliance_source, manager::PausedCall, at).await {
            Ok(paused) => Some(paused),
            Err(ChainError::Reverted(_) | ChainError::BadAnswer { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(EscrowStatus {
            escrow_paused: self.view(&here, escrow::PausedCall, at).await?,
            token_paused: self.view(&on.country_token, escrow::PausedCall, at).await?,
            compliance_paused,
            treasury_balance: self.token_balance(&on.stablecoin, &on.treasury, at).await?,
            treasury_allowance: self
                .units(&on.stablecoin, erc20::AllowanceCall { owner, spender }, at)
                .await?,
        })
    }

    /// Reads what the breakers of one signer probe.
    pub async fn signer_status(&self, executor: &Address) -> Result<SignerStatus, ChainError> {
        let at = BlockRef::Latest;
        let available = escrow::ExecutorMintAvailableCall {
            executor: to_h160(executor),
        };
        Ok(SignerStatus {
            balance: self.balance(executor, at).await?,
            may_execute: self.may_execute(executor, at).await?,
            mint_available: self.units(&self.escrow(), available, at).await?,
        })
    }

    /// ERC-20 balance, base units.
    pub async fn token_balance(
        &self,
        token: &Address,
        holder: &Address,
        at: BlockRef,
    ) -> Result<u128, ChainError> {
        self.units(
            token,
            erc20::BalanceOfCall {
                account: to_h160(holder),
            },
            at,
        )
        .await
    }

    /// ERC-20 supply, base units.
    pub async fn token_supply(&self, token: &Address, at: BlockRef) -> Result<u128, ChainError> {
        self.units(token, erc20::TotalSupplyCall, at).await
    }

    /// Sum of the deposits that are neither minted nor refunded yet.
    pub async fn pending_total(&self, at: BlockRef) -> Result<u128, ChainError> {
        self.units(&self.escrow(), escrow::PendingTotalCall, at).await
    }

    async fn units(
        &self,
        to: &Address,
        call: impl ethers::abi::AbiEncode,
        at: BlockRef,
    ) -> Result<u128, ChainError> {
        let value: U256 = self.view(to, call, at).await?;
        // An unlimited allowance is 2^256 - 1, and as good as 2^128 - 1.
        Ok(u128::try_from(value).unwrap_or(u128::MAX))
    }

    async fn account(&self, call: impl ethers::abi::AbiEncode) -> Result<Address, ChainError> {
        let found: ethers::types::Address = self.view(&self.escrow(), call, BlockRef::Latest).await?;
        from_h160(found).ok_or_else(|| ChainError::bad_answer("eth_call", "the zero address"))
    }
}
