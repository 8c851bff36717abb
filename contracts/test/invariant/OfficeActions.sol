// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {GovernedPausable} from "../../src/base/GovernedPausable.sol";
import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {Indexer} from "../utils/Indexer.sol";
import {vm} from "../utils/Test.sol";
import {Actor, World} from "./Actor.sol";
import {Book} from "./Book.sol";

/// @dev What officers, pausers, admins and time do to the system while money is under way.
contract OfficeActions is Actor {
    constructor(World memory world, Book book, Indexer index) Actor(world, book, index) {}

    /// @dev Three of four judgements are good, so that mints go on.
    function judge(uint256 seed) external action("judge") {
        address user = w.users[(seed >> 8) % 5];
        bool fine = seed % 4 != 0;
        bool paused = w.manager.paused();
        vm.prank(w.officer);
        try w.manager.setUserCompliance(user, fine ? 1 : 100, "A", seed % 8 != 4) {
            vm.assertFalse(paused);
            BOOK.success("judge");
        } catch {
            vm.assertTrue(paused);
        }
    }

    function changeCompliancePolicy(uint256 seed) external action("changeCompliancePolicy") {
        vm.prank(w.admin);
        w.registry.setCompliancePolicy(91, seed % 2 == 0, uint64((seed >> 8) % 1 hours));
        BOOK.success("changeCompliancePolicy");
    }

    function pauseEscrow(uint256 seed) external action("pauseEscrow") {
        _toggle("pauseEscrow", seed, GovernedPausable(address(w.escrow)));
    }

    function pauseManager(uint256 seed) external action("pauseManager") {
        _toggle("pauseManager", seed, GovernedPausable(address(w.manager)));
    }

    function pauseToken(uint256 seed) external action("pauseToken") {
        _toggle("pauseToken", seed, GovernedPausable(address(w.kes)));
    }

    /// @dev A pause is rarer than its end.
    function _toggle(bytes32 name, uint256 seed, GovernedPausable target) private {
        bool paused = target.paused();
        if (!paused && seed % 8 == 0) {
            vm.prank(w.pauser);
            target.pause();
            BOOK.success(name);
        } else if (paused) {
            vm.prank(w.unpauser);
            target.unpause();
        }
    }

    /// @dev Small enough to be met by a handful of intents.
    function changeLimits(uint256 seed) external action("changeLimits") {
        uint256 perHour = (1 + (seed >> 8) % 8) * 1e21;
        vm.startPrank(w.admin);
        w.escrow.setExecutorMintPerHour(perHour);
        w.escrow.setDailyLimitPerUser((2 + (seed >> 16) % 9) * 1e21);
        w.escrow.setMintLimits(1e18 + (seed >> 24) % 1e18, 1e20 + (seed >> 32) % 9e20);
        w.escrow.setDepositExpirySeconds(1 hours + (seed >> 40) % 1 days);
        vm.stopPrank();
        BOOK.allow(perHour);
        BOOK.success("changeLimits");
    }

    function changeTreasury(uint256 seed) external action("changeTreasury") {
        vm.startPrank(w.admin);
        w.escrow.setTreasury(w.treasuries[seed % 3]);
        address former = w.treasuries[(seed >> 8) % 3];
        bool revocable = former != w.escrow.treasury() && w.escrow.isAllowedDepositor(former);
        try w.escrow.revokeTreasury(former) {
            vm.assertTrue(revocable, "the present treasury cannot be revoked");
        } catch {
            vm.assertFalse(revocable);
        }
        vm.stopPrank();
        BOOK.success("changeTreasury");
    }

    /// @dev Up to twice what may leave.
    function sweep(uint256 seed) external action("sweep") {
        uint256 settled = BOOK.settledIn(address(_coin()));
        uint256 amount = settled == 0 ? seed % 1e18 + 1 : 1 + seed % (2 * settled);
        vm.prank(w.admin);
        try w.escrow.sweepSettled(amount) {
            vm.assertLe(amount, settled, "only settled backing is swept");
            BOOK.lose(address(_coin()), amount);
            BOOK.success("sweep");
        } catch {
            vm.assertTrue(amount > settled, "settled backing can be swept");
        }
    }

    function donate(uint256 seed) external action("donate") {
        uint256 amount = 1 + seed % 1e20;
        vm.prank(w.outsider);
        w.coins[seed % 2].transfer(address(w.escrow), amount);
        BOOK.gain(address(w.coins[seed % 2]), amount);
        BOOK.success("donate");
    }

    /// @dev To the other coin, if nobody is owed anything; what is left of the former one goes home.
    function changeCoin(uint256 seed) external action("changeCoin") {
        if (seed % 4 == 0) _closeBooks();
        address former = address(_coin());
        address next = address(w.coins[former == address(w.coins[0]) ? 1 : 0]);
        bool owed = BOOK.pending() + BOOK.credits() != 0;
        vm.prank(w.upgrader);
        try w.escrow.setStablecoin(next) {
            vm.assertFalse(owed);
            uint256 left = BOOK.settledIn(former);
            vm.prank(w.admin);
            w.escrow.recoverForeignToken(former, left);
            BOOK.lose(former, left);
            BOOK.success("changeCoin");
        } catch {
            vm.assertTrue(owed);
        }
    }

    /// @dev Waits until everything outstanding can be taken back, and takes it.
    function _closeBooks() private {
        bytes32[] memory open = BOOK.pendingIds();
        for (uint256 i = 0; i < open.length; ++i) {
            uint256 expiresAt = BOOK.entryOf(open[i]).expiresAt;
            if (block.timestamp < expiresAt) vm.warp(expiresAt);
            w.escrow.reclaim(open[i]);
            BOOK.giveBack(open[i], false);
        }
        for (uint256 i = 0; i < 8; ++i) {
            address account = i < 3 ? w.treasuries[i] : w.users[i - 3];
            if (BOOK.creditOf(account) == 0) continue;
            vm.prank(account);
            w.escrow.withdraw();
            BOOK.withdraw(account);
        }
    }

    function upgrade(uint256 seed) external action("upgrade") {
        address next = w.implementations[seed % 2];
        vm.prank(w.upgrader);
        w.escrow.upgradeToAndCall(next, "");
        BOOK.success("upgrade");
    }

    function wait(uint256 seed) external action("wait") {
        vm.warp(block.timestamp + (seed % 4 == 0 ? seed % 2 days : seed % 30 minutes));
        BOOK.success("wait");
    }
}
