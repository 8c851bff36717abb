// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";
import {Governed} from "./Governed.sol";

/// @title A governed contract that can be stopped.
/// @notice Stopping is cheap and may be a hot key; starting again is a deliberate act of another role.
abstract contract GovernedPausable is Governed, PausableUpgradeable {
    /// @notice May stop.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    /// @notice May start again.
    bytes32 public constant UNPAUSER_ROLE = keccak256("UNPAUSER_ROLE");

    // forge-lint: disable-next-line(mixed-case-function)
    function __GovernedPausable_init(
        address admin,
        uint48 adminDelay,
        address upgrader,
        address pauser,
        address unpauser
    ) internal onlyInitializing {
        if (pauser == address(0) || unpauser == address(0)) revert InvalidRoleHolder();
        __Governed_init(admin, adminDelay, upgrader);
        __Pausable_init();
        _grantRole(PAUSER_ROLE, pauser);
        _grantRole(UNPAUSER_ROLE, unpauser);
    }

    /// @notice Needs PAUSER_ROLE.
    function pause() public virtual onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Needs UNPAUSER_ROLE.
    function unpause() public virtual onlyRole(UNPAUSER_ROLE) {
        _unpause();
    }
}
