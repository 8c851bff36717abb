// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The part of the country token the escrow uses.
interface ICountryToken {
    /// @notice The caller is not the one account that may mint.
    error NotMinter();
    /// @notice The zero address cannot be the minter.
    error InvalidMinter();

    /// @notice Mints `amount` base units (18 decimals) to `to`. Only the escrow may call it.
    function mint(address to, uint256 amount) external;

    /// @notice The escrow. Fixed for the token's life.
    function minter() external view returns (address);

    /// @notice While paused nothing moves: no mint, no transfer.
    function paused() external view returns (bool);
}
