// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IComplianceSource} from "./IComplianceSource.sol";

/// @title The facts about users, and the one policy that decides who is compliant.
/// @notice Facts are written by the compliance manager alone. The policy lives beside the facts so that
/// there is exactly one place where "compliant" is defined.
interface IUserRegistry is IComplianceSource {
    /// @notice The facts of a user changed.
    event UserComplianceUpdated(
        address indexed user, uint8 riskScore, bytes32 attestationHash, bool isVerified
    );
    /// @notice The policy that decides who is compliant changed.
    event CompliancePolicyChanged(uint8 maxRiskScore, bool attestationRequired, uint64 minAttestationAge);

    /// @notice No facts were ever recorded for this user.
    error UserNotFound();
    /// @notice A risk score is 0 (best) to 100 (worst, also "not assessed").
    error InvalidRiskScore();
    /// @notice The caller does not hold the role the function needs.
    error Unauthorized();
    /// @notice The zero address is nobody's account.
    error InvalidUser();
    /// @notice 100 means "not assessed": a policy that admits it would admit unknown risk.
    error InvalidMaxRiskScore();
    /// @notice An age beyond ten years can only be a mistake and would lock everybody out.
    error InvalidMinAttestationAge();

    /// @notice Replaces all facts of a user.
    /// @dev Needs WRITER_ROLE, held by the ComplianceManager. The attestation's age restarts only when its hash
    /// changes. Reverts Unauthorized, InvalidUser, InvalidRiskScore.
    /// @param user not the zero address
    /// @param riskScore 0 (best) to 100 (worst)
    /// @param attestationHash hash of the off-chain attestation; zero removes it
    /// @param isVerified whether the identity was verified
    function updateUser(address user, uint8 riskScore, bytes32 attestationHash, bool isVerified) external;

    /// @notice Changes the policy. Needs ADMIN_ROLE. It applies to facts already recorded, from the next call on.
    /// @dev Reverts Unauthorized, InvalidMaxRiskScore, InvalidMinAttestationAge.
    /// @param maxRiskScore_ highest score that may still be minted to, at most 99
    /// @param attestationRequired_ whether a user without an attestation is refused
    /// @param minAttestationAge_ seconds an attestation must have existed, at most ten years
    function setCompliancePolicy(uint8 maxRiskScore_, bool attestationRequired_, uint64 minAttestationAge_)
        external;

    /// @notice The facts of a user; reverts UserNotFound for an unknown one.
    /// @return riskScore 0 (best) to 100 (worst)
    /// @return attestationHash zero when there is none
    /// @return lastUpdated block time of the last write, unix seconds
    /// @return isVerified whether the identity was verified
    function getUser(address user)
        external
        view
        returns (uint8 riskScore, bytes32 attestationHash, uint64 lastUpdated, bool isVerified);

    /// @notice Whether any fact was ever recorded.
    function isKnown(address user) external view returns (bool);

    /// @notice Reverts UserNotFound for an unknown user.
    function getRiskScore(address user) external view returns (uint8);

    /// @notice Reverts UserNotFound for an unknown user.
    function getAttestationHash(address user) external view returns (bytes32);

    /// @notice When the current attestation was first recorded (unix seconds), 0 when there is none.
    function getAttestedAt(address user) external view returns (uint64);

    /// @notice Highest risk score that may be minted to.
    function maxRiskScore() external view returns (uint8);

    /// @notice Whether an attestation is needed.
    function attestationRequired() external view returns (bool);

    /// @notice Seconds an attestation must have existed.
    function minAttestationAge() external view returns (uint64);

    /// @notice Version of the code behind the proxy.
    function version() external pure returns (string memory);
}
