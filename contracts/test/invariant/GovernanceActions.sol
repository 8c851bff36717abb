// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {GovernedPausable} from "../../src/base/GovernedPausable.sol";
import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {Indexer} from "../utils/Indexer.sol";
import {vm} from "../utils/Test.sol";
import {Handler, SystemUnderTest} from "./Handler.sol";
import {ReferenceModel} from "./ReferenceModel.sol";

/// @dev Officers, pausers and admins act, and time passes, while deposits are pending.
contract GovernanceActions is Handler {
    constructor(SystemUnderTest memory system, ReferenceModel model, Indexer indexer)
        Handler(system, model, indexer)
    {}

    /// @dev Three of four assessments are good, so that mints go on.
    function assessUser(uint256 seed) external action("assessUser") {
        address user = sut.users[(seed >> 8) % 5];
        bool fine = seed % 4 != 0;
        bool paused = sut.manager.paused();
        vm.prank(sut.officer);
        try sut.manager.setUserCompliance(user, fine ? 1 : 100, "A", seed % 8 != 4) {
            vm.assertFalse(paused);
            MODEL.recordSuccess("assessUser");
        } catch {
            vm.assertTrue(paused);
        }
    }

    function changeCompliancePolicy(uint256 seed) external action("changeCompliancePolicy") {
        vm.prank(sut.admin);
        sut.registry.setCompliancePolicy(91, seed % 2 == 0, uint64((seed >> 8) % 1 hours));
        MODEL.recordSuccess("changeCompliancePolicy");
    }

    function pauseEscrow(uint256 seed) external action("pauseEscrow") {
        _toggle("pauseEscrow", seed, GovernedPausable(address(sut.escrow)));
    }

    function pauseManager(uint256 seed) external action("pauseManager") {
        _toggle("pauseManager", seed, GovernedPausable(address(sut.manager)));
    }

    function pauseToken(uint256 seed) external action("pauseToken") {
        _toggle("pauseToken", seed, GovernedPausable(address(sut.kes)));
    }

    /// @dev Pauses rarely and unpauses at once, so that the system is mostly running.
    function _toggle(bytes32 name, uint256 seed, GovernedPausable target) private {
        bool paused = target.paused();
        if (!paused && seed % 8 == 0) {
            vm.prank(sut.pauser);
            target.pause();
            MODEL.recordSuccess(name);
        } else if (paused) {
            vm.prank(sut.unpauser);
            target.unpause();
        }
    }

    /// @dev Sets limits small enough for a handful of intents to reach them.
    function changeLimits(uint256 seed) external action("changeLimits") {
        uint256 perHour = (1 + (seed >> 8) % 8) * 1e21;
        vm.startPrank(sut.admin);
        sut.escrow.setExecutorMintPerHour(perHour);
        sut.escrow.setDailyLimitPerUser((2 + (seed >> 16) % 9) * 1e21);
        sut.escrow.setMintLimits(1e18 + (seed >> 24) % 1e18, 1e20 + (seed >> 32) % 9e20);
        sut.escrow.setDepositExpirySeconds(1 hours + (seed >> 40) % 1 days);
        vm.stopPrank();
        MODEL.noteAllowance(perHour);
        MODEL.recordSuccess("changeLimits");
    }

    function changeTreasury(uint256 seed) external action("changeTreasury") {
        vm.startPrank(sut.admin);
        sut.escrow.setTreasury(sut.treasuries[seed % 3]);
        address former = sut.treasuries[(seed >> 8) % 3];
        bool revocable = former != sut.escrow.treasury() && sut.escrow.isAllowedDepositor(former);
        try sut.escrow.revokeTreasury(former) {
            vm.assertTrue(revocable, "the present treasury cannot be revoked");
        } catch {
            vm.assertFalse(revocable);
        }
        vm.stopPrank();
        MODEL.recordSuccess("changeTreasury");
    }

    /// @dev Sweeps up to twice what may be swept.
    function sweep(uint256 seed) external action("sweep") {
        uint256 settled = MODEL.settledIn(address(_coin()));
        uint256 amount = settled == 0 ? seed % 1e18 + 1 : 1 + seed % (2 * settled);
        vm.prank(sut.admin);
        try sut.escrow.sweepSettled(amount) {
            vm.assertLe(amount, settled, "only settled backing is swept");
            MODEL.removeSettled(address(_coin()), amount);
            MODEL.recordSuccess("sweep");
        } catch {
            vm.assertTrue(amount > settled, "settled backing can be swept");
        }
    }

    function donate(uint256 seed) external action("donate") {
        uint256 amount = 1 + seed % 1e20;
        vm.prank(sut.outsider);
        sut.coins[seed % 2].transfer(address(sut.escrow), amount);
        MODEL.addSettled(address(sut.coins[seed % 2]), amount);
        MODEL.recordSuccess("donate");
    }

    /// @dev Changes to the other coin if nothing is owed, and recovers what is left of the former one.
    function changeCoin(uint256 seed) external action("changeCoin") {
        if (seed % 4 == 0) _endAllDeposits();
        address former = address(_coin());
        address next = address(sut.coins[former == address(sut.coins[0]) ? 1 : 0]);
        bool owed = MODEL.pending() + MODEL.credits() != 0;
        vm.prank(sut.upgrader);
        try sut.escrow.setStablecoin(next) {
            vm.assertFalse(owed);
            uint256 left = MODEL.settledIn(former);
            vm.prank(sut.admin);
            sut.escrow.recoverForeignToken(former, left);
            MODEL.removeSettled(former, left);
            MODEL.recordSuccess("changeCoin");
        } catch {
            vm.assertTrue(owed);
        }
    }

    /// @dev Waits until every pending deposit has expired, reclaims all, and withdraws every credit.
    function _endAllDeposits() private {
        bytes32[] memory open = MODEL.pendingIds();
        for (uint256 i = 0; i < open.length; ++i) {
            uint256 expiresAt = MODEL.entryOf(open[i]).expiresAt;
            if (block.timestamp < expiresAt) vm.warp(expiresAt);
            sut.escrow.reclaim(open[i]);
            MODEL.refund(open[i], false);
        }
        for (uint256 i = 0; i < 8; ++i) {
            address account = i < 3 ? sut.treasuries[i] : sut.users[i - 3];
            if (MODEL.creditOf(account) == 0) continue;
            vm.prank(account);
            sut.escrow.withdraw();
            MODEL.withdraw(account);
        }
    }

    function upgrade(uint256 seed) external action("upgrade") {
        address next = sut.implementations[seed % 2];
        vm.prank(sut.upgrader);
        sut.escrow.upgradeToAndCall(next, "");
        MODEL.recordSuccess("upgrade");
    }

    function wait(uint256 seed) external action("wait") {
        vm.warp(block.timestamp + (seed % 4 == 0 ? seed % 2 days : seed % 30 minutes));
        MODEL.recordSuccess("wait");
    }
}
