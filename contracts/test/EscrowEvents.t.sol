// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {Campaign} from "./invariant/Campaign.sol";
import {Indexer} from "./utils/Indexer.sol";
import {vm} from "./utils/Test.sol";

/// @dev Someone who follows nothing but logs knows every intent, balance, total, limit and role.
contract EscrowEventsTest is Campaign {
    uint256 private constant STEPS = 400;

    /// forge-config: default.fuzz.runs = 4
    /// forge-config: deep.fuzz.runs = 64
    function testFuzz_events_alone_rebuild_the_storage(uint256 seed) public {
        for (uint256 step = 0; step < STEPS; ++step) {
            _step(uint256(keccak256(abi.encode(seed, step))));
            // Totals are compared as they go, so a difference is found where it began.
            vm.assertEq(index.pendingTotal(), escrow.pendingTotal());
            vm.assertEq(index.supply(), kes.totalSupply());
        }
        _intentsAreKnown();
        _balancesAreKnown();
        _limitsAreKnown();
        _rolesAreKnown();
    }

    function _intentsAreKnown() private view {
        vm.assertEq(index.count(), book.count());
        vm.assertGe(index.count(), 20, "a long sequence");
        vm.assertEq(index.executedTotal(), kes.totalSupply());
        for (uint256 i = 0; i < index.count(); ++i) {
            bytes32 id = index.ids(i);
            Indexer.Seen memory seen = index.seen(id);
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
        vm.assertEq(index.creditedTotal(), escrow.creditedTotal());
        uint256 day = block.timestamp / 1 days;
        for (uint256 i = 0; i < 5; ++i) {
            address account = world.users[i];
            vm.assertEq(index.balanceOf(address(kes), account), kes.balanceOf(account));
            vm.assertEq(index.creditOf(account), escrow.creditOf(account));
            vm.assertEq(index.depositedOn(account, day), escrow.dailyDeposited(account));
        }
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(index.creditOf(world.treasuries[i]), escrow.creditOf(world.treasuries[i]));
            vm.assertEq(index.isTreasury(world.treasuries[i]), escrow.isAllowedDepositor(world.treasuries[i]));
        }
        for (uint256 i = 0; i < 2; ++i) {
            address coin = address(world.coins[i]);
            vm.assertEq(
                index.balanceOf(coin, address(escrow)), world.coins[i].balanceOf(address(escrow)), "coin held"
            );
        }
        uint256 owed = index.pendingTotal() + index.creditedTotal();
        vm.assertEq(index.balanceOf(index.stablecoin(), address(escrow)) - owed, escrow.sweepable());
    }

    function _limitsAreKnown() private view {
        vm.assertEq(index.treasury(), escrow.treasury());
        vm.assertEq(index.stablecoin(), escrow.stablecoin());
        vm.assertEq(index.userRegistry(), escrow.userRegistry());
        vm.assertEq(index.minMintAmount(), escrow.minMintAmount());
        vm.assertEq(index.maxMintAmount(), escrow.maxMintAmount());
        vm.assertEq(index.dailyLimit(), escrow.dailyLimitPerUser());
        vm.assertEq(index.perHour(), escrow.executorMintPerHour());
        vm.assertEq(index.expiry(), escrow.depositExpirySeconds());
        vm.assertEq(index.paused(address(escrow)), escrow.paused());
        vm.assertEq(index.paused(address(manager)), manager.paused());
        vm.assertEq(index.paused(address(kes)), kes.paused());
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
                vm.assertEq(index.hasRole(roles[j], everybody[i]), escrow.hasRole(roles[j], everybody[i]));
            }
        }
    }
}
