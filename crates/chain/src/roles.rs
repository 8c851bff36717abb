//! The calls with which an admin grants or revokes EXECUTOR_ROLE. We hold no admin key; the calls are for a multisig,
//! and for tests.

use domain::address::Address;
use ethers::abi::AbiEncode;
use ethers::utils::keccak256;

use crate::bindings::mint_escrow::{GrantRoleCall, RevokeRoleCall};
use crate::convert::to_h160;

/// Calldata that grants EXECUTOR_ROLE to `account`.
pub fn grant_executor(account: &Address) -> Vec<u8> {
    GrantRoleCall {
        role: executor_role(),
        account: to_h160(account),
    }
    .encode()
}

/// Calldata that revokes EXECUTOR_ROLE from `account`.
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
