//! Who may execute: what an admin signs to give a key that right, or to take it away. We hold no admin key; the calls
//! are for a multisig, and for tests.

use domain::address::Address;
use ethers::abi::AbiEncode;
use ethers::utils::keccak256;

use crate::bindings::mint_escrow::{GrantRoleCall, RevokeRoleCall};
use crate::convert::to_h160;

/// Data of the admin's call to the escrow that gives `account` EXECUTOR_ROLE.
pub fn grant_executor(account: &Address) -> Vec<u8> {
    GrantRoleCall {
        role: executor_role(),
        account: to_h160(account),
    }
    .encode()
}

/// Data of the admin's call to the escrow that takes EXECUTOR_ROLE from `account`.
pub fn revoke_executor(account: &Address) -> Vec<u8> {
    RevokeRoleCall {
        role: executor_role(),
        account: to_h160(account),
    }
    .encode()
}

fn executor_role() -> [u8; 32] {
    keccak256("EXECUTOR_ROLE")
}
