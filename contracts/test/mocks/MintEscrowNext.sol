// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MintEscrow} from "../../src/MintEscrow.sol";

/// @dev What an upgrade goes to: the same escrow that tells another version.
contract MintEscrowNext is MintEscrow {
    function version() external pure override returns (string memory) {
        return "next";
    }
}
