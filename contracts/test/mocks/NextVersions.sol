// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {ComplianceManager} from "../../src/ComplianceManager.sol";
import {MintEscrow} from "../../src/MintEscrow.sol";

/// @dev A next version that adds one requirement for new deposits, and storage of its own.
contract MintEscrowV2 is MintEscrow {
    /// @custom:storage-location erc7201:fiatrails.storage.MintEscrowV2
    struct NextState {
        uint256 wholeUnit;
    }

    function _next() private pure returns (NextState storage $) {
        bytes32 slot = keccak256(abi.encode(uint256(keccak256("fiatrails.storage.MintEscrowV2")) - 1))
            & ~bytes32(uint256(0xff));
        assembly {
            $.slot := slot
        }
    }

    function initializeV2(uint256 unit) external reinitializer(2) {
        _next().wholeUnit = unit;
    }

    function wholeUnit() external view returns (uint256) {
        return _next().wholeUnit;
    }

    function version() external pure override returns (string memory) {
        return "2.0.0";
    }

    function _checkFields(EscrowState storage $, SubmitItem memory item, address token)
        internal
        view
        override
    {
        uint256 unit = _next().wholeUnit;
        if (unit != 0 && item.amount % unit != 0) revert InvalidAmount();
        super._checkFields($, item, token);
    }
}

/// @dev A next version of the manager, which differs by its version string.
contract ComplianceManagerV2 is ComplianceManager {
    function version() external pure override returns (string memory) {
        return "2.0.0";
    }
}

/// @dev A version whose upgrade works and which nobody could ever upgrade again.
contract OneWay is UUPSUpgradeable {
    error NoWayBack();

    function _authorizeUpgrade(address next) internal pure override {
        if (next != address(0)) revert NoWayBack();
    }
}

/// @dev A contract without any function for upgrades.
contract NotUups {
    uint256 public number = 1;
}

/// @dev Answers with a slot that is not ERC-1967's.
contract WrongUuid {
    function proxiableUUID() external pure returns (bytes32) {
        return keccak256("somewhere else");
    }
}
