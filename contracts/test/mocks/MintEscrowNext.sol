// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MintEscrow} from "../../src/MintEscrow.sol";

/// @dev The target of an upgrade: the same escrow with another version string.
contract MintEscrowNext is MintEscrow {
    function version() external pure override returns (string memory) {
        return "next";
    }
}
