// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {vm} from "../utils/Test.sol";
import {SymbolicSystem, svm} from "./SymbolicSystem.sol";

/// @dev The outcome of one item does not depend on the other item of its batch. To the solver any amount of
/// gas may be left at any time, so each proof allows a second result: OutOfGas, with no effect. That another
/// item cannot cause it is tested in EscrowBatch.t.sol and EscrowStarving.t.sol.
contract BatchProofs is SymbolicSystem {
    /// @dev Returns the other item's id: unknown, pending (its user may be compliant or not), or refunded.
    function _neighbour(bytes32 mine) private returns (bytes32 id) {
        uint256 kind = svm.createUint256("kind");
        if (kind == 0) {
            id = svm.createBytes32("unknown");
            vm.assume(id != mine);
            return id;
        }
        id = _deposit(OTHER, AMOUNT, "B");
        source.setCompliant(OTHER, svm.createBool("other is compliant"));
        if (kind == 1) {
            vm.prank(EXECUTOR);
            escrow.refundIntent(id, "declined");
        }
    }

    function _pair(bytes32 mine, bytes32 neighbour)
        private
        pure
        returns (bytes32[] memory batch, uint256 at)
    {
        batch = new bytes32[](2);
        at = svm.createBool("mine is first") ? 0 : 1;
        (batch[at], batch[1 - at]) = (mine, neighbour);
    }

    function _one(bytes32 id) private pure returns (bytes32[] memory ids) {
        ids = new bytes32[](1);
        ids[0] = id;
    }

    function _untouched(IMintEscrow.ItemOutcome outcome, bytes32 mine) private view returns (bool) {
        if (outcome != IMintEscrow.ItemOutcome.OutOfGas) return false;
        assert(escrow.getIntentStatus(mine) == IMintEscrow.IntentStatus.Pending);
        assert(token.balanceOf(USER) == 0);
        return true;
    }

    /// @dev A batch that reverts must fail the proof: no assertion after it would run.
    function _execute(bytes32[] memory batch) private returns (IMintEscrow.ItemOutcome[] memory outcomes) {
        vm.prank(EXECUTOR);
        try escrow.executeMints(batch) returns (IMintEscrow.ItemOutcome[] memory results) {
            outcomes = results;
        } catch {
            assert(false);
        }
    }

    function check_a_payable_item_is_paid_beside_any_other() public {
        bytes32 mine = _deposit(USER, AMOUNT, "A");
        (bytes32[] memory batch, uint256 at) = _pair(mine, _neighbour(mine));
        IMintEscrow.ItemOutcome[] memory outcomes = _execute(batch);
        if (_untouched(outcomes[at], mine)) return;
        assert(outcomes[at] == IMintEscrow.ItemOutcome.Done);
        assert(escrow.getIntentStatus(mine) == IMintEscrow.IntentStatus.Executed);
        assert(token.balanceOf(USER) == AMOUNT);
    }

    function check_an_item_that_must_not_be_paid_is_not_paid_beside_any_other() public {
        bytes32 mine = _deposit(USER, AMOUNT, "A");
        source.setCompliant(USER, false);
        (bytes32[] memory batch, uint256 at) = _pair(mine, _neighbour(mine));
        IMintEscrow.ItemOutcome[] memory outcomes = _execute(batch);
        if (_untouched(outcomes[at], mine)) return;
        assert(outcomes[at] == IMintEscrow.ItemOutcome.NotCompliant);
        assert(escrow.getIntentStatus(mine) == IMintEscrow.IntentStatus.Pending);
        assert(token.balanceOf(USER) == 0);
    }

    function check_a_pending_item_is_refunded_beside_any_other() public {
        bytes32 mine = _deposit(USER, AMOUNT, "A");
        (bytes32[] memory batch, uint256 at) = _pair(mine, _neighbour(mine));
        IMintEscrow.ItemOutcome[] memory outcomes;
        vm.prank(EXECUTOR);
        try escrow.refundIntents(batch, "declined") returns (IMintEscrow.ItemOutcome[] memory results) {
            outcomes = results;
        } catch {
            assert(false);
        }
        if (_untouched(outcomes[at], mine)) return;
        assert(outcomes[at] == IMintEscrow.ItemOutcome.Done);
        assert(escrow.getIntentStatus(mine) == IMintEscrow.IntentStatus.Refunded);
        assert(token.totalSupply() == 0);
    }

    /// @dev A good deposit beside one whose every field is arbitrary, except that it is not the same
    /// reference of the same depositor.
    function check_a_good_deposit_is_taken_beside_any_other() public {
        IMintEscrow.SubmitItem[] memory items = new IMintEscrow.SubmitItem[](2);
        uint256 at = svm.createBool("mine is first") ? 0 : 1;
        bytes32 id = escrow.computeIntentId(TREASURY, USER, AMOUNT, KES, "A");
        items[at] = IMintEscrow.SubmitItem(id, TREASURY, USER, AMOUNT, KES, "A");
        IMintEscrow.SubmitItem memory other = items[1 - at];
        other.expectedId = svm.createBytes32("expectedId");
        other.depositor = svm.createAddress("depositor");
        other.user = svm.createAddress("user");
        other.amount = svm.createUint256("amount");
        other.countryCode = svm.createBytes32("country");
        other.txRef = svm.createBytes32("reference");
        vm.assume(other.txRef != "A");
        // Other fields, other id: IntentProofs shows it. Here one hash is a constant and the other a term, and
        // the solver would let them collide.
        vm.assume(other.expectedId != id);
        IMintEscrow.ItemOutcome[] memory outcomes;
        vm.prank(EXECUTOR);
        try escrow.submitIntents(items) returns (IMintEscrow.ItemOutcome[] memory results) {
            outcomes = results;
        } catch {
            assert(false);
        }
        if (outcomes[at] == IMintEscrow.ItemOutcome.OutOfGas) {
            assert(escrow.getIntents(_one(id))[0].depositedAt == 0);
            return;
        }
        assert(outcomes[at] == IMintEscrow.ItemOutcome.Done);
        assert(escrow.getIntentStatus(id) == IMintEscrow.IntentStatus.Pending);
        assert(escrow.getIntent(id).user == USER);
        assert(escrow.getIntent(id).amount == AMOUNT);
    }
}
