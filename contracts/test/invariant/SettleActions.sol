// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {HostileToken} from "../mocks/HostileToken.sol";
import {Indexer} from "../utils/Indexer.sol";
import {vm} from "../utils/Test.sol";
import {Handler, SystemUnderTest} from "./Handler.sol";
import {ReferenceModel} from "./ReferenceModel.sol";

/// @dev Intents are executed, refunded and reclaimed, single and in batches, over a coin that may misbehave.
contract SettleActions is Handler {
    constructor(SystemUnderTest memory system, ReferenceModel model, Indexer indexer)
        Handler(system, model, indexer)
    {}

    function executeBatch(uint256 seed) external action("executeBatch") {
        bytes32[] memory batch = _pickSome(seed);
        address executor = sut.executors[(seed >> 8) % 2];
        uint256 left = sut.escrow.executorMintAvailable(executor);
        bool paused = sut.escrow.paused();
        vm.prank(executor);
        IMintEscrow.ItemOutcome[] memory outcomes = sut.escrow.executeMints(batch);
        for (uint256 i = 0; i < batch.length; ++i) {
            IMintEscrow.ItemOutcome expected =
                paused ? IMintEscrow.ItemOutcome.EscrowPaused : _expectedMint(batch[i], left);
            _expectOutcome(outcomes[i], expected);
            if (expected != IMintEscrow.ItemOutcome.Done) continue;
            left -= MODEL.entryOf(batch[i]).amount;
            _recordMint("executeBatch", batch[i], executor);
        }
    }

    function executeOne(uint256 seed) external action("executeOne") {
        bytes32 id = _pick(seed);
        address executor = sut.executors[(seed >> 8) % 2];
        uint256 left = sut.escrow.executorMintAvailable(executor);
        bool fine = !sut.escrow.paused() && _expectedMint(id, left) == IMintEscrow.ItemOutcome.Done;
        vm.prank(executor);
        try sut.escrow.executeMint(id) {
            vm.assertTrue(fine, "a mint was made that should be refused");
            _recordMint("executeOne", id, executor);
        } catch {
            _forgetLogs();
            vm.assertFalse(fine);
        }
    }

    /// @dev Gives too little gas for all items: the first ones are done, and the rest stays as it was.
    function executeStarved(uint256 seed) external action("executeStarved") {
        bytes32[] memory batch = _pickSome(seed);
        address executor = sut.executors[(seed >> 8) % 2];
        uint256 gasLimit = 150_000 + (seed >> 16) % 500_000;
        vm.prank(executor);
        try sut.escrow.executeMints{gas: gasLimit}(batch) returns (
            IMintEscrow.ItemOutcome[] memory outcomes
        ) {
            bool starved;
            for (uint256 i = 0; i < batch.length; ++i) {
                bool outOfGas = outcomes[i] == IMintEscrow.ItemOutcome.OutOfGas;
                vm.assertTrue(!starved || outOfGas, "no item is begun after one lacked gas");
                starved = starved || outOfGas;
                if (outcomes[i] == IMintEscrow.ItemOutcome.Done) {
                    _recordMint("executeStarved", batch[i], executor);
                }
            }
        } catch {
            _forgetLogs();
        }
    }

    function refundBatch(uint256 seed) external action("refundBatch") {
        bytes32[] memory batch = _pickSome(seed);
        HostileToken coin = _setRandomMode(seed >> 8, batch[0]);
        bool paused = sut.escrow.paused();
        vm.prank(sut.executors[seed % 2]);
        IMintEscrow.ItemOutcome[] memory outcomes = sut.escrow.refundIntents(batch, "declined");
        for (uint256 i = 0; i < batch.length; ++i) {
            IMintEscrow.ItemOutcome expected =
                paused ? IMintEscrow.ItemOutcome.EscrowPaused : _expectedRefund(batch[i], coin.mode());
            _expectOutcome(outcomes[i], expected);
            if (expected == IMintEscrow.ItemOutcome.Done) _recordRefund("refundBatch", batch[i], coin);
        }
        _setHonest(coin);
    }

    function refundOne(uint256 seed) external action("refundOne") {
        bytes32 id = _pick(seed);
        HostileToken coin = _setRandomMode(seed >> 8, id);
        bool fine = !sut.escrow.paused() && _expectedRefund(id, coin.mode()) == IMintEscrow.ItemOutcome.Done;
        vm.prank(sut.executors[(seed >> 16) % 2]);
        try sut.escrow.refundIntent(id, "declined") {
            vm.assertTrue(fine, "a refund was made that should be refused");
            _recordRefund("refundOne", id, coin);
        } catch {
            _forgetLogs();
            vm.assertFalse(fine);
        }
        _setHonest(coin);
    }

    /// @dev Anyone may reclaim, whether the escrow is paused or not.
    function reclaim(uint256 seed) external action("reclaim") {
        bytes32 id = _pick(seed);
        HostileToken coin = _setRandomMode(seed >> 8, id);
        bool fine = _expectedRefund(id, coin.mode()) == IMintEscrow.ItemOutcome.Done
            && block.timestamp >= MODEL.entryOf(id).expiresAt;
        vm.prank(seed % 2 == 0 ? sut.outsider : sut.users[0]);
        try sut.escrow.reclaim(id) {
            vm.assertTrue(fine, "a deposit was reclaimed that should not be");
            _recordRefund("reclaim", id, coin);
        } catch {
            _forgetLogs();
            vm.assertFalse(fine);
        }
        _setHonest(coin);
    }

    function withdraw(uint256 seed) external action("withdraw") {
        address account = seed % 2 == 0 ? sut.treasuries[(seed >> 8) % 3] : sut.users[(seed >> 8) % 5];
        uint256 credit = MODEL.creditOf(account);
        uint256 before = _coin().balanceOf(account);
        vm.prank(account);
        try sut.escrow.withdraw() returns (uint256 amount) {
            vm.assertEq(amount, credit, "the whole credit");
            vm.assertTrue(credit != 0);
            vm.assertEq(_coin().balanceOf(account), before + credit);
            MODEL.withdraw(account);
            MODEL.recordSuccess("withdraw");
        } catch {
            _forgetLogs();
            vm.assertEq(credit, 0, "a credit is paid");
        }
    }

    function _recordMint(bytes32 name, bytes32 id, address executor) private {
        MODEL.mint(id, executor, address(_coin()));
        MODEL.recordSuccess(name);
    }

    function _recordRefund(bytes32 name, bytes32 id, HostileToken coin) private {
        MODEL.refund(id, _leavesCredit(coin.mode()));
        MODEL.recordSuccess(name);
    }

    function _expectedMint(bytes32 id, uint256 left) private view returns (IMintEscrow.ItemOutcome outcome) {
        outcome = _settleable(id);
        if (outcome != IMintEscrow.ItemOutcome.Done) return outcome;
        ReferenceModel.Entry memory entry = MODEL.entryOf(id);
        outcome = _compliant(entry.user);
        if (outcome != IMintEscrow.ItemOutcome.Done) return outcome;
        if (entry.amount > left) return IMintEscrow.ItemOutcome.RateLimited;
        if (sut.kes.paused()) return IMintEscrow.ItemOutcome.TokenPaused;
    }

    function _expectedRefund(bytes32 id, HostileToken.Mode mode)
        private
        view
        returns (IMintEscrow.ItemOutcome outcome)
    {
        outcome = _settleable(id);
        if (outcome == IMintEscrow.ItemOutcome.Done && mode == HostileToken.Mode.TakesFee) {
            outcome = IMintEscrow.ItemOutcome.TransferFailed;
        }
    }

    /// @dev Makes the coin misbehave in about half of the calls.
    function _setRandomMode(uint256 random, bytes32 target) private returns (HostileToken coin) {
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

    /// @dev Whether the coin moves nothing in this mode, so that the deposit becomes a credit.
    function _leavesCredit(HostileToken.Mode mode) private pure returns (bool) {
        return mode == HostileToken.Mode.Reverts || mode == HostileToken.Mode.ReturnsFalse
            || mode == HostileToken.Mode.ReturnsTrueWithoutMoving || mode == HostileToken.Mode.RevertsHuge
            || mode == HostileToken.Mode.BurnsGas;
    }

    function _setHonest(HostileToken coin) private {
        vm.assertFalse(coin.reentered());
        coin.setMode(HostileToken.Mode.Honest);
    }
}
