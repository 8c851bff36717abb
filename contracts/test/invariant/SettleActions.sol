// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {HostileToken} from "../mocks/HostileToken.sol";
import {Indexer} from "../utils/Indexer.sol";
import {vm} from "../utils/Test.sol";
import {Actor, World} from "./Actor.sol";
import {Book} from "./Book.sol";

/// @dev Every way an intent may end, single and in batches, over a coin that may misbehave.
contract SettleActions is Actor {
    constructor(World memory world, Book book, Indexer index) Actor(world, book, index) {}

    function executeBatch(uint256 seed) external action("executeBatch") {
        bytes32[] memory batch = _pickSome(seed);
        address executor = w.executors[(seed >> 8) % 2];
        uint256 left = w.escrow.executorMintAvailable(executor);
        bool paused = w.escrow.paused();
        vm.prank(executor);
        IMintEscrow.ItemOutcome[] memory outcomes = w.escrow.executeMints(batch);
        for (uint256 i = 0; i < batch.length; ++i) {
            IMintEscrow.ItemOutcome expected =
                paused ? IMintEscrow.ItemOutcome.EscrowPaused : _expectedMint(batch[i], left);
            _is(outcomes[i], expected);
            if (expected != IMintEscrow.ItemOutcome.Done) continue;
            left -= BOOK.entryOf(batch[i]).amount;
            _minted("executeBatch", batch[i], executor);
        }
    }

    function executeOne(uint256 seed) external action("executeOne") {
        bytes32 id = _pick(seed);
        address executor = w.executors[(seed >> 8) % 2];
        uint256 left = w.escrow.executorMintAvailable(executor);
        bool fine = !w.escrow.paused() && _expectedMint(id, left) == IMintEscrow.ItemOutcome.Done;
        vm.prank(executor);
        try w.escrow.executeMint(id) {
            vm.assertTrue(fine, "a mint was made that should be refused");
            _minted("executeOne", id, executor);
        } catch {
            _forgetLogs();
            vm.assertFalse(fine);
        }
    }

    /// @dev With too little gas for all: what is done is the front of the batch, and the rest stays as it was.
    function executeStarved(uint256 seed) external action("executeStarved") {
        bytes32[] memory batch = _pickSome(seed);
        address executor = w.executors[(seed >> 8) % 2];
        uint256 gasLimit = 150_000 + (seed >> 16) % 500_000;
        vm.prank(executor);
        try w.escrow.executeMints{gas: gasLimit}(batch) returns (IMintEscrow.ItemOutcome[] memory outcomes) {
            bool starved;
            for (uint256 i = 0; i < batch.length; ++i) {
                bool outOfGas = outcomes[i] == IMintEscrow.ItemOutcome.OutOfGas;
                vm.assertTrue(!starved || outOfGas, "no item is begun after one had no room");
                starved = starved || outOfGas;
                if (outcomes[i] == IMintEscrow.ItemOutcome.Done) {
                    _minted("executeStarved", batch[i], executor);
                }
            }
        } catch {
            _forgetLogs();
        }
    }

    function refundBatch(uint256 seed) external action("refundBatch") {
        bytes32[] memory batch = _pickSome(seed);
        HostileToken coin = _spoil(seed >> 8, batch[0]);
        bool paused = w.escrow.paused();
        vm.prank(w.executors[seed % 2]);
        IMintEscrow.ItemOutcome[] memory outcomes = w.escrow.refundIntents(batch, "declined");
        for (uint256 i = 0; i < batch.length; ++i) {
            IMintEscrow.ItemOutcome expected =
                paused ? IMintEscrow.ItemOutcome.EscrowPaused : _expectedReturn(batch[i], coin.mode());
            _is(outcomes[i], expected);
            if (expected == IMintEscrow.ItemOutcome.Done) _gaveBack("refundBatch", batch[i], coin);
        }
        _mend(coin);
    }

    function refundOne(uint256 seed) external action("refundOne") {
        bytes32 id = _pick(seed);
        HostileToken coin = _spoil(seed >> 8, id);
        bool fine = !w.escrow.paused() && _expectedReturn(id, coin.mode()) == IMintEscrow.ItemOutcome.Done;
        vm.prank(w.executors[(seed >> 16) % 2]);
        try w.escrow.refundIntent(id, "declined") {
            vm.assertTrue(fine, "a refund was made that should be refused");
            _gaveBack("refundOne", id, coin);
        } catch {
            _forgetLogs();
            vm.assertFalse(fine);
        }
        _mend(coin);
    }

    /// @dev Anyone, paused or not.
    function reclaim(uint256 seed) external action("reclaim") {
        bytes32 id = _pick(seed);
        HostileToken coin = _spoil(seed >> 8, id);
        bool fine = _expectedReturn(id, coin.mode()) == IMintEscrow.ItemOutcome.Done
            && block.timestamp >= BOOK.entryOf(id).expiresAt;
        vm.prank(seed % 2 == 0 ? w.outsider : w.users[0]);
        try w.escrow.reclaim(id) {
            vm.assertTrue(fine, "a deposit was reclaimed that should not be");
            _gaveBack("reclaim", id, coin);
        } catch {
            _forgetLogs();
            vm.assertFalse(fine);
        }
        _mend(coin);
    }

    function withdraw(uint256 seed) external action("withdraw") {
        address account = seed % 2 == 0 ? w.treasuries[(seed >> 8) % 3] : w.users[(seed >> 8) % 5];
        uint256 credit = BOOK.creditOf(account);
        uint256 before = _coin().balanceOf(account);
        vm.prank(account);
        try w.escrow.withdraw() returns (uint256 amount) {
            vm.assertEq(amount, credit, "the whole credit");
            vm.assertTrue(credit != 0);
            vm.assertEq(_coin().balanceOf(account), before + credit);
            BOOK.withdraw(account);
            BOOK.success("withdraw");
        } catch {
            _forgetLogs();
            vm.assertEq(credit, 0, "a credit is paid");
        }
    }

    function _minted(bytes32 name, bytes32 id, address executor) private {
        BOOK.mint(id, executor, address(_coin()));
        BOOK.success(name);
    }

    function _gaveBack(bytes32 name, bytes32 id, HostileToken coin) private {
        BOOK.giveBack(id, _fails(coin.mode()));
        BOOK.success(name);
    }

    function _expectedMint(bytes32 id, uint256 left) private view returns (IMintEscrow.ItemOutcome outcome) {
        outcome = _settleable(id);
        if (outcome != IMintEscrow.ItemOutcome.Done) return outcome;
        Book.Entry memory entry = BOOK.entryOf(id);
        outcome = _compliant(entry.user);
        if (outcome != IMintEscrow.ItemOutcome.Done) return outcome;
        if (entry.amount > left) return IMintEscrow.ItemOutcome.RateLimited;
        if (w.kes.paused()) return IMintEscrow.ItemOutcome.TokenPaused;
    }

    function _expectedReturn(bytes32 id, HostileToken.Mode mode)
        private
        view
        returns (IMintEscrow.ItemOutcome outcome)
    {
        outcome = _settleable(id);
        if (outcome == IMintEscrow.ItemOutcome.Done && mode == HostileToken.Mode.TakesFee) {
            outcome = IMintEscrow.ItemOutcome.TransferFailed;
        }
    }

    /// @dev Half of the time the coin behaves.
    function _spoil(uint256 random, bytes32 target) private returns (HostileToken coin) {
        coin = _coin();
        HostileToken.Mode mode = HostileToken.Mode.Honest;
        if (random % 16 == 0) mode = HostileToken.Mode.Reverts;
        if (random % 16 == 1) mode = HostileToken.Mode.ReturnsFalse;
        if (random % 16 == 2) mode = HostileToken.Mode.ReturnsTrueWithoutMoving;
        if (random % 16 == 3) mode = HostileToken.Mode.RevertsHuge;
        if (random % 16 == 4) mode = HostileToken.Mode.BurnsGas;
        if (random % 16 == 5) mode = HostileToken.Mode.ReturnsFalseButMoves;
        if (random % 16 == 6) mode = HostileToken.Mode.TakesFee;
        if (random % 16 == 7) mode = HostileToken.Mode.ReentersReclaim;
        if (random % 16 == 8) mode = HostileToken.Mode.ReentersWithdraw;
        coin.setTarget(target);
        coin.setMode(mode);
    }

    /// @dev Nothing moves in these modes, so the deposit becomes a credit.
    function _fails(HostileToken.Mode mode) private pure returns (bool) {
        return mode == HostileToken.Mode.Reverts || mode == HostileToken.Mode.ReturnsFalse
            || mode == HostileToken.Mode.ReturnsTrueWithoutMoving || mode == HostileToken.Mode.RevertsHuge
            || mode == HostileToken.Mode.BurnsGas;
    }

    function _mend(HostileToken coin) private {
        vm.assertFalse(coin.reentered());
        coin.setMode(HostileToken.Mode.Honest);
    }
}
