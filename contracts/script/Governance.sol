// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Deployment} from "./Deployment.sol";

/// @title Who governs where money is real: a multisig, and a timelock between it and the code.
/// @notice The multisig is any account with code; which one is the operator's choice.
library Governance {
    /// @notice Time everybody has to look at an upgrade, or at a new default admin, before it happens.
    uint256 internal constant MIN_DELAY = 2 days;

    /// @notice Not a contract, so one key could be behind it.
    error NoCode(string what);
    /// @notice Shorter than MIN_DELAY.
    error DelayTooShort(string what);
    /// @notice Nobody would hold the role.
    error NoHolder(string role);
    /// @notice One account would hold two powers that check each other, or a hot key one too many.
    error SameAccount(address account);
    /// @notice The deployer would be left with power.
    error DeployerHoldsRole(address target, bytes32 role);

    /// @dev The multisig proposes, cancels and executes; the timelock is its own admin, so who may do so
    /// changes only with the delay as well.
    function timelock(address multisig, uint256 delay) internal returns (TimelockController) {
        address[] memory members = new address[](1);
        members[0] = multisig;
        return new TimelockController(delay, members, members, address(0));
    }

    /// @dev Everything that would be wrong from the first block on.
    function requireSound(
        address deployer,
        Deployment.Roles memory roles,
        Deployment.Policy memory policy,
        uint256 timelockDelay
    ) internal view {
        if (roles.admin.code.length == 0) revert NoCode("multisig");
        if (policy.stablecoin.code.length == 0) revert NoCode("stablecoin");
        if (timelockDelay < MIN_DELAY) revert DelayTooShort("timelock");
        if (roles.adminDelay < MIN_DELAY) revert DelayTooShort("admin");
        if (roles.executors.length == 0) revert NoHolder("executor");
        if (roles.officers.length == 0) revert NoHolder("compliance officer");
        // Whoever may stop cannot start again by themselves.
        if (roles.pauser == roles.unpauser) revert SameAccount(roles.pauser);
        address[5] memory others = [roles.admin, roles.pauser, roles.unpauser, policy.treasury, deployer];
        _requireApart(roles.executors, others);
        _requireApart(roles.officers, others);
        _requireNotAmong(roles.officers, roles.executors);
        for (uint256 i = 0; i < 4; ++i) {
            if (others[i] == deployer) revert SameAccount(deployer);
        }
    }

    /// @dev The end of the deployer's time: no role anywhere. Initializers grant, so there is nothing to give
    /// back; this proves it.
    function requireNoRole(address account, Deployment.System memory system, address timelock_)
        internal
        view
    {
        bytes32[10] memory roles = [
            bytes32(0),
            keccak256("ADMIN_ROLE"),
            keccak256("UPGRADER_ROLE"),
            keccak256("PAUSER_ROLE"),
            keccak256("UNPAUSER_ROLE"),
            keccak256("EXECUTOR_ROLE"),
            keccak256("COMPLIANCE_OFFICER_ROLE"),
            keccak256("WRITER_ROLE"),
            keccak256("PROPOSER_ROLE"),
            keccak256("CANCELLER_ROLE")
        ];
        address[5] memory targets = [
            address(system.escrow),
            address(system.manager),
            address(system.registry),
            address(system.token),
            timelock_
        ];
        for (uint256 i = 0; i < targets.length; ++i) {
            for (uint256 j = 0; j < roles.length; ++j) {
                if (IAccessControl(targets[i]).hasRole(roles[j], account)) {
                    revert DeployerHoldsRole(targets[i], roles[j]);
                }
            }
        }
    }

    function _requireApart(address[] memory accounts, address[5] memory others) private pure {
        for (uint256 i = 0; i < others.length; ++i) {
            _requireNotIn(accounts, others[i]);
        }
    }

    function _requireNotAmong(address[] memory accounts, address[] memory others) private pure {
        for (uint256 i = 0; i < others.length; ++i) {
            _requireNotIn(accounts, others[i]);
        }
    }

    function _requireNotIn(address[] memory accounts, address other) private pure {
        for (uint256 i = 0; i < accounts.length; ++i) {
            if (accounts[i] == other) revert SameAccount(other);
        }
    }
}
