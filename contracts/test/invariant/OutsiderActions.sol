// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {ICountryToken} from "../../src/interfaces/ICountryToken.sol";
import {Indexer} from "../utils/Indexer.sol";
import {vm} from "../utils/Test.sol";
import {Handler, SystemUnderTest} from "./Handler.sol";
import {ReferenceModel} from "./ReferenceModel.sol";

/// @dev Accounts call functions that they lack the role for. The action succeeds when the call reverts.
contract OutsiderActions is Handler {
    constructor(SystemUnderTest memory system, ReferenceModel model, Indexer indexer)
        Handler(system, model, indexer)
    {}

    /// @dev No role holder can mint country tokens past the escrow.
    function mintTokens(uint256 seed) external action("mintTokens") {
        address[9] memory callers = [
            sut.admin,
            sut.upgrader,
            sut.pauser,
            sut.unpauser,
            sut.officer,
            sut.outsider,
            sut.executors[0],
            sut.treasuries[0],
            address(sut.manager)
        ];
        _refused(
            "mintTokens",
            callers[seed % 9],
            address(sut.kes),
            abi.encodeCall(ICountryToken.mint, (sut.outsider, 1 + (seed >> 8) % 1e21))
        );
    }

    function callWithoutRole(uint256 seed) external action("callWithoutRole") {
        bytes32 id = _pick(seed >> 16);
        bytes32[] memory ids = new bytes32[](1);
        ids[0] = id;
        bytes[12] memory calls = [
            abi.encodeCall(IMintEscrow.executeMint, (id)),
            abi.encodeCall(IMintEscrow.executeMints, (ids)),
            abi.encodeCall(IMintEscrow.refundIntent, (id, "")),
            abi.encodeCall(IMintEscrow.refundIntents, (ids, "")),
            abi.encodeCall(sut.escrow.executeItem, (id, sut.executors[0])),
            abi.encodeCall(sut.escrow.refundItem, (id, "")),
            abi.encodeCall(IMintEscrow.sweepSettled, (1)),
            abi.encodeCall(IMintEscrow.setTreasury, (sut.outsider)),
            abi.encodeCall(IMintEscrow.setExecutorMintPerHour, (type(uint128).max)),
            abi.encodeCall(IMintEscrow.setUserRegistry, (address(sut.registry))),
            abi.encodeCall(sut.escrow.upgradeToAndCall, (sut.implementations[0], "")),
            abi.encodeCall(sut.escrow.grantRole, (sut.escrow.EXECUTOR_ROLE(), sut.outsider))
        ];
        address caller = seed % 3 == 0 ? sut.outsider : seed % 3 == 1 ? sut.users[0] : sut.officer;
        _refused("callWithoutRole", caller, address(sut.escrow), calls[(seed >> 8) % 12]);
    }

    function _refused(bytes32 name, address caller, address target, bytes memory call) private {
        vm.prank(caller);
        (bool success,) = target.call(call);
        vm.assertFalse(success);
        MODEL.recordSuccess(name);
    }
}
