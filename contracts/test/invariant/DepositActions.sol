// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {HostileToken} from "../mocks/HostileToken.sol";
import {Indexer} from "../utils/Indexer.sol";
import {vm} from "../utils/Test.sol";
import {Handler, SystemUnderTest} from "./Handler.sol";
import {ReferenceModel} from "./ReferenceModel.sol";

/// @dev Executors and users make deposits, valid ones and every kind of invalid one.
contract DepositActions is Handler {
    bytes32 private constant KES = "KES";

    constructor(SystemUnderTest memory system, ReferenceModel model, Indexer indexer)
        Handler(system, model, indexer)
    {}

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
        bool paused = sut.escrow.paused();
        vm.prank(sut.executors[seed % 2]);
        IMintEscrow.ItemOutcome[] memory outcomes = sut.escrow.submitIntents(items);
        // The model is updated item by item, so each prediction sees the items before it.
        for (uint256 i = 0; i < items.length; ++i) {
            IMintEscrow.ItemOutcome expected =
                paused ? IMintEscrow.ItemOutcome.EscrowPaused : _expected(items[i], true, coin.mode());
            _expectOutcome(outcomes[i], expected);
            if (expected == IMintEscrow.ItemOutcome.Done) _record("submitBatch", items[i]);
        }
        coin.setMode(HostileToken.Mode.Honest);
    }

    function submitOwn(uint256 seed) external action("submitOwn") {
        IMintEscrow.SubmitItem memory item = _item(seed, seed >> 240);
        item.depositor = item.user = sut.users[(seed >> 8) % 5];
        item.expectedId = _id(item);
        bool fine = !sut.escrow.paused()
            && _expected(item, false, HostileToken.Mode.Honest) == IMintEscrow.ItemOutcome.Done;
        vm.prank(item.user);
        try sut.escrow.submitIntent(item.amount, item.countryCode, item.txRef) returns (bytes32 id) {
            vm.assertTrue(fine, "a deposit was taken that should be refused");
            vm.assertEq(id, item.expectedId);
            _record("submitOwn", item);
        } catch {
            _forgetLogs();
            vm.assertFalse(fine);
        }
    }

    function _record(bytes32 name, IMintEscrow.SubmitItem memory item) private {
        uint256 expiry = sut.escrow.depositExpirySeconds();
        uint256 limit = sut.escrow.dailyLimitPerUser();
        MODEL.submit(item.expectedId, item.user, item.depositor, item.txRef, item.amount, expiry, limit);
        MODEL.recordSuccess(name);
    }

    function _id(IMintEscrow.SubmitItem memory item) private view returns (bytes32) {
        return keccak256(
            abi.encode(
                block.chainid,
                address(sut.escrow),
                item.depositor,
                item.user,
                item.amount,
                item.countryCode,
                item.txRef
            )
        );
    }

    /// @param defect a value below 9 (modulo 32) makes one field invalid
    function _item(uint256 random, uint256 defect) private view returns (IMintEscrow.SubmitItem memory item) {
        item.depositor = sut.escrow.treasury();
        item.user = sut.users[(random >> 8) % 5];
        uint256 min = sut.escrow.minMintAmount();
        item.amount = min + (random >> 32) % (sut.escrow.maxMintAmount() - min + 1);
        item.countryCode = KES;
        // References are few enough to collide.
        item.txRef = bytes32(abi.encodePacked("R", vm.toString((random >> 16) % 2000)));
        defect %= 32;
        if (defect == 0) item.depositor = sut.treasuries[(random >> 24) % 3];
        if (defect == 1) item.depositor = sut.users[(random >> 24) % 5];
        if (defect == 2) item.amount = sut.escrow.maxMintAmount() + 1;
        if (defect == 3) item.amount = min - 1;
        if (defect == 4) item.countryCode = "UGX";
        if (defect == 5) item.user = address(sut.kes);
        if (defect == 6) item.txRef = bytes32(random) | bytes32(uint256(1));
        if (defect == 7 && MODEL.count() != 0) item = _known(random);
        item.expectedId = _id(item);
        if (defect == 8) item.amount += 1;
    }

    /// @dev Returns the item of an intent that exists already, in whatever status.
    function _known(uint256 random) private view returns (IMintEscrow.SubmitItem memory item) {
        bytes32 id = MODEL.ids((random >> 24) % MODEL.count());
        IMintEscrow.Intent memory intent = sut.escrow.getIntent(id);
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
        if (MODEL.entryOf(item.expectedId).amount != 0) return IMintEscrow.ItemOutcome.AlreadyExists;
        if (MODEL.refUsed(item.depositor, item.txRef)) return IMintEscrow.ItemOutcome.TxRefAlreadyUsed;
        if (item.user == address(sut.kes)) return IMintEscrow.ItemOutcome.InvalidUser;
        if (item.countryCode != KES) return IMintEscrow.ItemOutcome.InvalidCountryCode;
        if (item.amount < sut.escrow.minMintAmount() || item.amount > sut.escrow.maxMintAmount()) {
            return IMintEscrow.ItemOutcome.InvalidAmount;
        }
        if (uint256(item.txRef) & 0xff != 0) return IMintEscrow.ItemOutcome.Unknown;
        if (byExecutor && !sut.escrow.isAllowedDepositor(item.depositor)) {
            return IMintEscrow.ItemOutcome.DepositorNotAllowed;
        }
        uint256 today = MODEL.depositedOn(item.user, block.timestamp / 1 days);
        if (today + item.amount > sut.escrow.dailyLimitPerUser()) {
            return IMintEscrow.ItemOutcome.DailyLimitExceeded;
        }
        bool moves = mode == HostileToken.Mode.Honest || mode == HostileToken.Mode.ReturnsNothing;
        return moves ? IMintEscrow.ItemOutcome.Done : IMintEscrow.ItemOutcome.TransferFailed;
    }
}
