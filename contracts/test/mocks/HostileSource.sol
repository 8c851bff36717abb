// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";

/// @dev A compliance source that can be set to misbehave.
contract HostileSource {
    enum Mode {
        Yes,
        No,
        NoWhilePaused,
        Reverts,
        RevertsAsNotCompliant,
        ReturnsNothing,
        ReturnsTwo,
        ReturnsTwoWords,
        ReturnsShort,
        BurnsGas,
        RevertsHuge,
        ReturnsHuge
    }

    Mode public mode;
    /// @dev When set, all other accounts are compliant.
    address public affected;

    function setMode(Mode mode_) external {
        mode = mode_;
    }

    function setAffected(address affected_) external {
        affected = affected_;
    }

    function paused() external view returns (bool) {
        return mode == Mode.NoWhilePaused;
    }

    function isCompliant(address user) external view {
        Mode m = mode;
        if (affected != address(0) && user != affected) m = Mode.Yes;
        if (m == Mode.Reverts) revert();
        if (m == Mode.RevertsAsNotCompliant) revert IMintEscrow.UserNotCompliant();
        if (m == Mode.BurnsGas) while (true) {}
        if (m == Mode.RevertsHuge) _fail(100_000);
        if (m == Mode.ReturnsHuge) _answer(1, 100_000);
        if (m == Mode.ReturnsNothing) _answer(0, 0);
        if (m == Mode.ReturnsShort) _answer(0, 31);
        if (m == Mode.ReturnsTwo) _answer(2, 32);
        if (m == Mode.ReturnsTwoWords) _answer(0, 64);
        _answer(m == Mode.Yes ? 1 : 0, 32);
    }

    function _answer(uint256 value, uint256 size) private pure {
        assembly ("memory-safe") {
            mstore(0x00, value)
            return(0x00, size)
        }
    }

    function _fail(uint256 size) private pure {
        assembly ("memory-safe") {
            revert(0x00, size)
        }
    }
}
