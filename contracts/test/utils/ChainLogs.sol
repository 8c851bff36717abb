// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {Vm} from "./Test.sol";

/// @dev forge also records the logs of calls that reverted; a chain does not. An item of a batch reverts
/// after it emitted something only when a token call failed, and then ItemSkipped of the same id follows.
library ChainLogs {
    /// @return kept what a chain would show, in order
    function real(Vm.Log[] memory logs) internal pure returns (Vm.Log[] memory kept) {
        kept = new Vm.Log[](logs.length);
        uint256 length;
        // The logs of the latest item begin at `start` among the kept ones; `id` is the item's.
        uint256 start;
        bytes32 id;
        for (uint256 i = 0; i < logs.length; ++i) {
            bytes32 kind = logs[i].topics.length > 1 ? logs[i].topics[0] : bytes32(0);
            if (_opensItem(kind)) (start, id) = (length, logs[i].topics[1]);
            if (kind == IMintEscrow.ItemSkipped.selector && logs[i].topics[1] == id && _undone(logs[i])) {
                length = start;
            }
            kept[length++] = logs[i];
        }
        assembly ("memory-safe") {
            mstore(kept, length)
        }
    }

    function _opensItem(bytes32 kind) private pure returns (bool) {
        return kind == IMintEscrow.MintIntentSubmitted.selector || kind == IMintEscrow.MintExecuted.selector
            || kind == IMintEscrow.MintRefunded.selector;
    }

    function _undone(Vm.Log memory log) private pure returns (bool) {
        (IMintEscrow.ItemOutcome outcome,) = abi.decode(log.data, (IMintEscrow.ItemOutcome, bytes));
        return
            outcome == IMintEscrow.ItemOutcome.TransferFailed
                || outcome == IMintEscrow.ItemOutcome.TokenPaused;
    }
}
