//! A node with the real contracts, and a client of it that signs as the executor.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chain::compliance::Assessment;
use chain::fees::{DEFAULT_TX_FEE_CAP, FeePolicy};
use chain::transaction::{EvmTransaction, SignedTransaction};
use chain::{BlockRef, ChainClient, EscrowEvent, LocalKey, RpcConfig, SendOutcome, Signer};
use domain::address::Address;
use domain::country::CountryCode;
use domain::ids::{IntentId, Preimage};
use testkit::anvil::{ADMIN_PRIVATE_KEY, EXECUTOR_PRIVATE_KEY, Mining};
use testkit::{Addresses, Anvil};

const FEES: FeePolicy = FeePolicy {
    max_fee_per_gas: 100_000_000_000,
    priority_fee_per_gas: 1_000_000_000,
    tx_fee_cap: DEFAULT_TX_FEE_CAP,
};

pub struct World {
    pub node: Anvil,
    pub at: Addresses,
    pub chain: ChainClient,
    pub executor: LocalKey,
    pub admin: LocalKey,
}

impl World {
    pub async fn new() -> Result<Self> {
        let (node, at) = Anvil::deployed(Mining::Manual).await?;
        let config = RpcConfig::new(vec![node.url().into()], Duration::from_secs(5));
        let chain = ChainClient::new(&config, at.escrow.parse()?)?;
        Ok(Self {
            node,
            at,
            chain,
            executor: EXECUTOR_PRIVATE_KEY.parse()?,
            admin: ADMIN_PRIVATE_KEY.parse()?,
        })
    }

    pub fn intent(&self, n: u64) -> Result<Preimage> {
        let mut user = [0x42; 20];
        user[12..].copy_from_slice(&n.to_be_bytes());
        Ok(Preimage {
            chain_id: testkit::anvil::CHAIN_ID,
            escrow: self.chain.escrow(),
            depositor: self.at.treasury.parse()?,
            user: Address::from_bytes(user)?,
            amount: "150000000000000000000".parse()?,
            country_code: CountryCode::KES,
            tx_ref: format!("TX{n:010}").parse()?,
        })
    }

    pub async fn sign(&self, nonce: u64, gas_limit: u64, data: Vec<u8>) -> Result<SignedTransaction> {
        let head = self.chain.latest_header().await?;
        let transaction = EvmTransaction {
            chain_id: self.chain.chain_id().await?,
            nonce,
            to: self.chain.escrow(),
            gas_limit,
            fees: FEES.market_fees(head.base_fee, gas_limit)?,
            data,
        };
        Ok(transaction.sign(&self.executor).await?)
    }

    /// Sends and mines; the outcome of each item by its log, and the gas used.
    pub async fn batch(&self, data: Vec<u8>) -> Result<(Vec<EscrowEvent>, u64)> {
        let nonce = self
            .chain
            .nonce(&self.executor.address(), BlockRef::Latest)
            .await?;
        let signed = self.sign(nonce, 16_000_000, data).await?;
        let sent = self.chain.send_raw(&signed.raw, signed.hash).await;
        ensure!(sent == SendOutcome::Accepted, "{sent:?}");
        self.node.mine(1).await?;
        let receipt = self.chain.receipt(signed.hash).await?.context("mined")?;
        ensure!(receipt.succeeded);
        let logs = self.chain.escrow_logs(receipt.block_hash).await?;
        ensure!(logs.iter().all(|log| log.tx_hash == signed.hash));
        Ok((logs.into_iter().map(|log| log.event).collect(), receipt.gas_used))
    }

    pub async fn make_compliant(&self, user: &Address) -> Result<()> {
        self.node
            .rpc("evm_setAutomine", serde_json::json!([true]))
            .await?;
        let manager = self.at.compliance_manager.parse()?;
        let compliant = Assessment {
            risk_score: 10,
            attestation: [7; 32],
            verified: true,
        };
        self.chain
            .set_user_compliance(&self.admin, &manager, user, &compliant, Duration::from_secs(5))
            .await?;
        self.node
            .rpc("evm_setAutomine", serde_json::json!([false]))
            .await?;
        Ok(())
    }
}

pub fn ids(intents: &[Preimage]) -> Vec<IntentId> {
    intents.iter().map(Preimage::intent_id).collect()
}
