// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {
    AccessControlDefaultAdminRulesUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/extensions/AccessControlDefaultAdminRulesUpgradeable.sol";

/// @title Who may govern an upgradeable contract.
/// @notice One default admin, handed over in two steps and after a delay, grants every role but one:
/// UPGRADER_ROLE is its own role admin, so an admin cannot slip past a timelock that holds it.
abstract contract Governed is AccessControlDefaultAdminRulesUpgradeable, UUPSUpgradeable {
    /// @notice Changes parameters.
    bytes32 public constant ADMIN_ROLE = keccak256("ADMIN_ROLE");
    /// @notice Changes the code behind the proxy.
    bytes32 public constant UPGRADER_ROLE = keccak256("UPGRADER_ROLE");

    /// @notice A role that must be held from the start was given to nobody.
    error InvalidRoleHolder();

    /// @dev Storage of an implementation is never used; a stranger must not become its admin.
    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    // forge-lint: disable-next-line(mixed-case-function)
    function __Governed_init(address admin, uint48 adminDelay, address upgrader) internal onlyInitializing {
        if (upgrader == address(0)) revert InvalidRoleHolder();
        __AccessControlDefaultAdminRules_init(adminDelay, admin);
        _setRoleAdmin(UPGRADER_ROLE, UPGRADER_ROLE);
        _grantRole(ADMIN_ROLE, admin);
        _grantRole(UPGRADER_ROLE, upgrader);
    }

    function _authorizeUpgrade(address) internal view override onlyRole(UPGRADER_ROLE) {}
}
