// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What the escrow asks before it mints.
/// @notice A source either answers clearly or fails. A source that cannot answer (paused, broken) must
/// revert: the escrow reads a revert as "wait" and only a clean `false` as "refund".
interface IComplianceSource {
    /// @param user the account that would receive country tokens
    /// @return whether the user may be minted to now; an unknown user is a clean `false`
    function isCompliant(address user) external view returns (bool);
}
