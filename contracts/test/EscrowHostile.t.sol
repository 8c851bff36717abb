// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {HostileSource} from "./mocks/HostileSource.sol";
import {HostileToken} from "./mocks/HostileToken.sol";
import {vm} from "./utils/Test.sol";

/// @dev Tokens and compliance sources that lie, fail, burn or re-enter.
contract EscrowHostileTest is EscrowFixture {
    HostileToken private coin;
    HostileSource private source;

    function setUp() public override {
        super.setUp();
        coin = new HostileToken();
        source = new HostileSource();
        coin.mint(treasury, 1e28);
        vm.prank(upgrader);
        escrow.setStablecoin(address(coin));
    }

    function _safe() private view {
        vm.assertGe(
            coin.balanceOf(address(escrow)), escrow.pendingTotal() + escrow.creditedTotal(), "solvent"
        );
    }

    function _submitGives(HostileToken.Mode mode, IMintEscrow.ItemOutcome expected) private {
        coin.setMode(mode);
        _expectOutcome(_submit(_item(user, AMOUNT, _ref(uint256(mode)))), expected);
        _safe();
    }

    function test_deposits_count_only_what_arrived() public {
        IMintEscrow.ItemOutcome failed = IMintEscrow.ItemOutcome.TransferFailed;
        _submitGives(HostileToken.Mode.Honest, IMintEscrow.ItemOutcome.Done);
        _submitGives(HostileToken.Mode.ReturnsNothing, IMintEscrow.ItemOutcome.Done);
        _submitGives(HostileToken.Mode.ReturnsFalse, failed);
        _submitGives(HostileToken.Mode.ReturnsFalseButMoves, failed);
        _submitGives(HostileToken.Mode.ReturnsTrueWithoutMoving, failed);
        _submitGives(HostileToken.Mode.ReturnsGarbage, failed);
        _submitGives(HostileToken.Mode.Reverts, failed);
        _submitGives(HostileToken.Mode.RevertsAsNotCompliant, failed);
        _submitGives(HostileToken.Mode.RevertsHuge, failed);
        _submitGives(HostileToken.Mode.TakesFee, failed);
        vm.assertEq(escrow.pendingTotal(), 2 * AMOUNT);
    }

    function test_a_token_that_burns_gas_burns_only_its_items_allowance() public {
        coin.setMode(HostileToken.Mode.BurnsGas);
        IMintEscrow.SubmitItem memory item = _item(user, AMOUNT, REF);
        vm.prank(executor);
        uint256 before = gasleft();
        IMintEscrow.ItemOutcome outcome = escrow.submitIntents{gas: 5_000_000}(_one(item))[0];
        vm.assertLt(before - gasleft(), escrow.SUBMIT_ITEM_GAS() + 60_000, "gas burnt");
        vm.assertTrue(
            outcome == IMintEscrow.ItemOutcome.OutOfGas || outcome == IMintEscrow.ItemOutcome.TransferFailed
        );
    }

    function test_a_paused_stablecoin_is_waited_for() public {
        coin.setPaused(true);
        _expectOutcome(_submit(_item(user, AMOUNT, REF)), IMintEscrow.ItemOutcome.TokenPaused);
    }

    function test_a_token_without_readable_balances_is_not_used() public {
        coin.setBalanceFails(true);
        _expectOutcome(_submit(_item(user, AMOUNT, REF)), IMintEscrow.ItemOutcome.TransferFailed);
    }

    function _refundCredits(HostileToken.Mode mode) private {
        bytes32 id = _deposited(_ref(uint256(mode)));
        uint256 credit = escrow.creditOf(treasury);
        coin.setMode(mode);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.MintRefunded(id, user, AMOUNT, "declined");
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.DepositCredited(id, treasury, AMOUNT);
        _expectOutcome(_refund(id), IMintEscrow.ItemOutcome.Done);
        vm.assertEq(escrow.creditOf(treasury), credit + AMOUNT);
        vm.assertEq(escrow.creditedTotal(), credit + AMOUNT);
        coin.setMode(HostileToken.Mode.Honest);
        _safe();
    }

    function test_a_failed_push_becomes_a_credit_that_is_withdrawn_once() public {
        _refundCredits(HostileToken.Mode.Reverts);
        _refundCredits(HostileToken.Mode.RevertsHuge);
        _refundCredits(HostileToken.Mode.ReturnsFalse);
        _refundCredits(HostileToken.Mode.ReturnsTrueWithoutMoving);
        _refundCredits(HostileToken.Mode.BurnsGas);
        uint256 before = coin.balanceOf(treasury);
        vm.prank(pauser);
        escrow.pause();
        vm.startPrank(treasury);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.CreditWithdrawn(treasury, 5 * AMOUNT);
        vm.assertEq(escrow.withdraw(), 5 * AMOUNT);
        vm.assertEq(coin.balanceOf(treasury), before + 5 * AMOUNT);
        vm.assertEq(escrow.creditedTotal(), 0);
        vm.expectRevert(IMintEscrow.NothingToWithdraw.selector);
        escrow.withdraw();
    }

    function test_a_withdrawal_that_fails_keeps_the_credit() public {
        _refundCredits(HostileToken.Mode.Reverts);
        HostileToken.Mode[3] memory modes =
            [HostileToken.Mode.Reverts, HostileToken.Mode.ReturnsFalse, HostileToken.Mode.TakesDouble];
        coin.mint(address(escrow), AMOUNT);
        for (uint256 i = 0; i < modes.length; ++i) {
            coin.setMode(modes[i]);
            vm.prank(treasury);
            vm.expectRevert(IMintEscrow.TransferFailed.selector);
            escrow.withdraw();
        }
        vm.assertEq(escrow.creditOf(treasury), AMOUNT);
    }

    function test_a_push_that_moved_the_money_is_paid_whatever_it_answers() public {
        bytes32 id = _deposited(REF);
        coin.setMode(HostileToken.Mode.ReturnsFalseButMoves);
        _expectOutcome(_refund(id), IMintEscrow.ItemOutcome.Done);
        vm.assertEq(escrow.creditedTotal(), 0);
        vm.assertEq(coin.balanceOf(address(escrow)), 0);
    }

    function test_a_push_that_moves_another_amount_is_undone() public {
        bytes32 id = _deposited(REF);
        bytes32 other = _deposited("OTHER");
        coin.setMode(HostileToken.Mode.TakesDouble);
        _expectOutcome(_refund(id), IMintEscrow.ItemOutcome.TransferFailed);
        coin.setMode(HostileToken.Mode.TakesFee);
        _expectOutcome(_refund(id), IMintEscrow.ItemOutcome.TransferFailed);
        _expectStatus(id, IMintEscrow.IntentStatus.Pending);
        _expectStatus(other, IMintEscrow.IntentStatus.Pending);
        _safe();
    }

    function test_a_token_cannot_re_enter() public {
        bytes32 id = _deposited(REF);
        bytes32 target = _deposited("TARGET");
        // The token itself holds the role, the worst case for the batch path.
        bytes32 role = escrow.EXECUTOR_ROLE();
        vm.prank(admin);
        escrow.grantRole(role, address(coin));
        _makeCompliant(user);
        vm.warp(START + EXPIRY);
        coin.setTarget(target);
        HostileToken.Mode[3] memory modes = [
            HostileToken.Mode.ReentersReclaim,
            HostileToken.Mode.ReentersWithdraw,
            HostileToken.Mode.ReentersBatch
        ];
        uint256 snapshotPending = escrow.pendingTotal();
        for (uint256 i = 0; i < modes.length; ++i) {
            coin.setMode(modes[i]);
            _expectOutcome(_submit(_item(user, AMOUNT, _ref(i))), IMintEscrow.ItemOutcome.Done);
        }
        vm.assertFalse(coin.reentered());
        vm.assertEq(escrow.pendingTotal(), snapshotPending + 3 * AMOUNT);
        coin.setMode(HostileToken.Mode.ReentersBatch);
        _expectOutcome(_refund(id), IMintEscrow.ItemOutcome.Done);
        vm.assertFalse(coin.reentered());
        _expectStatus(target, IMintEscrow.IntentStatus.Pending);
        _safe();
    }

    function test_a_single_deposit_cannot_be_used_to_re_enter() public {
        bytes32 target = _deposited("TARGET");
        coin.mint(user, AMOUNT);
        vm.warp(START + EXPIRY);
        coin.setTarget(target);
        coin.setMode(HostileToken.Mode.ReentersReclaim);
        vm.prank(user);
        escrow.submitIntent(AMOUNT, KES, REF);
        vm.assertFalse(coin.reentered());
        _expectStatus(target, IMintEscrow.IntentStatus.Pending);
        _safe();
    }

    function test_whoever_reclaims_cannot_starve_the_push_into_a_credit() public {
        bytes32 id = _deposited(REF);
        vm.warp(START + EXPIRY);
        coin.setMode(HostileToken.Mode.WantsGas);
        for (uint256 gasLimit = 60_000; gasLimit < 400_000; gasLimit += 2000) {
            (bool success,) = address(escrow).call{gas: gasLimit}(abi.encodeCall(IMintEscrow.reclaim, (id)));
            if (success) break;
        }
        _expectStatus(id, IMintEscrow.IntentStatus.Refunded);
        vm.assertEq(escrow.creditedTotal(), 0);
    }

    function _sourceGives(HostileSource.Mode mode, IMintEscrow.ItemOutcome expected) private {
        source.setMode(mode);
        bytes32 id = _deposited(_ref(100 + uint256(mode)));
        vm.prank(executor);
        _expectOutcome(escrow.executeMints{gas: 5_000_000}(_ids(id))[0], expected);
    }

    function test_only_a_clean_false_of_an_unpaused_source_is_not_compliant() public {
        vm.prank(admin);
        escrow.setUserRegistry(address(source));
        IMintEscrow.ItemOutcome wait = IMintEscrow.ItemOutcome.CompliancePaused;
        _sourceGives(HostileSource.Mode.Yes, IMintEscrow.ItemOutcome.Done);
        _sourceGives(HostileSource.Mode.No, IMintEscrow.ItemOutcome.NotCompliant);
        _sourceGives(HostileSource.Mode.NoWhilePaused, wait);
        _sourceGives(HostileSource.Mode.Reverts, wait);
        _sourceGives(HostileSource.Mode.RevertsAsNotCompliant, wait);
        _sourceGives(HostileSource.Mode.ReturnsNothing, wait);
        _sourceGives(HostileSource.Mode.ReturnsTwo, wait);
        _sourceGives(HostileSource.Mode.ReturnsTwoWords, wait);
        _sourceGives(HostileSource.Mode.ReturnsShort, wait);
        _sourceGives(HostileSource.Mode.BurnsGas, wait);
        vm.assertEq(kes.totalSupply(), AMOUNT);
    }

    function test_a_source_whose_code_vanished_is_waited_for() public {
        vm.prank(admin);
        escrow.setUserRegistry(address(source));
        vm.etch(address(source), "");
        _expectOutcome(_execute(_deposited(REF)), IMintEscrow.ItemOutcome.CompliancePaused);
    }

    function test_an_intent_is_executed_before_its_token_is_called() public {
        // This country token reads the escrow when it is called: it sees what it would find on re-entry.
        bytes32 id = _deposited(REF);
        vm.etch(address(kes), address(new LookingBackToken(escrow, id)).code);
        _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.Done);
        vm.assertEq(escrow.pendingTotal(), 0);
    }
}

/// @dev Mints only when the escrow already reports Executed, and tries to re-enter.
contract LookingBackToken {
    IMintEscrow private immutable ESCROW;
    bytes32 private immutable ID;

    constructor(IMintEscrow escrow, bytes32 id) {
        (ESCROW, ID) = (escrow, id);
    }

    function mint(address, uint256) external {
        require(ESCROW.getIntentStatus(ID) == IMintEscrow.IntentStatus.Executed);
        require(ESCROW.pendingTotal() == 0);
        (bool success,) = address(ESCROW).call(abi.encodeCall(IMintEscrow.reclaim, (ID)));
        require(!success);
    }
}
