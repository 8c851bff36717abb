// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {Vm, vm} from "./utils/Test.sol";

/// @dev No item may revert or starve the rest, and each is reported exactly once.
contract EscrowBatchTest is EscrowFixture {
    function _three() private returns (bytes32[] memory ids) {
        ids = new bytes32[](3);
        for (uint256 i = 0; i < 3; ++i) {
            ids[i] = _deposited(_ref(i));
        }
    }

    function _expectAll(IMintEscrow.ItemOutcome[] memory outcomes, IMintEscrow.ItemOutcome expected)
        private
        pure
    {
        for (uint256 i = 0; i < outcomes.length; ++i) {
            _expectOutcome(outcomes[i], expected);
        }
    }

    function test_a_failed_item_leaves_the_others_alone() public {
        bytes32[] memory ids = _three();
        _refund(ids[1]);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.MintExecuted(ids[0], user, AMOUNT, KES, _ref(0));
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.ItemSkipped(
            ids[1],
            IMintEscrow.Command.Execute,
            IMintEscrow.ItemOutcome.AlreadyRefunded,
            abi.encodePacked(IMintEscrow.IntentAlreadyRefunded.selector)
        );
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.MintExecuted(ids[2], user, AMOUNT, KES, _ref(2));
        vm.prank(executor);
        IMintEscrow.ItemOutcome[] memory outcomes = escrow.executeMints(ids);
        vm.assertEq(outcomes.length, 3);
        _expectOutcome(outcomes[0], IMintEscrow.ItemOutcome.Done);
        _expectOutcome(outcomes[1], IMintEscrow.ItemOutcome.AlreadyRefunded);
        _expectOutcome(outcomes[2], IMintEscrow.ItemOutcome.Done);
        vm.assertEq(kes.balanceOf(user), 2 * AMOUNT);
    }

    function test_duplicates_in_one_batch_count_once() public {
        IMintEscrow.SubmitItem[] memory items = new IMintEscrow.SubmitItem[](2);
        items[0] = items[1] = _item(user, AMOUNT, REF);
        vm.prank(executor);
        IMintEscrow.ItemOutcome[] memory outcomes = escrow.submitIntents(items);
        _expectOutcome(outcomes[0], IMintEscrow.ItemOutcome.Done);
        _expectOutcome(outcomes[1], IMintEscrow.ItemOutcome.AlreadyExists);

        bytes32[] memory ids = new bytes32[](2);
        ids[0] = ids[1] = items[0].expectedId;
        vm.prank(executor);
        outcomes = escrow.executeMints(ids);
        _expectOutcome(outcomes[0], IMintEscrow.ItemOutcome.Done);
        _expectOutcome(outcomes[1], IMintEscrow.ItemOutcome.AlreadyExecuted);
        vm.assertEq(kes.totalSupply(), AMOUNT);

        ids[0] = ids[1] = _deposited("OTHER");
        vm.prank(executor);
        outcomes = escrow.refundIntents(ids, "declined");
        _expectOutcome(outcomes[0], IMintEscrow.ItemOutcome.Done);
        _expectOutcome(outcomes[1], IMintEscrow.ItemOutcome.AlreadyRefunded);
        _expectSolvent();
    }

    function test_a_wrong_id_is_reported_under_the_expected_one() public {
        IMintEscrow.SubmitItem memory item = _item(user, AMOUNT, REF);
        item.expectedId = "wrong";
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.ItemSkipped(
            "wrong",
            IMintEscrow.Command.Submit,
            IMintEscrow.ItemOutcome.IdMismatch,
            abi.encodePacked(IMintEscrow.IdMismatch.selector)
        );
        _expectOutcome(_submit(item), IMintEscrow.ItemOutcome.IdMismatch);
    }

    function test_paused_every_item_says_so_and_nothing_reverts() public {
        bytes32[] memory ids = _three();
        vm.prank(pauser);
        escrow.pause();
        vm.startPrank(executor);
        vm.recordLogs();
        _expectAll(escrow.executeMints(ids), IMintEscrow.ItemOutcome.EscrowPaused);
        _expectAll(escrow.refundIntents(ids, "declined"), IMintEscrow.ItemOutcome.EscrowPaused);
        _expectAll(escrow.submitIntents(_one(_item(user, AMOUNT, REF))), IMintEscrow.ItemOutcome.EscrowPaused);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 7);
        for (uint256 i = 0; i < logs.length; ++i) {
            vm.assertEq(logs[i].topics[0], IMintEscrow.ItemSkipped.selector);
            vm.assertEq(uint256(logs[i].topics[2]), i < 3 ? 1 : i < 6 ? 2 : 0);
        }
        vm.assertEq(escrow.pendingTotal(), 3 * AMOUNT);
    }

    function test_empty_batches_do_nothing() public {
        vm.startPrank(executor);
        vm.assertEq(escrow.submitIntents(new IMintEscrow.SubmitItem[](0)).length, 0);
        vm.assertEq(escrow.executeMints(new bytes32[](0)).length, 0);
        vm.assertEq(escrow.refundIntents(new bytes32[](0), "").length, 0);
    }

    /// @dev A mint needs a quarter of it. With less than the whole, what an item calls could fail for want of
    /// gas alone.
    function test_an_item_is_begun_only_with_its_whole_allowance() public {
        bytes32 id = _deposited(REF);
        uint256 allowance = escrow.EXECUTE_ITEM_GAS();
        vm.prank(executor);
        _expectOutcome(escrow.executeMints{gas: allowance}(_ids(id))[0], IMintEscrow.ItemOutcome.OutOfGas);
        _expectStatus(id, IMintEscrow.IntentStatus.Pending);
        vm.prank(executor);
        _expectOutcome(escrow.executeMints{gas: 2 * allowance}(_ids(id))[0], IMintEscrow.ItemOutcome.Done);
    }

    function test_without_room_for_an_item_the_rest_is_not_begun() public {
        bytes32[] memory ids = new bytes32[](12);
        for (uint256 i = 0; i < 12; ++i) {
            ids[i] = _deposited(_ref(i));
        }
        vm.prank(executor);
        IMintEscrow.ItemOutcome[] memory outcomes = escrow.executeMints{gas: 500_000}(ids);
        uint256 done;
        while (outcomes[done] == IMintEscrow.ItemOutcome.Done) ++done;
        vm.assertTrue(done > 0 && done < 12);
        for (uint256 i = done; i < 12; ++i) {
            _expectOutcome(outcomes[i], IMintEscrow.ItemOutcome.OutOfGas);
            _expectStatus(ids[i], IMintEscrow.IntentStatus.Pending);
        }
        vm.assertEq(kes.totalSupply(), done * AMOUNT);
    }

    /// @dev What the gas floor is for: whatever gas is given, an item is Done, or OutOfGas, or all reverts.
    /// Were it begun with less than its allowance, some limit would make it look like a failed transfer.
    function test_no_gas_limit_turns_an_item_into_another_failure() public {
        bytes32[] memory ids = _three();
        IMintEscrow.SubmitItem[] memory items = new IMintEscrow.SubmitItem[](2);
        items[0] = _item(user, AMOUNT, "S1");
        items[1] = _item(user, AMOUNT, "S2");
        bytes[3] memory calls = [
            abi.encodeCall(IMintEscrow.submitIntents, (items)),
            abi.encodeCall(IMintEscrow.executeMints, (ids)),
            abi.encodeCall(IMintEscrow.refundIntents, (ids, "declined"))
        ];
        for (uint256 c = 0; c < 3; ++c) {
            for (uint256 gasLimit = 30_000; gasLimit < 900_000; gasLimit += 3001) {
                _tryWith(calls[c], gasLimit);
            }
        }
    }

    /// @dev Reverts with the result, which undoes the call's effects.
    function _tryWith(bytes memory call, uint256 gasLimit) private {
        try this.tryAndRevert(call, gasLimit) {
            vm.assertTrue(false);
        } catch (bytes memory result) {
            vm.assertEq(result, abi.encodePacked(bytes4("fine")));
        }
    }

    function tryAndRevert(bytes calldata call, uint256 gasLimit) external {
        vm.prank(executor);
        (bool success, bytes memory answer) = address(escrow).call{gas: gasLimit}(call);
        bytes4 result = "fine";
        if (success) {
            IMintEscrow.ItemOutcome[] memory outcomes = abi.decode(answer, (IMintEscrow.ItemOutcome[]));
            for (uint256 i = 0; i < outcomes.length; ++i) {
                if (
                    outcomes[i] != IMintEscrow.ItemOutcome.Done
                        && outcomes[i] != IMintEscrow.ItemOutcome.OutOfGas
                ) result = "odd ";
            }
        }
        bytes memory revertData = abi.encodePacked(result);
        assembly {
            revert(add(revertData, 0x20), 4)
        }
    }

    function test_only_the_escrow_calls_its_item_functions() public {
        bytes32 id = _deposited(REF);
        IMintEscrow.SubmitItem memory item = _item(user, AMOUNT, "NEW");
        address[4] memory callers = [executor, admin, user, stranger];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.startPrank(callers[i]);
            vm.expectRevert(IMintEscrow.OnlySelf.selector);
            escrow.submitItem(item);
            vm.expectRevert(IMintEscrow.OnlySelf.selector);
            escrow.executeItem(id, executor);
            vm.expectRevert(IMintEscrow.OnlySelf.selector);
            escrow.refundItem(id, "");
            vm.stopPrank();
        }
    }

    function test_a_full_batch_fits_under_the_transaction_limit() public {
        bytes32[] memory ids = new bytes32[](256);
        for (uint256 i = 0; i < 256; ++i) {
            address account = vm.addr(i + 1);
            _makeCompliant(account);
            IMintEscrow.SubmitItem memory item = _item(account, 1e18, _ref(i));
            _submit(item);
            ids[i] = item.expectedId;
        }
        uint256 callCost = 21_000 + 16 * (32 * 258 + 4);
        vm.prank(executor);
        _expectAll(escrow.executeMints{gas: 16_777_216 - callCost}(ids), IMintEscrow.ItemOutcome.Done);
    }
}
