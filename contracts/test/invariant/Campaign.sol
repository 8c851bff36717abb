// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MintEscrow} from "../../src/MintEscrow.sol";
import {HostileToken} from "../mocks/HostileToken.sol";
import {MintEscrowNext} from "../mocks/MintEscrowNext.sol";
import {EscrowFixture} from "../utils/EscrowFixture.sol";
import {Indexer} from "../utils/Indexer.sol";
import {Vm, vm} from "../utils/Test.sol";
import {World} from "./Actor.sol";
import {Book} from "./Book.sol";
import {DepositActions} from "./DepositActions.sol";
import {OfficeActions} from "./OfficeActions.sol";
import {OutsiderActions} from "./OutsiderActions.sol";
import {SettleActions} from "./SettleActions.sol";

/// @dev The system with everybody who acts on it, and every action by name.
abstract contract Campaign is EscrowFixture {
    struct Action {
        address handler;
        bytes4 selector;
        bytes32 name;
    }

    /// @dev The first of `actions`.
    uint256 private constant MONEY_ACTIONS = 9;

    World internal world;
    Book internal book;
    Indexer internal index;
    Action[] internal actions;

    function setUp() public virtual override {
        vm.recordLogs();
        super.setUp();
        _people();
        for (uint256 i = 0; i < 2; ++i) {
            world.coins[i] = _fundedCoin();
        }
        vm.prank(upgrader);
        escrow.setStablecoin(address(world.coins[0]));
        index = new Indexer(address(escrow), address(kes));
        index.absorb(vm.getRecordedLogs());
        book = new Book();
        book.allow(escrow.executorMintPerHour());
        _actions();
    }

    function _people() private {
        (world.escrow, world.kes, world.manager, world.registry) = (escrow, kes, manager, registry);
        world.admin = admin;
        world.upgrader = upgrader;
        world.pauser = pauser;
        world.unpauser = unpauser;
        world.officer = officer;
        world.outsider = stranger;
        world.executors = [executor, otherExecutor];
        world.treasuries = [treasury, _account("treasury 2"), _account("treasury 3")];
        world.implementations = [address(new MintEscrow()), address(new MintEscrowNext())];
        for (uint256 i = 0; i < 5; ++i) {
            world.users[i] = address(uint160(0xA11CE + i));
            _makeCompliant(world.users[i]);
        }
    }

    function _fundedCoin() private returns (HostileToken coin) {
        coin = new HostileToken();
        coin.mint(stranger, 1e28);
        for (uint256 i = 0; i < 3; ++i) {
            coin.mint(world.treasuries[i], 1e28);
        }
        for (uint256 i = 0; i < 5; ++i) {
            coin.mint(world.users[i], 1e28);
        }
    }

    function _actions() private {
        address deposits = address(new DepositActions(world, book, index));
        _add(deposits, "submitBatch");
        _add(deposits, "submitOwn");
        address settle = address(new SettleActions(world, book, index));
        _add(settle, "executeBatch");
        _add(settle, "executeOne");
        _add(settle, "executeStarved");
        _add(settle, "refundBatch");
        _add(settle, "refundOne");
        _add(settle, "reclaim");
        _add(settle, "withdraw");
        address office = address(new OfficeActions(world, book, index));
        _add(office, "judge");
        _add(office, "changeCompliancePolicy");
        _add(office, "pauseEscrow");
        _add(office, "pauseManager");
        _add(office, "pauseToken");
        _add(office, "changeLimits");
        _add(office, "changeTreasury");
        _add(office, "sweep");
        _add(office, "donate");
        _add(office, "changeCoin");
        _add(office, "upgrade");
        _add(office, "wait");
        address outsiders = address(new OutsiderActions(world, book, index));
        _add(outsiders, "mintTokens");
        _add(outsiders, "trespass");
    }

    function _add(address handler, bytes32 name) private {
        bytes32 full = keccak256(abi.encodePacked(_text(name), "(uint256)"));
        actions.push(Action(handler, bytes4(full), name));
    }

    /// @dev One action; half of them move money.
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
