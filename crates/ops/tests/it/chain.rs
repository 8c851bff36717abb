//! Compliance and reconciliation against a real node with the contracts deployed.

use anyhow::Result;
use testkit::anvil::{self, Mining};
use testkit::{Addresses, Anvil, Database, Servers};

use crate::cli::Cli;

const USER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const HASH: &str = "0x6b79630000000000000000000000000000000000000000000000000000000001";

async fn fixture() -> Result<(Cli, Database, Anvil, Addresses)> {
    let database = Servers::shared()?.database().await?;
    let (node, addresses) = Anvil::deployed(Mining::Automine).await?;
    let cli = Cli::new()
        .on(&database)?
        .with("RPC_URL", node.url())
        .with("CHAIN_ID", anvil::CHAIN_ID.to_string())
        .with("ESCROW_ADDRESS", addresses.escrow.as_str())
        .with("TREASURY_ADDRESS", addresses.treasury.as_str())
        .with(
            "COMPLIANCE_MANAGER_ADDRESS",
            addresses.compliance_manager.as_str(),
        )
        .with("DEV_ADMIN_PRIVATE_KEY", anvil::ADMIN_PRIVATE_KEY);
    Ok((cli, database, node, addresses))
}

#[tokio::test]
async fn compliance_is_set_on_chain_and_audited() -> Result<()> {
    let (cli, database, _node, _) = fixture().await?;
    let nobody = cli.run(&["compliance", "show", USER, "--json"])?;
    assert_eq!(nobody.code, 1, "{nobody:?}");
    let set = cli.json(&[
        "compliance",
        "set",
        USER,
        "--risk",
        "10",
        "--attestation",
        HASH,
        "--reason",
        "first review",
    ])?;
    assert_eq!(
        (&set["compliant"], &set["attestation"]),
        (&true.into(), &HASH.into()),
        "{set}"
    );
    assert!(cli.ok(&["compliance", "show", USER])?.contains("compliant"));
    let risky = cli.json(&[
        "compliance",
        "set",
        USER,
        "--risk",
        "95",
        "--unverified",
        "--reason",
        "case 7",
    ])?;
    assert_eq!(
        (&risky["compliant"], &risky["verified"]),
        (&false.into(), &false.into()),
        "{risky}"
    );
    assert_eq!(cli.run(&["compliance", "show", USER])?.code, 1);
    let audit = database.sql("select action || ' ' || reason from audit_log order by id")?;
    assert!(
        audit.ends_with("compliance.set case 7\ncompliance.set.done case 7"),
        "{audit}"
    );
    Ok(())
}

#[tokio::test]
async fn compliance_refuses_a_wrong_chain_a_wrong_key_and_a_wrong_score() -> Result<()> {
    let (cli, _database, _node, _) = fixture().await?;
    let set = ["compliance", "set", USER, "--risk", "10", "--reason", "review"];
    let elsewhere = cli.clone().with("CHAIN_ID", "1").run(&set)?;
    assert!(
        elsewhere.code == 2 && elsewhere.stderr.contains("CHAIN_ID"),
        "{elsewhere:?}"
    );
    let stranger = cli
        .clone()
        .with("DEV_ADMIN_PRIVATE_KEY", anvil::EXECUTOR_PRIVATE_KEY)
        .run(&set)?;
    assert!(
        stranger.code == 2 && !stranger.stderr.contains(&anvil::EXECUTOR_PRIVATE_KEY[2..]),
        "{stranger:?}"
    );
    let score = cli.run(&["compliance", "set", USER, "--risk", "101", "--reason", "x"])?;
    assert!(score.code == 2 && score.stderr.contains("--risk"), "{score:?}");
    let checksum = cli.run(&["compliance", "show", "0x70997970c51812dc3A010C7d01b50e0d17dc79C8"])?;
    assert!(
        checksum.code == 2 && checksum.stderr.contains("checksum"),
        "{checksum:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_untouched_deployment_reconciles() -> Result<()> {
    let (cli, database, node, addresses) = fixture().await?;
    node.mine(20).await?;
    let report = cli.json(&["reconcile"])?;
    assert_eq!(report["differences"], serde_json::json!([]), "{report}");
    // A row that claims a mint the chain knows nothing about.
    let (escrow, id) = (&addresses.escrow[2..], "ab".repeat(32));
    database.sql(&format!(
        "insert into mint_intents (intent_id, integrator, chain_id, escrow, depositor, user_address, amount, country_code, \
         tx_ref, idempotency_key, mac_key_id, mac) values (decode('{id}', 'hex'), 'acme', 31430, decode('{escrow}', 'hex'), \
         decode(repeat('22', 20), 'hex'), decode(repeat('33', 20), 'hex'), 150000000000000000000, 'KES', 'TX1', 'k', 'sk', \
         decode(repeat('00', 32), 'hex'))"
    ))?;
    let ran = cli.run(&["reconcile", "--json"])?;
    assert_eq!(ran.code, 1, "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!(report["differences"][0]["kind"], "row_changed", "{report}");
    Ok(())
}

#[tokio::test]
async fn a_deposit_a_user_made_directly_is_listed_apart() -> Result<()> {
    let (cli, _database, node, addresses) = fixture().await?;
    direct_deposit(&node, &addresses)?;
    node.mine(20).await?;
    let report = cli.json(&["reconcile"])?;
    assert_eq!(report["differences"], serde_json::json!([]), "{report}");
    let direct = &report["directDeposits"][0];
    assert_eq!(
        (&direct["user"], &direct["state"]),
        (&USER.into(), &"pending".into()),
        "{report}"
    );
    assert_eq!(direct["amount"], "5000000000000000000");
    Ok(())
}

/// The user mints themselves some development stablecoin, approves the escrow, and deposits 5.
pub fn direct_deposit(node: &Anvil, addresses: &Addresses) -> Result<()> {
    let word = |text: &str| format!("0x{:0<64}", hex::encode(text));
    let amount = "5000000000000000000";
    let (country, tx_ref) = (word("KES"), word("DIRECT-1"));
    let calls: [(&str, &str, &[&str]); 3] = [
        (&addresses.stablecoin, "mint(address,uint256)", &[USER, amount]),
        (
            &addresses.stablecoin,
            "approve(address,uint256)",
            &[&addresses.escrow, amount],
        ),
        (
            &addresses.escrow,
            "submitIntent(uint256,bytes32,bytes32)",
            &[amount, &country, &tx_ref],
        ),
    ];
    for (contract, signature, args) in calls {
        // Minting is the development admin's; the rest is the user's own (account 1 of the test mnemonic).
        let key = if signature.starts_with("mint") {
            anvil::ADMIN_PRIVATE_KEY
        } else {
            anvil::DEV_PRIVATE_KEYS[1]
        };
        let mut cast = std::process::Command::new(anvil::foundry_binary("cast")?);
        cast.args([
            "send",
            "--rpc-url",
            &node.url(),
            "--private-key",
            key,
            contract,
            signature,
        ])
        .args(args);
        testkit::process::run(&mut cast)?;
    }
    Ok(())
}
