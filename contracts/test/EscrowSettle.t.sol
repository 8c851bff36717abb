// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";
import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {vm} from "./utils/Test.sol";

/// @dev Intents are executed, refunded and reclaimed, and each ends once.
contract EscrowSettleTest is EscrowFixture {
    function _expectRefused(bytes4 selector, bytes memory call) private {
        vm.prank(executor);
        vm.expectRevert(selector);
        (bool ignored,) = address(escrow).call(call);
        ignored;
    }

    function _executeCall(bytes32 id) private pure returns (bytes memory) {
        return abi.encodeCall(IMintEscrow.executeMint, (id));
    }

    function _refundCall(bytes32 id) private pure returns (bytes memory) {
        return abi.encodeCall(IMintEscrow.refundIntent, (id, "declined"));
    }

    function test_execute_mints_one_to_one() public {
        bytes32 id = _deposited(REF);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.MintExecuted(id, user, AMOUNT, KES, REF);
        vm.prank(executor);
        escrow.executeMint(id);
        _expectStatus(id, IMintEscrow.IntentStatus.Executed);
        vm.assertFalse(escrow.isPending(id));
        vm.assertEq(kes.balanceOf(user), AMOUNT);
        vm.assertEq(escrow.pendingTotal(), 0);
        vm.assertEq(escrow.sweepable(), AMOUNT);
    }

    function test_refund_returns_the_deposit() public {
        uint256 before = dai.balanceOf(treasury);
        bytes32 id = _deposited(REF);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.MintRefunded(id, user, AMOUNT, "declined");
        vm.prank(executor);
        escrow.refundIntent(id, "declined");
        _expectStatus(id, IMintEscrow.IntentStatus.Refunded);
        vm.assertEq(dai.balanceOf(treasury), before);
        vm.assertEq(kes.totalSupply(), 0);
        vm.assertEq(escrow.pendingTotal(), 0);
        vm.assertEq(escrow.sweepable(), 0);
    }

    function test_an_executed_intent_never_pays_again() public {
        bytes32 id = _deposited(REF);
        _execute(id);
        vm.warp(START + EXPIRY);
        bytes4 refused = IMintEscrow.IntentAlreadyExecuted.selector;
        _expectRefused(refused, _executeCall(id));
        _expectRefused(refused, _refundCall(id));
        _expectRefused(refused, abi.encodeCall(IMintEscrow.reclaim, (id)));
        _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.AlreadyExecuted);
        _expectOutcome(_refund(id), IMintEscrow.ItemOutcome.AlreadyExecuted);
        vm.assertEq(kes.totalSupply(), AMOUNT);
    }

    function test_a_refunded_intent_never_pays_again() public {
        bytes32 id = _deposited(REF);
        _refund(id);
        vm.warp(START + EXPIRY);
        bytes4 refused = IMintEscrow.IntentAlreadyRefunded.selector;
        _expectRefused(refused, _executeCall(id));
        _expectRefused(refused, _refundCall(id));
        _expectRefused(refused, abi.encodeCall(IMintEscrow.reclaim, (id)));
        _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.AlreadyRefunded);
        _expectOutcome(_refund(id), IMintEscrow.ItemOutcome.AlreadyRefunded);
        vm.assertEq(kes.totalSupply(), 0);
    }

    function test_unknown_ids() public {
        bytes4 refused = IMintEscrow.IntentNotFound.selector;
        _expectRefused(refused, _executeCall(REF));
        _expectRefused(refused, _refundCall(REF));
        _expectRefused(refused, abi.encodeCall(IMintEscrow.reclaim, (REF)));
        _expectOutcome(_execute(REF), IMintEscrow.ItemOutcome.NotFound);
        _expectOutcome(_refund(REF), IMintEscrow.ItemOutcome.NotFound);
    }

    function test_a_non_compliant_user_is_not_minted_to_but_refundable() public {
        bytes32 id = _deposited(REF);
        vm.prank(officer);
        manager.updateUserRisk(user, 92);
        _expectRefused(IMintEscrow.UserNotCompliant.selector, _executeCall(id));
        _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.NotCompliant);
        _expectStatus(id, IMintEscrow.IntentStatus.Pending);
        _expectOutcome(_refund(id), IMintEscrow.ItemOutcome.Done);
    }

    function test_a_user_nobody_knows_is_not_compliant() public {
        IMintEscrow.SubmitItem memory item = _item(stranger, AMOUNT, REF);
        _submit(item);
        _expectOutcome(_execute(item.expectedId), IMintEscrow.ItemOutcome.NotCompliant);
    }

    function test_a_paused_manager_is_never_a_refusal_of_the_user() public {
        bytes32 id = _deposited(REF);
        vm.prank(officer);
        manager.updateUserRisk(user, 92);
        vm.prank(pauser);
        manager.pause();
        _expectRefused(IMintEscrow.CompliancePaused.selector, _executeCall(id));
        _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.CompliancePaused);
    }

    function test_a_paused_token_is_waited_for() public {
        bytes32 id = _deposited(REF);
        vm.prank(pauser);
        kes.pause();
        _expectRefused(IMintEscrow.TokenPaused.selector, _executeCall(id));
        _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.TokenPaused);
        _expectStatus(id, IMintEscrow.IntentStatus.Pending);
        vm.assertEq(escrow.executorMintAvailable(executor), 1e24);
    }

    function test_each_executor_has_its_own_hourly_allowance() public {
        vm.prank(admin);
        escrow.setExecutorMintPerHour(2 * AMOUNT);
        bytes32[4] memory ids = [_deposited("A"), _deposited("B"), _deposited("C"), _deposited("D")];
        _expectOutcome(_execute(ids[0]), IMintEscrow.ItemOutcome.Done);
        _expectOutcome(_execute(ids[1]), IMintEscrow.ItemOutcome.Done);
        vm.assertEq(escrow.executorMintAvailable(executor), 0);
        _expectOutcome(_execute(ids[2]), IMintEscrow.ItemOutcome.RateLimited);
        _expectRefused(IMintEscrow.RateLimited.selector, _executeCall(ids[2]));
        vm.prank(otherExecutor);
        escrow.executeMint(ids[2]);
        vm.warp(START + 30 minutes - 1);
        _expectOutcome(_execute(ids[3]), IMintEscrow.ItemOutcome.RateLimited);
        vm.warp(START + 30 minutes);
        _expectOutcome(_execute(ids[3]), IMintEscrow.ItemOutcome.Done);
    }

    function test_an_allowance_of_zero_stops_every_mint() public {
        bytes32 id = _deposited(REF);
        vm.prank(admin);
        escrow.setExecutorMintPerHour(0);
        _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.RateLimited);
        vm.assertEq(escrow.executorMintAvailable(executor), 0);
    }

    function test_paused_singles_revert_and_deposits_can_still_be_reclaimed() public {
        bytes32 id = _deposited(REF);
        vm.prank(pauser);
        escrow.pause();
        bytes4 stopped = PausableUpgradeable.EnforcedPause.selector;
        _expectRefused(stopped, _executeCall(id));
        _expectRefused(stopped, _refundCall(id));
        vm.warp(START + EXPIRY);
        vm.prank(stranger);
        escrow.reclaim(id);
        _expectStatus(id, IMintEscrow.IntentStatus.Refunded);
    }

    function test_anyone_reclaims_for_the_depositor_from_expiry_on() public {
        uint256 before = dai.balanceOf(treasury);
        bytes32 id = _deposited(REF);
        vm.warp(START + EXPIRY - 1);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IMintEscrow.NotExpired.selector, START + EXPIRY));
        escrow.reclaim(id);
        vm.warp(START + EXPIRY);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.MintRefunded(id, user, AMOUNT, "expired");
        vm.prank(stranger);
        escrow.reclaim(id);
        vm.assertEq(dai.balanceOf(treasury), before);
        vm.assertEq(dai.balanceOf(stranger), 0);
    }

    function test_expiry_alone_refuses_no_mint() public {
        bytes32 id = _deposited(REF);
        vm.warp(START + 2 * EXPIRY);
        _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.Done);
    }

    function test_a_deposit_keeps_the_expiry_it_was_made_with() public {
        bytes32 id = _deposited(REF);
        vm.prank(admin);
        escrow.setDepositExpirySeconds(1 hours);
        vm.assertEq(escrow.getIntent(id).expiresAt, START + EXPIRY);
        vm.assertEq(escrow.getIntent(_deposited("LATER")).expiresAt, START + 1 hours);
    }

    function test_a_reason_has_its_bound() public {
        bytes32 id = _deposited(REF);
        string memory long = string(new bytes(257));
        _expectRefused(
            IMintEscrow.ReasonTooLong.selector, abi.encodeCall(IMintEscrow.refundIntent, (id, long))
        );
        _expectRefused(
            IMintEscrow.ReasonTooLong.selector, abi.encodeCall(IMintEscrow.refundIntents, (_ids(id), long))
        );
        vm.prank(executor);
        escrow.refundIntent(id, string(new bytes(256)));
    }

    function test_reclaim_with_too_little_gas_does_nothing_at_all() public {
        bytes32 id = _deposited(REF);
        vm.warp(START + EXPIRY);
        for (uint256 gasLimit = 30_000; gasLimit < 320_000; gasLimit += 5000) {
            (bool success,) = address(escrow).call{gas: gasLimit}(abi.encodeCall(IMintEscrow.reclaim, (id)));
            if (success) break;
            _expectStatus(id, IMintEscrow.IntentStatus.Pending);
        }
        // Enough gas made the reclaim succeed, and no smaller amount left a credit where a push was possible.
        _expectStatus(id, IMintEscrow.IntentStatus.Refunded);
        vm.assertEq(escrow.creditedTotal(), 0);
    }

    function testFuzz_deposits_are_paid_out_once_and_in_full(uint96 amount, bool mint) public {
        amount = uint96(1e18 + amount % (1e21 - 1e18 + 1));
        uint256 before = dai.balanceOf(treasury);
        IMintEscrow.SubmitItem memory item = _item(user, amount, REF);
        _expectOutcome(_submit(item), IMintEscrow.ItemOutcome.Done);
        _expectOutcome(
            mint ? _execute(item.expectedId) : _refund(item.expectedId), IMintEscrow.ItemOutcome.Done
        );
        vm.assertEq(kes.totalSupply(), mint ? amount : 0);
        vm.assertEq(dai.balanceOf(treasury), mint ? before - amount : before);
        vm.assertEq(escrow.sweepable(), mint ? amount : 0);
        vm.assertEq(escrow.pendingTotal(), 0);
    }
}
