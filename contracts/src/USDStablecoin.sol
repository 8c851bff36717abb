// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title Stand-in for the backing stablecoin on development chains.
/// @notice Its owner mints at will. Never deployed where money is real: production uses the existing token.
contract USDStablecoin is ERC20, ERC20Permit, Ownable {
    constructor(string memory name_, string memory symbol_, address admin)
        ERC20(name_, symbol_)
        ERC20Permit(name_)
        Ownable(admin)
    {}

    /// @notice Mints `amount` base units (18 decimals). Only the owner.
    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }
}
