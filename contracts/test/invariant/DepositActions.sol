// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {HostileToken} from "../mocks/HostileToken.sol";
import {Indexer} from "../utils/Indexer.sol";
import {vm} from "../utils/Test.sol";
import {Actor, World} from "./Actor.sol";
import {Book} from "./Book.sol";

/// @dev Deposits by executors and by users, good ones and every kind of bad one.
contract DepositActions is Actor {
    bytes32 private constant KES = "KES";

    constructor(World memory world, Book book, Indexer index) Actor(world, book, index) {}

    /// @dev The first item of a batch is an ordinary one; the others may be anything.
    function submitBatch(uint256 seed) external action("submitBatch") {
        IMintEscrow.SubmitItem[] memory items = new IMintEscrow.SubmitItem[](1 + seed % 6);
        for (uint256 i = 0; i < items.length; ++i) {
            uint256 random = _random(seed, i);
            items[i] = _item(random, i == 0 ? 15 : random >> 240);
            if (i > 0 && random % 16 == 0) items[i] = items[i - 1];
        }
        HostileToken coin = _coin();
        coin.setMode(_mode(_random(seed, 77)));
        bool paused = w.escrow.paused();
        vm.prank(w.executors[seed % 2]);
        IMintEscrow.ItemOutcome[] memory outcomes = w.escrow.submitIntents(items);
        // Each item is predicted from the book as the items before it left it.
        for (uint256 i = 0; i < items.length; ++i) {
            IMintEscrow.ItemOutcome expected =
                paused ? IMintEscrow.ItemOutcome.EscrowPaused : _expected(items[i], true, coin.mode());
            _is(outcomes[i], expected);
            if (expected == IMintEscrow.ItemOutcome.Done) _record("submitBatch", items[i]);
        }
        coin.setMode(HostileToken.Mode.Honest);
    }

    function submitOwn(uint256 seed) external action("submitOwn") {
        IMintEscrow.SubmitItem memory item = _item(seed, seed >> 240);
        item.depositor = item.user = w.users[(seed >> 8) % 5];
        item.expectedId = _id(item);
        bool fine = !w.escrow.paused()
            && _expected(item, false, HostileToken.Mode.Honest) == IMintEscrow.ItemOutcome.Done;
        vm.prank(item.user);
        try w.escrow.submitIntent(item.amount, item.countryCode, item.txRef) returns (bytes32 id) {
            vm.assertTrue(fine, "a deposit was taken that should be refused");
            vm.assertEq(id, item.expectedId);
            _record("submitOwn", item);
        } catch {
            _forgetLogs();
            vm.assertFalse(fine);
        }
    }

    function _record(bytes32 name, IMintEscrow.SubmitItem memory item) private {
        uint256 expiry = w.escrow.depositExpirySeconds();
        uint256 limit = w.escrow.dailyLimitPerUser();
        BOOK.submit(item.expectedId, item.user, item.depositor, item.txRef, item.amount, expiry, limit);
        BOOK.success(name);
    }

    function _id(IMintEscrow.SubmitItem memory item) private view returns (bytes32) {
        return keccak256(
            abi.encode(
                block.chainid,
                address(w.escrow),
                item.depositor,
                item.user,
                item.amount,
                item.countryCode,
                item.txRef
            )
        );
    }

    /// @param oddity below 9 spoils one field
    function _item(uint256 random, uint256 oddity) private view returns (IMintEscrow.SubmitItem memory item) {
        item.depositor = w.escrow.treasury();
        item.user = w.users[(random >> 8) % 5];
        uint256 min = w.escrow.minMintAmount();
        item.amount = min + (random >> 32) % (w.escrow.maxMintAmount() - min + 1);
        item.countryCode = KES;
        // Few enough references that they collide.
        item.txRef = bytes32(abi.encodePacked("R", vm.toString((random >> 16) % 2000)));
        oddity %= 32;
        if (oddity == 0) item.depositor = w.treasuries[(random >> 24) % 3];
        if (oddity == 1) item.depositor = w.users[(random >> 24) % 5];
        if (oddity == 2) item.amount = w.escrow.maxMintAmount() + 1;
        if (oddity == 3) item.amount = min - 1;
        if (oddity == 4) item.countryCode = "UGX";
        if (oddity == 5) item.user = address(w.kes);
        if (oddity == 6) item.txRef = bytes32(random) | bytes32(uint256(1));
        if (oddity == 7 && BOOK.count() != 0) item = _known(random);
        item.expectedId = _id(item);
        if (oddity == 8) item.amount += 1;
    }

    /// @dev An intent that is there already, whatever became of it.
    function _known(uint256 random) private view returns (IMintEscrow.SubmitItem memory item) {
        bytes32 id = BOOK.ids((random >> 24) % BOOK.count());
        IMintEscrow.Intent memory intent = w.escrow.getIntent(id);
        return IMintEscrow.SubmitItem(
            id, intent.depositor, intent.user, intent.amount, intent.countryCode, intent.txRef
        );
    }

    function _mode(uint256 random) private pure returns (HostileToken.Mode) {
        if (random % 16 == 0) return HostileToken.Mode.TakesFee;
        if (random % 16 == 1) return HostileToken.Mode.ReturnsFalse;
        if (random % 16 == 2) return HostileToken.Mode.ReturnsNothing;
        if (random % 16 == 3) return HostileToken.Mode.RevertsHuge;
        return HostileToken.Mode.Honest;
    }

    function _expected(IMintEscrow.SubmitItem memory item, bool byExecutor, HostileToken.Mode mode)
        private
        view
        returns (IMintEscrow.ItemOutcome)
    {
        if (_id(item) != item.expectedId) return IMintEscrow.ItemOutcome.IdMismatch;
        if (BOOK.entryOf(item.expectedId).amount != 0) return IMintEscrow.ItemOutcome.AlreadyExists;
        if (BOOK.refUsed(item.depositor, item.txRef)) return IMintEscrow.ItemOutcome.TxRefAlreadyUsed;
        if (item.user == address(w.kes)) return IMintEscrow.ItemOutcome.InvalidUser;
        if (item.countryCode != KES) return IMintEscrow.ItemOutcome.InvalidCountryCode;
        if (item.amount < w.escrow.minMintAmount() || item.amount > w.escrow.maxMintAmount()) {
            return IMintEscrow.ItemOutcome.InvalidAmount;
        }
        if (uint256(item.txRef) & 0xff != 0) return IMintEscrow.ItemOutcome.Unknown;
        if (byExecutor && !w.escrow.isAllowedDepositor(item.depositor)) {
            return IMintEscrow.ItemOutcome.DepositorNotAllowed;
        }
        uint256 today = BOOK.depositedOn(item.user, block.timestamp / 1 days);
        if (today + item.amount > w.escrow.dailyLimitPerUser()) {
            return IMintEscrow.ItemOutcome.DailyLimitExceeded;
        }
        bool moves = mode == HostileToken.Mode.Honest || mode == HostileToken.Mode.ReturnsNothing;
        return moves ? IMintEscrow.ItemOutcome.Done : IMintEscrow.ItemOutcome.TransferFailed;
    }
}
