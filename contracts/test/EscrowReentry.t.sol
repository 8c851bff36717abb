// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {ReentrantToken} from "./mocks/ReentrantToken.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {vm} from "./utils/Test.sol";

/// @dev A token that holds every role calls each guarded function from inside every call that the escrow
/// makes to a token. The re-entrancy guard must be what refuses it.
contract EscrowReentryTest is EscrowFixture {
    ReentrantToken private coin;
    uint256 private number;

    function setUp() public override {
        super.setUp();
        coin = new ReentrantToken();
        coin.fund(treasury, 1e28);
        coin.fund(user, 1e28);
        vm.prank(upgrader);
        escrow.setStablecoin(address(coin));
        vm.prank(admin);
        escrow.setDailyLimitPerUser(1e27);
        _grantRoles(address(coin));
        _grantRoles(address(kes));
    }

    function _grantRoles(address token) private {
        vm.startPrank(admin);
        escrow.grantRole(escrow.EXECUTOR_ROLE(), token);
        escrow.grantRole(escrow.ADMIN_ROLE(), token);
        vm.stopPrank();
        vm.startPrank(upgrader);
        escrow.grantRole(escrow.UPGRADER_ROLE(), token);
        vm.stopPrank();
    }

    function _guardedCalls() private returns (bytes[] memory calls) {
        bytes32 target = _deposited(_ref(++number));
        calls = new bytes[](11);
        calls[0] = abi.encodeCall(IMintEscrow.submitIntent, (AMOUNT, KES, "INSIDE"));
        calls[1] =
            abi.encodeCall(IMintEscrow.submitIntents, (_one(_item(user, AMOUNT, bytes32("INSIDE BATCH")))));
        calls[2] = abi.encodeCall(IMintEscrow.executeMint, (target));
        calls[3] = abi.encodeCall(IMintEscrow.executeMints, (_ids(target)));
        calls[4] = abi.encodeCall(IMintEscrow.refundIntent, (target, ""));
        calls[5] = abi.encodeCall(IMintEscrow.refundIntents, (_ids(target), ""));
        calls[6] = abi.encodeCall(IMintEscrow.reclaim, (target));
        calls[7] = abi.encodeCall(IMintEscrow.withdraw, ());
        calls[8] = abi.encodeCall(IMintEscrow.sweepSettled, (0));
        calls[9] = abi.encodeCall(IMintEscrow.recoverForeignToken, (address(dai), 0));
        calls[10] = abi.encodeCall(IMintEscrow.setStablecoin, (address(dai)));
    }

    function _expectGuarded(ReentrantToken token) private view {
        vm.assertEq(token.attempts(), 1);
        vm.assertEq(
            bytes32(token.revertSelector()),
            bytes32(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
        );
    }

    function test_no_function_is_reentered_from_a_single_deposit() public {
        bytes[] memory calls = _guardedCalls();
        for (uint256 i = 0; i < calls.length; ++i) {
            coin.reenterWith(address(escrow), calls[i]);
            vm.prank(user);
            escrow.submitIntent(AMOUNT, KES, _ref(++number));
            _expectGuarded(coin);
        }
    }

    function test_no_function_is_reentered_from_a_deposit_of_a_batch() public {
        bytes[] memory calls = _guardedCalls();
        for (uint256 i = 0; i < calls.length; ++i) {
            coin.reenterWith(address(escrow), calls[i]);
            _deposited(_ref(++number));
            _expectGuarded(coin);
        }
    }

    function _plainDeposit() private returns (bytes32) {
        coin.reenterWith(address(0), "");
        return _deposited(_ref(++number));
    }

    /// @dev A push may use 120,000 gas, enough to call every function.
    function test_no_function_is_reentered_from_a_refund() public {
        bytes[] memory calls = _guardedCalls();
        for (uint256 i = 0; i < calls.length; ++i) {
            bytes32 id = _plainDeposit();
            bytes32 second = _plainDeposit();
            bytes32 third = _plainDeposit();
            coin.reenterWith(address(escrow), calls[i]);
            vm.prank(executor);
            escrow.refundIntent(id, "declined");
            _expectGuarded(coin);
            coin.reenterWith(address(escrow), calls[i]);
            _expectOutcome(_refund(second), IMintEscrow.ItemOutcome.Done);
            _expectGuarded(coin);
            coin.reenterWith(address(escrow), calls[i]);
            vm.warp(escrow.getIntent(third).expiresAt);
            escrow.reclaim(third);
            _expectGuarded(coin);
        }
    }

    function test_no_function_is_reentered_from_a_mint() public {
        bytes[] memory calls = _guardedCalls();
        bytes memory code = address(coin).code;
        for (uint256 i = 0; i < calls.length; ++i) {
            bytes32 id = _plainDeposit();
            bytes32 second = _plainDeposit();
            vm.etch(address(kes), code);
            ReentrantToken token = ReentrantToken(address(kes));
            token.reenterWith(address(escrow), calls[i]);
            vm.prank(executor);
            escrow.executeMint(id);
            _expectGuarded(token);
            token.reenterWith(address(escrow), calls[i]);
            _expectOutcome(_execute(second), IMintEscrow.ItemOutcome.Done);
            _expectGuarded(token);
        }
    }

    function test_no_function_is_reentered_from_a_sweep_or_a_recovery() public {
        bytes[] memory calls = _guardedCalls();
        ReentrantToken other = new ReentrantToken();
        _grantRoles(address(other));
        for (uint256 i = 0; i < calls.length; ++i) {
            bytes32 id = _plainDeposit();
            _expectOutcome(_execute(id), IMintEscrow.ItemOutcome.Done);
            coin.reenterWith(address(escrow), calls[i]);
            vm.prank(admin);
            escrow.sweepSettled(AMOUNT);
            _expectGuarded(coin);
            other.fund(address(escrow), 1);
            other.reenterWith(address(escrow), calls[i]);
            vm.prank(admin);
            escrow.recoverForeignToken(address(other), 1);
            _expectGuarded(other);
        }
    }
}
