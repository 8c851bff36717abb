// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Pausable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Pausable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ICountryToken} from "./interfaces/ICountryToken.sol";

/// @title The token customers receive: one base unit per base unit of backing, 18 decimals.
/// @notice The minter is fixed at deployment and the code is not upgradeable: no role can ever print tokens
/// past the escrow. The escrow's own upgrades keep its address.
contract CountryToken is ICountryToken, ERC20, ERC20Permit, ERC20Pausable, AccessControlDefaultAdminRules {
    /// @notice May stop all movement.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    /// @notice May start it again.
    bytes32 public constant UNPAUSER_ROLE = keccak256("UNPAUSER_ROLE");

    /// @inheritdoc ICountryToken
    address public immutable minter;

    /// @param escrow the minter; may be an address where the escrow is yet to be deployed
    /// @param adminDelay seconds a handover of DEFAULT_ADMIN_ROLE must wait
    constructor(
        string memory name_,
        string memory symbol_,
        address escrow,
        address admin,
        uint48 adminDelay,
        address pauser,
        address unpauser
    ) ERC20(name_, symbol_) ERC20Permit(name_) AccessControlDefaultAdminRules(adminDelay, admin) {
        if (escrow == address(0)) revert InvalidMinter();
        minter = escrow;
        _grantRole(PAUSER_ROLE, pauser);
        _grantRole(UNPAUSER_ROLE, unpauser);
    }

    /// @inheritdoc ICountryToken
    function mint(address to, uint256 amount) external {
        if (msg.sender != minter) revert NotMinter();
        _mint(to, amount);
    }

    /// @notice Needs PAUSER_ROLE.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Needs UNPAUSER_ROLE.
    function unpause() external onlyRole(UNPAUSER_ROLE) {
        _unpause();
    }

    /// @inheritdoc ICountryToken
    function paused() public view override(ICountryToken, Pausable) returns (bool) {
        return super.paused();
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Pausable) {
        super._update(from, to, value);
    }
}
