// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {ReentrantToken} from "./mocks/ReentrantToken.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {vm} from "./utils/Test.sol";

/// @dev Every door of the escrow is tried from inside every call it makes to a token, by a token that holds
/// every role. What refuses it must be the guard, not luck.
contract EscrowReentryTest is EscrowFixture {
    ReentrantToken private coin;
    uint256 private number;

    function setUp() public override {
        super.setUp();
        coin = new ReentrantToken();
        coin.give(treasury, 1e28);
        coin.give(user, 1e28);
        vm.prank(upgrader);
        escrow.setStablecoin(address(coin));
        vm.prank(admin);
        escrow.setDailyLimitPerUser(1e27);
        _giveRoles(address(coin));
        _giveRoles(address(kes));
    }

    function _giveRoles(address token) private {
        vm.startPrank(admin);
        escrow.grantRole(escrow.EXECUTOR_ROLE(), token);
        escrow.grantRole(escrow.ADMIN_ROLE(), token);
        vm.stopPrank();
        vm.startPrank(upgrader);
        escrow.grantRole(escrow.UPGRADER_ROLE(), token);
        vm.stopPrank();
    }

    function _doors() private returns (bytes[] memory doors) {
        bytes32 target = _deposited(_ref(++number));
        doors = new bytes[](11);
        doors[0] = abi.encodeCall(IMintEscrow.submitIntent, (AMOUNT, KES, "INSIDE"));
        doors[1] =
            abi.encodeCall(IMintEscrow.submitIntents, (_one(_item(user, AMOUNT, bytes32("INSIDE BATCH")))));
        doors[2] = abi.encodeCall(IMintEscrow.executeMint, (target));
        doors[3] = abi.encodeCall(IMintEscrow.executeMints, (_ids(target)));
        doors[4] = abi.encodeCall(IMintEscrow.refundIntent, (target, ""));
        doors[5] = abi.encodeCall(IMintEscrow.refundIntents, (_ids(target), ""));
        doors[6] = abi.encodeCall(IMintEscrow.reclaim, (target));
        doors[7] = abi.encodeCall(IMintEscrow.withdraw, ());
        doors[8] = abi.encodeCall(IMintEscrow.sweepSettled, (0));
        doors[9] = abi.encodeCall(IMintEscrow.recoverForeignToken, (address(dai), 0));
        doors[10] = abi.encodeCall(IMintEscrow.setStablecoin, (address(dai)));
    }

    function _refused(ReentrantToken token) private view {
        vm.assertEq(token.tries(), 1);
        vm.assertEq(
            bytes32(token.refusal()), bytes32(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
        );
    }

    function test_no_door_opens_from_inside_a_single_deposit() public {
        bytes[] memory doors = _doors();
        for (uint256 i = 0; i < doors.length; ++i) {
            coin.arm(address(escrow), doors[i]);
            vm.prank(user);
            escrow.submitIntent(AMOUNT, KES, _ref(++number));
            _refused(coin);
        }
    }

    function test_no_door_opens_from_inside_a_deposit_of_a_batch() public {
        bytes[] memory doors = _doors();
        for (uint256 i = 0; i < doors.length; ++i) {
            coin.arm(address(escrow), doors[i]);
            _deposited(_ref(++number));
            _refused(coin);
        }
    }

    function _disarmedDeposit() private returns (bytes32) {
        coin.arm(address(0), "");
        return _deposited(_ref(++number));
    }

    /// @dev A push may use 120,000 gas, enough to try every door.
    function test_no_door_opens_from_inside_a_refund() public {
        bytes[] memory doors = _doors();
        for (uint256 i = 0; i < doors.length; ++i) {
            bytes32 id = _disarmedDeposit();
            bytes32 second = _disarmedDeposit();
            bytes32 third = _disarmedDeposit();
            coin.arm(address(escrow), doors[i]);
            vm.prank(executor);
            escrow.refundIntent(id, "declined");
            _refused(coin);
            coin.arm(address(escrow), doors[i]);
            _is(_refund(second), IMintEscrow.ItemOutcome.Done);
            _refused(coin);
            coin.arm(address(escrow), doors[i]);
            vm.warp(escrow.getIntent(third).expiresAt);
            escrow.reclaim(third);
            _refused(coin);
        }
    }

    function test_no_door_opens_from_inside_a_mint() public {
        bytes[] memory doors = _doors();
        bytes memory code = address(coin).code;
        for (uint256 i = 0; i < doors.length; ++i) {
            bytes32 id = _disarmedDeposit();
            bytes32 second = _disarmedDeposit();
            vm.etch(address(kes), code);
            ReentrantToken token = ReentrantToken(address(kes));
            token.arm(address(escrow), doors[i]);
            vm.prank(executor);
            escrow.executeMint(id);
            _refused(token);
            token.arm(address(escrow), doors[i]);
            _is(_execute(second), IMintEscrow.ItemOutcome.Done);
            _refused(token);
        }
    }

    function test_no_door_opens_from_inside_a_sweep_or_a_recovery() public {
        bytes[] memory doors = _doors();
        ReentrantToken other = new ReentrantToken();
        _giveRoles(address(other));
        for (uint256 i = 0; i < doors.length; ++i) {
            bytes32 id = _disarmedDeposit();
            _is(_execute(id), IMintEscrow.ItemOutcome.Done);
            coin.arm(address(escrow), doors[i]);
            vm.prank(admin);
            escrow.sweepSettled(AMOUNT);
            _refused(coin);
            other.give(address(escrow), 1);
            other.arm(address(escrow), doors[i]);
            vm.prank(admin);
            escrow.recoverForeignToken(address(other), 1);
            _refused(other);
        }
    }
}
