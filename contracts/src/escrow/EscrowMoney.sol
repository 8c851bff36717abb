// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {ICountryToken} from "../interfaces/ICountryToken.sol";
import {BoundedCall} from "../lib/BoundedCall.sol";
import {EscrowStorage} from "./EscrowStorage.sol";

/// @title Every call the escrow makes to a token.
/// @notice Tokens are not believed: what counts is how the escrow's own balance moved. No revert data of a
/// token is passed on, so a token cannot pretend to be one of the escrow's own errors.
abstract contract EscrowMoney is EscrowStorage {
    using BoundedCall for address;
    using BoundedCall for BoundedCall.Answer;

    /// @notice Gas a push to a depositor may use.
    uint256 public constant PUSH_GAS = 120_000;
    /// @dev Gas that must remain after a push: two balance reads and, if it failed, the credit.
    uint256 internal constant AFTER_PUSH_GAS = 75_000;

    /// @dev Takes exactly `amount` from `from`, or reverts.
    function _pull(address token, address from, uint256 amount) internal {
        uint256 before = _balance(token);
        BoundedCall.Answer memory answer =
            token.callWord(abi.encodeCall(IERC20.transferFrom, (from, address(this), amount)));
        if (!answer.isTokenSuccess()) _revertFailed(token);
        // Adding cannot overflow unless the token lies, and then reverting is right.
        if (_balance(token) != before + amount) revert TransferFailed();
    }

    /// @dev Sends exactly `amount` to `to`, or reverts.
    function _send(address token, address to, uint256 amount) internal {
        uint256 before = _balance(token);
        BoundedCall.Answer memory answer = token.callWord(abi.encodeCall(IERC20.transfer, (to, amount)));
        if (!answer.isTokenSuccess() || _balance(token) + amount != before) revert TransferFailed();
    }

    /// @dev Tries to send `amount` to `to`. False means that nothing moved; anything between reverts.
    /// The caller cannot make it fail by giving little gas: then all reverts.
    function _push(address token, address to, uint256 amount) internal returns (bool) {
        uint256 before = _balance(token);
        if (gasleft() < PUSH_GAS + PUSH_GAS / 63 + AFTER_PUSH_GAS) revert InsufficientGas();
        token.callCopy(PUSH_GAS, abi.encodeCall(IERC20.transfer, (to, amount)), 0);
        uint256 afterwards = _balance(token);
        if (afterwards == before) return false;
        if (afterwards + amount != before) revert TransferFailed();
        return true;
    }

    /// @dev Mints country tokens, or reverts. The token is ours and fixed, so its success is believed.
    function _mintTo(address token, address to, uint256 amount) internal {
        BoundedCall.Answer memory answer = token.callWord(abi.encodeCall(ICountryToken.mint, (to, amount)));
        if (!answer.success) _revertFailed(token);
    }

    /// @dev The escrow's balance; a token that does not answer with it cannot be used.
    function _balance(address token) internal view returns (uint256) {
        BoundedCall.Answer memory answer = token.staticWord(abi.encodeCall(IERC20.balanceOf, (address(this))));
        if (!answer.success || answer.size < 32) revert TransferFailed();
        return answer.word;
    }

    /// @dev Our accounting is one to one, so both sides need 18 decimals.
    function _requireToken(address token) internal view {
        if (token.code.length == 0) revert InvalidToken();
        BoundedCall.Answer memory answer = token.staticWord(abi.encodeCall(IERC20Metadata.decimals, ()));
        if (!answer.success || answer.size != 32 || answer.word != 18) revert InvalidToken();
    }

    /// @dev Tells a paused token from a broken one: the first is waited for, the second looked into.
    function _revertFailed(address token) private view {
        BoundedCall.Answer memory answer = token.staticWord(abi.encodeCall(ICountryToken.paused, ()));
        if (answer.isBool() && answer.word == 1) revert TokenPaused();
        revert TransferFailed();
    }
}
