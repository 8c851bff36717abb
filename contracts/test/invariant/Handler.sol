// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ComplianceManager} from "../../src/ComplianceManager.sol";
import {CountryToken} from "../../src/CountryToken.sol";
import {MintEscrow} from "../../src/MintEscrow.sol";
import {UserRegistry} from "../../src/UserRegistry.sol";
import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {HostileToken} from "../mocks/HostileToken.sol";
import {ChainLogs} from "../utils/ChainLogs.sol";
import {Indexer} from "../utils/Indexer.sol";
import {vm} from "../utils/Test.sol";
import {ReferenceModel} from "./ReferenceModel.sol";

/// @dev The contracts under test and the accounts that act on them.
struct SystemUnderTest {
    MintEscrow escrow;
    CountryToken kes;
    ComplianceManager manager;
    UserRegistry registry;
    HostileToken[2] coins;
    address[5] users;
    address[2] executors;
    address[3] treasuries;
    address admin;
    address upgrader;
    address pauser;
    address unpauser;
    address officer;
    address outsider;
    address[2] implementations;
}

/// @dev Base of all handlers. An action never reverts: it predicts from the model what will happen, does it,
/// and fails the campaign when the prediction was wrong.
abstract contract Handler {
    ReferenceModel internal immutable MODEL;
    Indexer internal immutable INDEXER;
    SystemUnderTest internal sut;

    constructor(SystemUnderTest memory system, ReferenceModel model, Indexer indexer) {
        sut = system;
        MODEL = model;
        INDEXER = indexer;
    }

    /// @dev Counts the action and hands its events to the indexer. An action whose whole call reverted must
    /// have called _forgetLogs.
    modifier action(bytes32 name) {
        MODEL.beginAction(name);
        vm.recordLogs();
        _;
        INDEXER.ingest(ChainLogs.real(vm.getRecordedLogs()));
    }

    /// @dev Drops the logs of a call that reverted: they are on no chain.
    function _forgetLogs() internal {
        vm.getRecordedLogs();
    }

    function _coin() internal view returns (HostileToken) {
        return HostileToken(sut.escrow.stablecoin());
    }

    function _random(uint256 seed, uint256 salt) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, salt)));
    }

    /// @dev Picks mostly pending ids, some settled ones, and a few unknown ones.
    function _pick(uint256 random) internal view returns (bytes32) {
        uint256 kind = random % 16;
        random >>= 8;
        bytes32[] memory pending = MODEL.pendingIds();
        if (kind == 0 || MODEL.count() == 0) return bytes32(random);
        if (kind < 4 || pending.length == 0) return MODEL.ids(random % MODEL.count());
        return pending[random % pending.length];
    }

    /// @dev Picks one to six ids, repeats included.
    function _pickSome(uint256 seed) internal view returns (bytes32[] memory batch) {
        batch = new bytes32[](1 + seed % 6);
        for (uint256 i = 0; i < batch.length; ++i) {
            batch[i] = _pick(_random(seed, i));
            if (i > 0 && _random(seed, 100 + i) % 8 == 0) batch[i] = batch[i - 1];
        }
    }

    function _expectOutcome(IMintEscrow.ItemOutcome actual, IMintEscrow.ItemOutcome expected) internal pure {
        vm.assertEq(uint256(actual), uint256(expected), "predicted outcome");
    }

    /// @dev Returns why an id cannot be settled, or Done when it can.
    function _settleable(bytes32 id) internal view returns (IMintEscrow.ItemOutcome) {
        ReferenceModel.Entry memory entry = MODEL.entryOf(id);
        if (entry.amount == 0) return IMintEscrow.ItemOutcome.NotFound;
        if (entry.mints != 0) return IMintEscrow.ItemOutcome.AlreadyExecuted;
        if (entry.refunds != 0) return IMintEscrow.ItemOutcome.AlreadyRefunded;
        return IMintEscrow.ItemOutcome.Done;
    }

    function _compliant(address user) internal view returns (IMintEscrow.ItemOutcome) {
        if (sut.manager.paused()) return IMintEscrow.ItemOutcome.CompliancePaused;
        if (!sut.manager.isCompliant(user)) return IMintEscrow.ItemOutcome.NotCompliant;
        return IMintEscrow.ItemOutcome.Done;
    }
}
