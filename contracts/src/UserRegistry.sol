// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Governed} from "./base/Governed.sol";
import {IComplianceSource} from "./interfaces/IComplianceSource.sol";
import {IUserRegistry} from "./interfaces/IUserRegistry.sol";

/// @title The facts about users, and the one policy that decides who is compliant.
contract UserRegistry is IUserRegistry, Governed {
    /// @notice May write facts; held by the compliance manager.
    bytes32 public constant WRITER_ROLE = keccak256("WRITER_ROLE");
    /// @notice Worst score, also that of a user nobody assessed.
    uint8 public constant WORST_RISK_SCORE = 100;

    uint64 private constant MAX_ATTESTATION_AGE = 3650 days;

    /// @dev Two slots. `isCompliant` reads only the first: `attestedAt` is zero exactly when the hash is.
    struct Facts {
        uint8 riskScore;
        bool isVerified;
        uint64 lastUpdated;
        uint64 attestedAt;
        bytes32 attestationHash;
    }

    /// @dev ERC-7201: where the storage of this namespace begins.
    bytes32 private constant STORAGE_SLOT = keccak256(
        abi.encode(uint256(keccak256("fiatrails.storage.UserRegistry")) - 1)
    ) & ~bytes32(uint256(0xff));

    /// @custom:storage-location erc7201:fiatrails.storage.UserRegistry
    struct RegistryStorage {
        uint8 maxRiskScore;
        bool attestationRequired;
        uint64 minAttestationAge;
        mapping(address user => Facts) facts;
    }

    function _registry() private pure returns (RegistryStorage storage $) {
        bytes32 slot = STORAGE_SLOT;
        assembly {
            $.slot := slot
        }
    }

    /// @notice Runs once, through the proxy.
    /// @param admin holder of DEFAULT_ADMIN_ROLE and ADMIN_ROLE
    /// @param adminDelay seconds a handover of DEFAULT_ADMIN_ROLE must wait
    /// @param upgrader holder of UPGRADER_ROLE
    /// @param writer holder of WRITER_ROLE, the compliance manager
    function initialize(
        address admin,
        uint48 adminDelay,
        address upgrader,
        address writer,
        uint8 maxRiskScore_,
        bool attestationRequired_,
        uint64 minAttestationAge_
    ) external initializer {
        if (writer == address(0)) revert InvalidRoleHolder();
        __Governed_init(admin, adminDelay, upgrader);
        _grantRole(WRITER_ROLE, writer);
        _setCompliancePolicy(maxRiskScore_, attestationRequired_, minAttestationAge_);
    }

    /// @inheritdoc IUserRegistry
    function updateUser(address user, uint8 riskScore, bytes32 attestationHash, bool isVerified)
        external
        onlyRole(WRITER_ROLE)
    {
        if (user == address(0)) revert InvalidUser();
        if (riskScore > WORST_RISK_SCORE) revert InvalidRiskScore();
        Facts storage facts = _registry().facts[user];
        if (facts.attestationHash != attestationHash) {
            facts.attestationHash = attestationHash;
            facts.attestedAt = attestationHash == bytes32(0) ? 0 : uint64(block.timestamp);
        }
        facts.riskScore = riskScore;
        facts.isVerified = isVerified;
        facts.lastUpdated = uint64(block.timestamp);
        emit UserComplianceUpdated(user, riskScore, attestationHash, isVerified);
    }

    /// @inheritdoc IUserRegistry
    function setCompliancePolicy(uint8 maxRiskScore_, bool attestationRequired_, uint64 minAttestationAge_)
        external
        onlyRole(ADMIN_ROLE)
    {
        _setCompliancePolicy(maxRiskScore_, attestationRequired_, minAttestationAge_);
    }

    /// @inheritdoc IComplianceSource
    function isCompliant(address user) external view returns (bool) {
        RegistryStorage storage $ = _registry();
        Facts storage facts = $.facts[user];
        if (!facts.isVerified || facts.riskScore > $.maxRiskScore) return false;
        uint256 attestedAt = facts.attestedAt;
        if (attestedAt == 0) return !$.attestationRequired;
        return block.timestamp >= attestedAt + $.minAttestationAge;
    }

    /// @inheritdoc IUserRegistry
    function getUser(address user)
        external
        view
        returns (uint8 riskScore, bytes32 attestationHash, uint64 lastUpdated, bool isVerified)
    {
        Facts storage facts = _known(user);
        return (facts.riskScore, facts.attestationHash, facts.lastUpdated, facts.isVerified);
    }

    /// @inheritdoc IUserRegistry
    function isKnown(address user) external view returns (bool) {
        return _registry().facts[user].lastUpdated != 0;
    }

    /// @inheritdoc IUserRegistry
    function getRiskScore(address user) external view returns (uint8) {
        return _known(user).riskScore;
    }

    /// @inheritdoc IUserRegistry
    function getAttestationHash(address user) external view returns (bytes32) {
        return _known(user).attestationHash;
    }

    /// @inheritdoc IUserRegistry
    function getAttestedAt(address user) external view returns (uint64) {
        return _known(user).attestedAt;
    }

    /// @inheritdoc IUserRegistry
    function maxRiskScore() external view returns (uint8) {
        return _registry().maxRiskScore;
    }

    /// @inheritdoc IUserRegistry
    function attestationRequired() external view returns (bool) {
        return _registry().attestationRequired;
    }

    /// @inheritdoc IUserRegistry
    function minAttestationAge() external view returns (uint64) {
        return _registry().minAttestationAge;
    }

    /// @inheritdoc IUserRegistry
    function version() external pure returns (string memory) {
        return "1.0.0";
    }

    function _known(address user) private view returns (Facts storage facts) {
        facts = _registry().facts[user];
        if (facts.lastUpdated == 0) revert UserNotFound();
    }

    function _setCompliancePolicy(uint8 maxRiskScore_, bool attestationRequired_, uint64 minAttestationAge_)
        private
    {
        if (maxRiskScore_ >= WORST_RISK_SCORE) revert InvalidMaxRiskScore();
        if (minAttestationAge_ > MAX_ATTESTATION_AGE) revert InvalidMinAttestationAge();
        RegistryStorage storage $ = _registry();
        $.maxRiskScore = maxRiskScore_;
        $.attestationRequired = attestationRequired_;
        $.minAttestationAge = minAttestationAge_;
        emit CompliancePolicyChanged(maxRiskScore_, attestationRequired_, minAttestationAge_);
    }

    /// @dev The registry speaks its own error, which integrations know by name.
    function _checkRole(bytes32 role, address account) internal view override {
        if (!hasRole(role, account)) revert Unauthorized();
    }
}
