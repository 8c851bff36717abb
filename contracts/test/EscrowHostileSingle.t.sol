// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {HostileSource} from "./mocks/HostileSource.sol";
import {HostileToken} from "./mocks/HostileToken.sol";
import {vm} from "./utils/Test.sol";

/// @dev The same tokens and sources as EscrowHostile.t.sol, met outside a batch: there a failure reverts.
contract EscrowHostileSingleTest is EscrowFixture {
    HostileToken private coin;

    function setUp() public override {
        super.setUp();
        coin = new HostileToken();
        coin.mint(treasury, 1e28);
        coin.mint(user, 1e28);
        vm.prank(upgrader);
        escrow.setStablecoin(address(coin));
    }

    function test_a_deposit_that_did_not_fully_arrive_reverts_and_leaves_nothing() public {
        HostileToken.Mode[9] memory modes = [
            HostileToken.Mode.ReturnsFalse,
            HostileToken.Mode.ReturnsFalseButMoves,
            HostileToken.Mode.ReturnsTrueWithoutMoving,
            HostileToken.Mode.ReturnsGarbage,
            HostileToken.Mode.Reverts,
            HostileToken.Mode.RevertsAsNotCompliant,
            HostileToken.Mode.RevertsHuge,
            HostileToken.Mode.ReturnsHuge,
            HostileToken.Mode.TakesFee
        ];
        for (uint256 i = 0; i < modes.length; ++i) {
            coin.setMode(modes[i]);
            vm.prank(user);
            vm.expectRevert(IMintEscrow.TransferFailed.selector);
            escrow.submitIntent(AMOUNT, KES, REF);
        }
        vm.assertEq(escrow.pendingTotal(), 0);
        vm.assertEq(escrow.intentIdOf(user, REF), 0);
        vm.assertEq(escrow.dailyDeposited(user), 0);
        vm.assertEq(coin.balanceOf(address(escrow)), 0);
        coin.setMode(HostileToken.Mode.ReturnsNothing);
        vm.prank(user);
        escrow.submitIntent(AMOUNT, KES, REF);
        vm.assertEq(coin.balanceOf(address(escrow)), AMOUNT);
    }

    function _failsToPush() private pure returns (HostileToken.Mode[6] memory) {
        return [
            HostileToken.Mode.Reverts,
            HostileToken.Mode.RevertsHuge,
            HostileToken.Mode.ReturnsHuge,
            HostileToken.Mode.ReturnsFalse,
            HostileToken.Mode.ReturnsTrueWithoutMoving,
            HostileToken.Mode.BurnsGas
        ];
    }

    function test_a_refund_that_cannot_be_pushed_becomes_a_credit() public {
        HostileToken.Mode[6] memory modes = _failsToPush();
        for (uint256 i = 0; i < modes.length; ++i) {
            coin.setMode(HostileToken.Mode.Honest);
            bytes32 id = _deposited(_ref(i));
            coin.setMode(modes[i]);
            vm.prank(executor);
            escrow.refundIntent(id, "declined");
            _expectStatus(id, IMintEscrow.IntentStatus.Refunded);
            vm.assertEq(escrow.creditOf(treasury), (i + 1) * AMOUNT);
        }
        vm.assertEq(escrow.creditedTotal(), coin.balanceOf(address(escrow)));
    }

    function test_a_reclaim_that_cannot_be_pushed_becomes_a_credit() public {
        HostileToken.Mode[6] memory modes = _failsToPush();
        for (uint256 i = 0; i < modes.length; ++i) {
            coin.setMode(HostileToken.Mode.Honest);
            bytes32 id = _deposited(_ref(i));
            coin.setMode(modes[i]);
            vm.warp(escrow.getIntent(id).expiresAt);
            vm.prank(stranger);
            escrow.reclaim(id);
            vm.assertEq(escrow.creditOf(treasury), (i + 1) * AMOUNT);
        }
        vm.assertEq(escrow.creditOf(stranger), 0);
    }

    function test_a_refund_that_moves_another_amount_reverts() public {
        bytes32 id = _deposited(REF);
        _deposited("OTHER");
        HostileToken.Mode[2] memory modes = [HostileToken.Mode.TakesFee, HostileToken.Mode.TakesDouble];
        for (uint256 i = 0; i < 2; ++i) {
            coin.setMode(modes[i]);
            vm.prank(executor);
            vm.expectRevert(IMintEscrow.TransferFailed.selector);
            escrow.refundIntent(id, "declined");
            vm.warp(START + EXPIRY);
            vm.expectRevert(IMintEscrow.TransferFailed.selector);
            escrow.reclaim(id);
        }
        _expectStatus(id, IMintEscrow.IntentStatus.Pending);
    }

    function test_a_mint_without_a_clear_yes_reverts() public {
        HostileSource source = new HostileSource();
        vm.prank(admin);
        escrow.setUserRegistry(address(source));
        bytes32 id = _deposited(REF);
        HostileSource.Mode[10] memory modes = [
            HostileSource.Mode.NoWhilePaused,
            HostileSource.Mode.Reverts,
            HostileSource.Mode.RevertsAsNotCompliant,
            HostileSource.Mode.ReturnsNothing,
            HostileSource.Mode.ReturnsTwo,
            HostileSource.Mode.ReturnsTwoWords,
            HostileSource.Mode.ReturnsShort,
            HostileSource.Mode.BurnsGas,
            HostileSource.Mode.RevertsHuge,
            HostileSource.Mode.ReturnsHuge
        ];
        for (uint256 i = 0; i < modes.length; ++i) {
            source.setMode(modes[i]);
            vm.prank(executor);
            vm.expectRevert(IMintEscrow.CompliancePaused.selector);
            escrow.executeMint{gas: 1_000_000}(id);
        }
        source.setMode(HostileSource.Mode.No);
        vm.prank(executor);
        vm.expectRevert(IMintEscrow.UserNotCompliant.selector);
        escrow.executeMint(id);
        _expectStatus(id, IMintEscrow.IntentStatus.Pending);
    }

    /// @dev The country token is ours; a broken one must still not pass for the escrow's own refusals.
    function test_a_mint_that_fails_in_the_token_reverts_as_a_failed_transfer() public {
        bytes32 id = _deposited(REF);
        FailingToken.How[3] memory ways =
            [FailingToken.How.Reverts, FailingToken.How.RevertsHuge, FailingToken.How.RevertsAsExecuted];
        for (uint256 i = 0; i < ways.length; ++i) {
            vm.etch(address(kes), address(new FailingToken(ways[i])).code);
            vm.prank(executor);
            vm.expectRevert(IMintEscrow.TransferFailed.selector);
            escrow.executeMint(id);
            _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.TransferFailed);
        }
        _expectStatus(id, IMintEscrow.IntentStatus.Pending);
        vm.assertEq(escrow.executorMintAvailable(executor), 1e24);
    }
}

/// @dev A country token that never mints.
contract FailingToken {
    enum How {
        Reverts,
        RevertsHuge,
        RevertsAsExecuted
    }

    How private immutable HOW;

    constructor(How how) {
        HOW = how;
    }

    function mint(address, uint256) external view {
        if (HOW == How.RevertsAsExecuted) revert IMintEscrow.IntentAlreadyExecuted();
        uint256 size = HOW == How.RevertsHuge ? 100_000 : 0;
        assembly ("memory-safe") {
            revert(0x00, size)
        }
    }
}
