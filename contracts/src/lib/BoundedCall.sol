// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Calls that a callee cannot answer harmfully.
/// @notice Nothing a callee reverts with is passed on, and no more of its answer is copied than asked for:
/// a forged selector cannot become an outcome, and a huge answer cannot eat the caller's gas.
library BoundedCall {
    /// @dev How a call that should answer with at most one word ended.
    struct Answer {
        bool success;
        uint256 size;
        uint256 word;
    }

    /// @dev Calls with all gas EIP-150 allows and reads at most one word.
    function callWord(address target, bytes memory data) internal returns (Answer memory answer) {
        bool success;
        uint256 size;
        uint256 word;
        assembly ("memory-safe") {
            mstore(0x00, 0)
            success := call(gas(), target, 0, add(data, 0x20), mload(data), 0x00, 0x20)
            size := returndatasize()
            word := mload(0x00)
        }
        answer = Answer(success, size, word);
    }

    /// @dev As callWord, without letting the callee change anything.
    function staticWord(address target, bytes memory data) internal view returns (Answer memory answer) {
        bool success;
        uint256 size;
        uint256 word;
        assembly ("memory-safe") {
            mstore(0x00, 0)
            success := staticcall(gas(), target, add(data, 0x20), mload(data), 0x00, 0x20)
            size := returndatasize()
            word := mload(0x00)
        }
        answer = Answer(success, size, word);
    }

    /// @dev Calls with exactly `gasAllowance` (the caller checked that it is there) and copies at most
    /// `maxReturn` bytes of the answer.
    function callCopy(address target, uint256 gasAllowance, bytes memory data, uint256 maxReturn)
        internal
        returns (bool success, bytes memory returned)
    {
        assembly ("memory-safe") {
            success := call(gasAllowance, target, 0, add(data, 0x20), mload(data), 0x00, 0x00)
            let size := returndatasize()
            if gt(size, maxReturn) { size := maxReturn }
            returned := mload(0x40)
            mstore(returned, size)
            returndatacopy(add(returned, 0x20), 0x00, size)
            mstore(0x40, and(add(add(returned, 0x3f), size), not(0x1f)))
        }
    }

    /// @dev Exactly one word holding 0 or 1. An account without code answers nothing and is not a boolean.
    function isBool(Answer memory answer) internal pure returns (bool) {
        return answer.success && answer.size == 32 && answer.word <= 1;
    }

    /// @dev An ERC-20 answer that does not deny success: nothing, or `true`. Callers verify by balances too.
    function isTokenSuccess(Answer memory answer) internal pure returns (bool) {
        return answer.success && (answer.size == 0 || (answer.size >= 32 && answer.word == 1));
    }
}
