// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {Campaign} from "./invariant/Campaign.sol";
import {Indexer} from "./utils/Indexer.sol";
import {vm} from "./utils/Test.sol";

/// @dev An indexer that reads nothing but logs knows every intent, balance, total, limit and role.
contract EscrowEventsTest is Campaign {
    uint256 private constant STEPS = 400;

    /// forge-config: default.fuzz.runs = 4
    /// forge-config: deep.fuzz.runs = 64
    function testFuzz_events_alone_rebuild_the_storage(uint256 seed) public {
        for (uint256 step = 0; step < STEPS; ++step) {
            _step(uint256(keccak256(abi.encode(seed, step))));
            // Totals are compared after every step, so a difference is found where it began.
            vm.assertEq(indexer.pendingTotal(), escrow.pendingTotal());
            vm.assertEq(indexer.supply(), kes.totalSupply());
        }
        _intentsAreKnown();
        _balancesAreKnown();
        _limitsAreKnown();
        _rolesAreKnown();
    }

    function _intentsAreKnown() private view {
        vm.assertEq(indexer.count(), model.count());
        vm.assertGe(indexer.count(), 20, "a long sequence");
        vm.assertEq(indexer.executedTotal(), kes.totalSupply());
        for (uint256 i = 0; i < indexer.count(); ++i) {
            bytes32 id = indexer.ids(i);
            Indexer.IndexedIntent memory seen = indexer.intentOf(id);
            IMintEscrow.Intent memory intent = escrow.getIntent(id);
            vm.assertEq(
                keccak256(abi.encode(seen)),
                keccak256(
                    abi.encode(
                        intent.user,
                        intent.depositor,
                        intent.amount,
                        intent.countryCode,
                        intent.txRef,
                        intent.status,
                        intent.depositedAt,
                        intent.expiresAt
                    )
                )
            );
        }
    }

    function _balancesAreKnown() private view {
        vm.assertEq(indexer.creditedTotal(), escrow.creditedTotal());
        uint256 day = block.timestamp / 1 days;
        for (uint256 i = 0; i < 5; ++i) {
            address account = sut.users[i];
            vm.assertEq(indexer.balanceOf(address(kes), account), kes.balanceOf(account));
            vm.assertEq(indexer.creditOf(account), escrow.creditOf(account));
            vm.assertEq(indexer.depositedOn(account, day), escrow.dailyDeposited(account));
        }
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(indexer.creditOf(sut.treasuries[i]), escrow.creditOf(sut.treasuries[i]));
            vm.assertEq(indexer.isTreasury(sut.treasuries[i]), escrow.isAllowedDepositor(sut.treasuries[i]));
        }
        for (uint256 i = 0; i < 2; ++i) {
            address coin = address(sut.coins[i]);
            vm.assertEq(
                indexer.balanceOf(coin, address(escrow)), sut.coins[i].balanceOf(address(escrow)), "coin held"
            );
        }
        uint256 owed = indexer.pendingTotal() + indexer.creditedTotal();
        vm.assertEq(indexer.balanceOf(indexer.stablecoin(), address(escrow)) - owed, escrow.sweepable());
    }

    function _limitsAreKnown() private view {
        vm.assertEq(indexer.treasury(), escrow.treasury());
        vm.assertEq(indexer.stablecoin(), escrow.stablecoin());
        vm.assertEq(indexer.userRegistry(), escrow.userRegistry());
        vm.assertEq(indexer.minMintAmount(), escrow.minMintAmount());
        vm.assertEq(indexer.maxMintAmount(), escrow.maxMintAmount());
        vm.assertEq(indexer.dailyLimit(), escrow.dailyLimitPerUser());
        vm.assertEq(indexer.perHour(), escrow.executorMintPerHour());
        vm.assertEq(indexer.expiry(), escrow.depositExpirySeconds());
        vm.assertEq(indexer.paused(address(escrow)), escrow.paused());
        vm.assertEq(indexer.paused(address(manager)), manager.paused());
        vm.assertEq(indexer.paused(address(kes)), kes.paused());
    }

    function _rolesAreKnown() private view {
        address[8] memory everybody =
            [admin, upgrader, pauser, unpauser, executor, otherExecutor, officer, stranger];
        bytes32[6] memory roles = [
            bytes32(0),
            escrow.ADMIN_ROLE(),
            escrow.UPGRADER_ROLE(),
            escrow.PAUSER_ROLE(),
            escrow.UNPAUSER_ROLE(),
            escrow.EXECUTOR_ROLE()
        ];
        for (uint256 i = 0; i < everybody.length; ++i) {
            for (uint256 j = 0; j < roles.length; ++j) {
                vm.assertEq(indexer.hasRole(roles[j], everybody[i]), escrow.hasRole(roles[j], everybody[i]));
            }
        }
    }
}
