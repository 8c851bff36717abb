//! Typed calls and events generated from the committed ABI files; private to this crate.

use ethers::contract::abigen;

abigen!(MintEscrow, "../../contracts/abi/MintEscrow.json");
abigen!(ComplianceManager, "../../contracts/abi/ComplianceManager.json");
abigen!(UserRegistry, "../../contracts/abi/UserRegistry.json");
abigen!(Erc20, "../../contracts/abi/USDStablecoin.json");
