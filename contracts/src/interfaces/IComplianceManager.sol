// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IComplianceSource} from "./IComplianceSource.sol";

/// @title Through which compliance officers write facts, and the source the escrow asks.
/// @notice Writes facts through to the user registry and answers from it. While paused it answers for nobody
/// (`isCompliant` reverts), so nothing is minted and nothing is refunded by mistake; it also accepts no
/// writes, so that a stolen officer key can be stopped.
interface IComplianceManager is IComplianceSource {
    /// @notice A risk score was set. `timestamp` is the block's, in unix seconds.
    event UserRiskUpdated(
        address indexed user, uint8 newRiskScore, address indexed updatedBy, uint256 timestamp
    );
    /// @notice An attestation was recorded; `attestationType` is the officer's label, zero when none was given.
    event AttestationRecorded(
        address indexed user,
        bytes32 indexed attestationHash,
        bytes32 attestationType,
        address indexed recordedBy
    );

    /// @notice An attestation's hash is never zero; use setUserCompliance to remove one.
    error InvalidAttestation();
    /// @notice The registry must be a contract.
    error InvalidRegistry();

    /// @notice Sets the risk score and leaves the other facts alone. Needs COMPLIANCE_OFFICER_ROLE.
    /// @dev A user unknown so far becomes known, unverified and without attestation. Reverts while paused, and with
    /// the registry's InvalidUser and InvalidRiskScore.
    /// @param riskScore 0 (best) to 100 (worst)
    function updateUserRisk(address user, uint8 riskScore) external;

    /// @notice Records an attestation, which verifies the user. Needs COMPLIANCE_OFFICER_ROLE.
    /// @dev A user unknown so far gets the worst risk score: nobody becomes compliant without an assessment.
    /// Reverts while paused, and with InvalidAttestation and the registry's InvalidUser.
    /// @param attestationHash hash of the off-chain attestation, not zero
    /// @param attestationType label of its kind, right-padded ASCII
    function recordAttestation(address user, bytes32 attestationHash, bytes32 attestationType) external;

    /// @notice Sets every fact of a user at once. Needs COMPLIANCE_OFFICER_ROLE.
    /// @dev Reverts while paused, and with the registry's InvalidUser and InvalidRiskScore.
    /// @param riskScore 0 (best) to 100 (worst)
    /// @param attestationHash hash of the off-chain attestation; zero removes it
    /// @param isVerified whether the identity was verified
    function setUserCompliance(address user, uint8 riskScore, bytes32 attestationHash, bool isVerified)
        external;

    /// @notice Stops judging and writing. Needs PAUSER_ROLE.
    function pause() external;

    /// @notice Judges and writes again. Needs UNPAUSER_ROLE, which is not the pauser's.
    function unpause() external;

    /// @notice Where the facts and the policy lie.
    function userRegistry() external view returns (address);

    /// @notice The registry's policy value, 0 to 99.
    function maxRiskScore() external view returns (uint8);

    /// @notice The registry's policy value.
    function attestationRequired() external view returns (bool);

    /// @notice The registry's policy value, in seconds.
    function minAttestationAge() external view returns (uint64);

    /// @notice Version of the code behind the proxy.
    function version() external pure returns (string memory);
}
