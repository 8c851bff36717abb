// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";

/// @dev A stablecoin that can be set to misbehave in every way we know of.
contract HostileToken {
    enum Mode {
        Honest,
        ReturnsNothing,
        ReturnsFalse,
        ReturnsFalseButMoves,
        ReturnsTrueWithoutMoving,
        ReturnsGarbage,
        Reverts,
        RevertsAsNotCompliant,
        RevertsHuge,
        BurnsGas,
        TakesFee,
        TakesDouble,
        WantsGas,
        ReentersReclaim,
        ReentersWithdraw,
        ReentersBatch,
        ReturnsHuge
    }

    event Transfer(address indexed from, address indexed to, uint256 amount);

    uint8 public decimals = 18;
    bool public paused;
    Mode public mode;
    bool public balanceFails;
    bytes32 public target;
    /// @dev When set, the token misbehaves only in transfers from or to this account.
    address public affected;
    bool public reentered;
    mapping(address account => uint256) private _balances;

    function setMode(Mode mode_) external {
        mode = mode_;
    }

    function setDecimals(uint8 decimals_) external {
        decimals = decimals_;
    }

    function setPaused(bool paused_) external {
        paused = paused_;
    }

    function setBalanceFails(bool fails) external {
        balanceFails = fails;
    }

    function setTarget(bytes32 target_) external {
        target = target_;
    }

    function setAffected(address affected_) external {
        affected = affected_;
    }

    function mint(address to, uint256 amount) external {
        _balances[to] += amount;
        emit Transfer(address(0), to, amount);
    }

    function balanceOf(address account) external view returns (uint256) {
        require(!balanceFails);
        return _balances[account];
    }

    function transfer(address to, uint256 amount) external {
        _behave(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external {
        _behave(from, to, amount);
    }

    function _behave(address from, address to, uint256 amount) private {
        Mode m = mode;
        if (affected != address(0) && from != affected && to != affected) m = Mode.Honest;
        if (m == Mode.Reverts || paused) revert();
        if (m == Mode.RevertsAsNotCompliant) revert IMintEscrow.UserNotCompliant();
        if (m == Mode.RevertsHuge) _answer(100_000, true);
        if (m == Mode.ReturnsHuge) _answer(100_000, false);
        if (m == Mode.BurnsGas) while (true) {}
        if (m == Mode.ReturnsFalse) _return(0);
        // This is what a token does that catches a nested call: it returns false rather than revert.
        if (m == Mode.WantsGas && gasleft() < 100_000) _return(0);
        if (m == Mode.ReturnsTrueWithoutMoving) _return(1);
        if (m == Mode.TakesFee) {
            _move(from, to, amount - 1);
            _return(1);
        }
        if (m == Mode.TakesDouble) {
            _move(from, to, amount);
            _move(from, address(0xdead), amount);
            _return(1);
        }
        if (m == Mode.ReentersReclaim || m == Mode.ReentersWithdraw || m == Mode.ReentersBatch) {
            _reenter(m, from == msg.sender ? from : to);
        }
        _move(from, to, amount);
        if (m == Mode.ReturnsNothing) _answer(0, false);
        if (m == Mode.ReturnsFalseButMoves) _return(0);
        if (m == Mode.ReturnsGarbage) _return(2);
        _return(1);
    }

    /// @dev Ignores a failure of the inner call, as an attacker would.
    function _reenter(Mode m, address escrow) private {
        bytes memory data;
        if (m == Mode.ReentersReclaim) data = abi.encodeCall(IMintEscrow.reclaim, (target));
        if (m == Mode.ReentersWithdraw) data = abi.encodeCall(IMintEscrow.withdraw, ());
        if (m == Mode.ReentersBatch) {
            bytes32[] memory ids = new bytes32[](1);
            ids[0] = target;
            data = abi.encodeCall(IMintEscrow.executeMints, (ids));
        }
        (bool success,) = escrow.call(data);
        reentered = reentered || success;
    }

    function _move(address from, address to, uint256 amount) private {
        _balances[from] -= amount;
        _balances[to] += amount;
        emit Transfer(from, to, amount);
    }

    function _return(uint256 value) private pure {
        assembly ("memory-safe") {
            mstore(0x00, value)
            return(0x00, 0x20)
        }
    }

    function _answer(uint256 size, bool reverting) private pure {
        assembly ("memory-safe") {
            if reverting { revert(0x00, size) }
            return(0x00, size)
        }
    }
}
