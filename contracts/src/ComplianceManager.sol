// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {GovernedPausable} from "./base/GovernedPausable.sol";
import {IComplianceManager} from "./interfaces/IComplianceManager.sol";
import {IComplianceSource} from "./interfaces/IComplianceSource.sol";
import {IUserRegistry} from "./interfaces/IUserRegistry.sol";

/// @title Through which compliance officers write facts, and the source the escrow asks.
contract ComplianceManager is IComplianceManager, GovernedPausable {
    /// @notice May change users' facts.
    bytes32 public constant COMPLIANCE_OFFICER_ROLE = keccak256("COMPLIANCE_OFFICER_ROLE");

    uint8 private constant NOT_ASSESSED = 100;

    /// @dev ERC-7201: where the storage of this namespace begins.
    bytes32 private constant STORAGE_SLOT = keccak256(
        abi.encode(uint256(keccak256("fiatrails.storage.ComplianceManager")) - 1)
    ) & ~bytes32(uint256(0xff));

    /// @custom:storage-location erc7201:fiatrails.storage.ComplianceManager
    struct ManagerStorage {
        IUserRegistry registry;
    }

    function _manager() private pure returns (ManagerStorage storage $) {
        bytes32 slot = STORAGE_SLOT;
        assembly {
            $.slot := slot
        }
    }

    /// @notice Runs once, through the proxy.
    /// @param admin holder of DEFAULT_ADMIN_ROLE and ADMIN_ROLE
    /// @param adminDelay seconds a handover of DEFAULT_ADMIN_ROLE must wait
    /// @param registry the user registry, which must grant this contract its WRITER_ROLE
    /// @param officers first holders of COMPLIANCE_OFFICER_ROLE
    function initialize(
        address admin,
        uint48 adminDelay,
        address upgrader,
        address pauser,
        address unpauser,
        address registry,
        address[] calldata officers
    ) external initializer {
        if (registry.code.length == 0) revert InvalidRegistry();
        __GovernedPausable_init(admin, adminDelay, upgrader, pauser, unpauser);
        _manager().registry = IUserRegistry(registry);
        for (uint256 i = 0; i < officers.length; ++i) {
            if (officers[i] == address(0)) revert InvalidRoleHolder();
            _grantRole(COMPLIANCE_OFFICER_ROLE, officers[i]);
        }
    }

    /// @inheritdoc IComplianceManager
    function updateUserRisk(address user, uint8 riskScore)
        external
        whenNotPaused
        onlyRole(COMPLIANCE_OFFICER_ROLE)
    {
        IUserRegistry registry = _manager().registry;
        bytes32 attestationHash;
        bool isVerified;
        if (registry.isKnown(user)) (, attestationHash,, isVerified) = registry.getUser(user);
        emit UserRiskUpdated(user, riskScore, msg.sender, block.timestamp);
        registry.updateUser(user, riskScore, attestationHash, isVerified);
    }

    /// @inheritdoc IComplianceManager
    function recordAttestation(address user, bytes32 attestationHash, bytes32 attestationType)
        external
        whenNotPaused
        onlyRole(COMPLIANCE_OFFICER_ROLE)
    {
        if (attestationHash == bytes32(0)) revert InvalidAttestation();
        IUserRegistry registry = _manager().registry;
        uint8 riskScore = registry.isKnown(user) ? registry.getRiskScore(user) : NOT_ASSESSED;
        emit AttestationRecorded(user, attestationHash, attestationType, msg.sender);
        registry.updateUser(user, riskScore, attestationHash, true);
    }

    /// @inheritdoc IComplianceManager
    function setUserCompliance(address user, uint8 riskScore, bytes32 attestationHash, bool isVerified)
        external
        whenNotPaused
        onlyRole(COMPLIANCE_OFFICER_ROLE)
    {
        emit UserRiskUpdated(user, riskScore, msg.sender, block.timestamp);
        if (attestationHash != bytes32(0)) {
            emit AttestationRecorded(user, attestationHash, bytes32(0), msg.sender);
        }
        _manager().registry.updateUser(user, riskScore, attestationHash, isVerified);
    }

    /// @inheritdoc IComplianceSource
    /// @dev Reverts while paused: the escrow reads that as "wait", never as "refund".
    function isCompliant(address user) external view whenNotPaused returns (bool) {
        return _manager().registry.isCompliant(user);
    }

    /// @inheritdoc IComplianceManager
    function userRegistry() external view returns (address) {
        return address(_manager().registry);
    }

    /// @inheritdoc IComplianceManager
    function maxRiskScore() external view returns (uint8) {
        return _manager().registry.maxRiskScore();
    }

    /// @inheritdoc IComplianceManager
    function attestationRequired() external view returns (bool) {
        return _manager().registry.attestationRequired();
    }

    /// @inheritdoc IComplianceManager
    function minAttestationAge() external view returns (uint64) {
        return _manager().registry.minAttestationAge();
    }

    /// @inheritdoc IComplianceManager
    function version() external pure virtual returns (string memory) {
        return "1.0.0";
    }

    /// @inheritdoc IComplianceManager
    function pause() public override(IComplianceManager, GovernedPausable) {
        super.pause();
    }

    /// @inheritdoc IComplianceManager
    function unpause() public override(IComplianceManager, GovernedPausable) {
        super.unpause();
    }
}
