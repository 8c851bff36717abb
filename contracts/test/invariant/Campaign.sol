// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MintEscrow} from "../../src/MintEscrow.sol";
import {HostileToken} from "../mocks/HostileToken.sol";
import {MintEscrowNext} from "../mocks/MintEscrowNext.sol";
import {EscrowFixture} from "../utils/EscrowFixture.sol";
import {Indexer} from "../utils/Indexer.sol";
import {Vm, vm} from "../utils/Test.sol";
import {SystemUnderTest} from "./Handler.sol";
import {ReferenceModel} from "./ReferenceModel.sol";
import {DepositActions} from "./DepositActions.sol";
import {GovernanceActions} from "./GovernanceActions.sol";
import {OutsiderActions} from "./OutsiderActions.sol";
import {SettleActions} from "./SettleActions.sol";

/// @dev Builds the system, its accounts and its handlers, and lists every action by name.
abstract contract Campaign is EscrowFixture {
    struct Action {
        address handler;
        bytes4 selector;
        bytes32 name;
    }

    /// @dev How many of the first `actions` move money.
    uint256 private constant MONEY_ACTIONS = 9;

    SystemUnderTest internal sut;
    ReferenceModel internal model;
    Indexer internal indexer;
    Action[] internal actions;

    function setUp() public virtual override {
        vm.recordLogs();
        super.setUp();
        _assignAccounts();
        for (uint256 i = 0; i < 2; ++i) {
            sut.coins[i] = _fundedCoin();
        }
        vm.prank(upgrader);
        escrow.setStablecoin(address(sut.coins[0]));
        indexer = new Indexer(address(escrow), address(kes));
        indexer.ingest(vm.getRecordedLogs());
        model = new ReferenceModel();
        model.noteAllowance(escrow.executorMintPerHour());
        _actions();
    }

    function _assignAccounts() private {
        (sut.escrow, sut.kes, sut.manager, sut.registry) = (escrow, kes, manager, registry);
        sut.admin = admin;
        sut.upgrader = upgrader;
        sut.pauser = pauser;
        sut.unpauser = unpauser;
        sut.officer = officer;
        sut.outsider = stranger;
        sut.executors = [executor, otherExecutor];
        sut.treasuries = [treasury, _account("treasury 2"), _account("treasury 3")];
        sut.implementations = [address(new MintEscrow()), address(new MintEscrowNext())];
        for (uint256 i = 0; i < 5; ++i) {
            sut.users[i] = address(uint160(0xA11CE + i));
            _makeCompliant(sut.users[i]);
        }
    }

    function _fundedCoin() private returns (HostileToken coin) {
        coin = new HostileToken();
        coin.mint(stranger, 1e28);
        for (uint256 i = 0; i < 3; ++i) {
            coin.mint(sut.treasuries[i], 1e28);
        }
        for (uint256 i = 0; i < 5; ++i) {
            coin.mint(sut.users[i], 1e28);
        }
    }

    function _actions() private {
        address deposits = address(new DepositActions(sut, model, indexer));
        _add(deposits, "submitBatch");
        _add(deposits, "submitOwn");
        address settle = address(new SettleActions(sut, model, indexer));
        _add(settle, "executeBatch");
        _add(settle, "executeOne");
        _add(settle, "executeStarved");
        _add(settle, "refundBatch");
        _add(settle, "refundOne");
        _add(settle, "reclaim");
        _add(settle, "withdraw");
        address governance = address(new GovernanceActions(sut, model, indexer));
        _add(governance, "assessUser");
        _add(governance, "changeCompliancePolicy");
        _add(governance, "pauseEscrow");
        _add(governance, "pauseManager");
        _add(governance, "pauseToken");
        _add(governance, "changeLimits");
        _add(governance, "changeTreasury");
        _add(governance, "sweep");
        _add(governance, "donate");
        _add(governance, "changeCoin");
        _add(governance, "upgrade");
        _add(governance, "wait");
        address outsiders = address(new OutsiderActions(sut, model, indexer));
        _add(outsiders, "mintTokens");
        _add(outsiders, "callWithoutRole");
    }

    function _add(address handler, bytes32 name) private {
        bytes32 full = keccak256(abi.encodePacked(_text(name), "(uint256)"));
        actions.push(Action(handler, bytes4(full), name));
    }

    /// @dev Runs one action; at least half of the draws are actions that move money.
    function _step(uint256 random) internal {
        uint256 among = random % 2 == 0 ? MONEY_ACTIONS : actions.length;
        Action memory one = actions[(random >> 8) % among];
        (bool success, bytes memory answer) =
            one.handler.call(abi.encodeWithSelector(one.selector, random >> 24));
        if (success) return;
        assembly ("memory-safe") {
            revert(add(answer, 0x20), mload(answer))
        }
    }

    function _text(bytes32 word) internal pure returns (bytes memory text) {
        uint256 length;
        while (length < 32 && word[length] != 0) ++length;
        text = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            text[i] = word[i];
        }
    }
}
