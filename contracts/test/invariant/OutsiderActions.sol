// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {ICountryToken} from "../../src/interfaces/ICountryToken.sol";
import {Indexer} from "../utils/Indexer.sol";
import {vm} from "../utils/Test.sol";
import {Actor, World} from "./Actor.sol";
import {Book} from "./Book.sol";

/// @dev Everybody tries what is not theirs to do. A refusal is the success.
contract OutsiderActions is Actor {
    constructor(World memory world, Book book, Indexer index) Actor(world, book, index) {}

    /// @dev Not even the governors print country tokens.
    function mintTokens(uint256 seed) external action("mintTokens") {
        address[9] memory callers = [
            w.admin,
            w.upgrader,
            w.pauser,
            w.unpauser,
            w.officer,
            w.outsider,
            w.executors[0],
            w.treasuries[0],
            address(w.manager)
        ];
        _refused(
            "mintTokens",
            callers[seed % 9],
            address(w.kes),
            abi.encodeCall(ICountryToken.mint, (w.outsider, 1 + (seed >> 8) % 1e21))
        );
    }

    function trespass(uint256 seed) external action("trespass") {
        bytes32 id = _pick(seed >> 16);
        bytes32[] memory ids = new bytes32[](1);
        ids[0] = id;
        bytes[12] memory calls = [
            abi.encodeCall(IMintEscrow.executeMint, (id)),
            abi.encodeCall(IMintEscrow.executeMints, (ids)),
            abi.encodeCall(IMintEscrow.refundIntent, (id, "")),
            abi.encodeCall(IMintEscrow.refundIntents, (ids, "")),
            abi.encodeCall(w.escrow.executeItem, (id, w.executors[0])),
            abi.encodeCall(w.escrow.refundItem, (id, "")),
            abi.encodeCall(IMintEscrow.sweepSettled, (1)),
            abi.encodeCall(IMintEscrow.setTreasury, (w.outsider)),
            abi.encodeCall(IMintEscrow.setExecutorMintPerHour, (type(uint128).max)),
            abi.encodeCall(IMintEscrow.setUserRegistry, (address(w.registry))),
            abi.encodeCall(w.escrow.upgradeToAndCall, (w.implementations[0], "")),
            abi.encodeCall(w.escrow.grantRole, (w.escrow.EXECUTOR_ROLE(), w.outsider))
        ];
        address caller = seed % 3 == 0 ? w.outsider : seed % 3 == 1 ? w.users[0] : w.officer;
        _refused("trespass", caller, address(w.escrow), calls[(seed >> 8) % 12]);
    }

    function _refused(bytes32 name, address caller, address target, bytes memory call) private {
        vm.prank(caller);
        (bool success,) = target.call(call);
        vm.assertFalse(success);
        BOOK.success(name);
    }
}
