// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {vm} from "../utils/Test.sol";
import {SymbolicSystem, svm} from "./SymbolicSystem.sol";

/// @dev Proofs about one intent, run by tools/prove.
contract IntentProofs is SymbolicSystem {
    IMintEscrow.SubmitItem private deposited;

    /// @dev Equal ids come from equal fields.
    function check_an_id_commits_to_every_field(
        address depositor1,
        address depositor2,
        address user1,
        address user2,
        uint256 amount1,
        uint256 amount2,
        bytes32 country1,
        bytes32 country2,
        bytes32 ref1,
        bytes32 ref2
    ) public view {
        bytes32 id1 = escrow.computeIntentId(depositor1, user1, amount1, country1, ref1);
        bytes32 id2 = escrow.computeIntentId(depositor2, user2, amount2, country2, ref2);
        vm.assume(id1 == id2);
        assert(depositor1 == depositor2);
        assert(user1 == user2);
        assert(amount1 == amount2);
        assert(country1 == country2);
        assert(ref1 == ref2);
    }

    /// @dev After the mint, no call by any account at any time pays again.
    function check_an_executed_intent_never_pays_again(address caller, uint40 later) public {
        bytes32 id = _anyDeposit();
        vm.prank(EXECUTOR);
        escrow.executeMint(id);
        _neverAgain(id, IMintEscrow.IntentStatus.Executed, caller, later);
    }

    /// @dev After the refund, no call by any account at any time pays again.
    function check_a_refunded_intent_never_pays_again(address caller, uint40 later) public {
        bytes32 id = _anyDeposit();
        vm.prank(EXECUTOR);
        escrow.refundIntent(id, "declined");
        _neverAgain(id, IMintEscrow.IntentStatus.Refunded, caller, later);
    }

    /// @dev Makes a deposit of any amount for any compliant user under any reference.
    function _anyDeposit() private returns (bytes32) {
        address user = svm.createAddress("user");
        source.setCompliant(user, true);
        (uint256 amount, bytes32 txRef) = (svm.createUint256("amount"), svm.createBytes32("reference"));
        bytes32 id = _deposit(user, amount, txRef);
        deposited = IMintEscrow.SubmitItem(id, TREASURY, user, amount, KES, txRef);
        return id;
    }

    /// @dev Returns any call that settles this id, alone or in a batch, or that deposits it once more.
    function _neverAgain(bytes32 id, IMintEscrow.IntentStatus status, address caller, uint40 later) private {
        uint256 supply = token.totalSupply();
        uint256 held = coin.balanceOf(address(escrow));
        vm.assume(later >= START);
        vm.warp(later);
        bytes memory call = _call(id);
        vm.prank(caller);
        (bool success,) = address(escrow).call(call);
        success;
        assert(escrow.getIntentStatus(id) == status);
        assert(token.totalSupply() == supply);
        assert(coin.balanceOf(address(escrow)) == held);
    }

    function _call(bytes32 id) private view returns (bytes memory) {
        uint256 which = svm.createUint256("which");
        if (which == 0) return abi.encodeCall(IMintEscrow.executeMint, (id));
        if (which == 1) return abi.encodeCall(IMintEscrow.refundIntent, (id, "again"));
        if (which == 2) return abi.encodeCall(IMintEscrow.reclaim, (id));
        if (which == 3) return abi.encodeCall(IMintEscrow.withdraw, ());
        if (which == 4) return _depositAgain();
        bytes32[] memory batch = _with(id);
        if (which == 5) return abi.encodeCall(IMintEscrow.executeMints, (batch));
        return abi.encodeCall(IMintEscrow.refundIntents, (batch, "again"));
    }

    function _depositAgain() private view returns (bytes memory) {
        IMintEscrow.SubmitItem[] memory items = new IMintEscrow.SubmitItem[](1);
        items[0] = deposited;
        return abi.encodeCall(IMintEscrow.submitIntents, (items));
    }

    /// @dev Returns a batch of the id and any other, itself included, in either order.
    function _with(bytes32 id) private pure returns (bytes32[] memory batch) {
        batch = new bytes32[](2);
        bool first = svm.createBool("first");
        (batch[first ? 0 : 1], batch[first ? 1 : 0]) = (id, svm.createBytes32("other"));
    }
}
