// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {EscrowFixture} from "../utils/EscrowFixture.sol";
import {vm} from "../utils/Test.sol";

/// @dev The default admin changes in two steps and late, the same way on every contract.
contract AdminHandoverTest is EscrowFixture {
    uint48 private constant DELAY = 2 days;

    address private next = _account("next admin");
    IAccessControlDefaultAdminRules[] private governed;

    function setUp() public override {
        super.setUp();
        governed.push(IAccessControlDefaultAdminRules(address(escrow)));
        governed.push(IAccessControlDefaultAdminRules(address(manager)));
        governed.push(IAccessControlDefaultAdminRules(address(registry)));
        governed.push(IAccessControlDefaultAdminRules(address(kes)));
    }

    function _begin(IAccessControlDefaultAdminRules target) private {
        vm.prank(admin);
        target.beginDefaultAdminTransfer(next);
    }

    function _roleOf(IAccessControlDefaultAdminRules target, address account) private view returns (bool) {
        return IAccessControl(address(target)).hasRole(0, account);
    }

    function test_an_admin_is_handed_over_after_the_delay_and_not_before() public {
        for (uint256 i = 0; i < governed.length; ++i) {
            IAccessControlDefaultAdminRules target = governed[i];
            vm.warp(START);
            _begin(target);
            vm.warp(START + DELAY);
            vm.prank(next);
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector,
                    START + DELAY
                )
            );
            target.acceptDefaultAdminTransfer();
            vm.assertEq(target.defaultAdmin(), admin);
            vm.warp(START + DELAY + 1);
            vm.prank(next);
            target.acceptDefaultAdminTransfer();
            vm.assertEq(target.defaultAdmin(), next);
            vm.assertTrue(_roleOf(target, next));
            vm.assertFalse(_roleOf(target, admin));
        }
    }

    function test_a_cancelled_handover_cannot_be_accepted() public {
        for (uint256 i = 0; i < governed.length; ++i) {
            IAccessControlDefaultAdminRules target = governed[i];
            _begin(target);
            vm.prank(admin);
            target.cancelDefaultAdminTransfer();
            vm.warp(block.timestamp + 2 * DELAY);
            vm.prank(next);
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessControlDefaultAdminRules.AccessControlInvalidDefaultAdmin.selector, next
                )
            );
            target.acceptDefaultAdminTransfer();
            vm.assertEq(target.defaultAdmin(), admin);
        }
    }

    function test_only_the_pending_admin_accepts() public {
        for (uint256 i = 0; i < governed.length; ++i) {
            _begin(governed[i]);
            vm.warp(block.timestamp + DELAY + 1);
            vm.prank(stranger);
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessControlDefaultAdminRules.AccessControlInvalidDefaultAdmin.selector, stranger
                )
            );
            governed[i].acceptDefaultAdminTransfer();
        }
    }

    function test_the_delay_shrinks_only_after_itself() public {
        for (uint256 i = 0; i < governed.length; ++i) {
            IAccessControlDefaultAdminRules target = governed[i];
            vm.prank(admin);
            target.changeDefaultAdminDelay(0);
            // The old delay still applies to a handover begun now.
            vm.assertEq(target.defaultAdminDelay(), DELAY);
            vm.warp(block.timestamp + DELAY + 1);
            vm.assertEq(target.defaultAdminDelay(), 0);
        }
    }

    function test_an_admin_cannot_leave_at_once_nor_be_made_by_a_grant() public {
        for (uint256 i = 0; i < governed.length; ++i) {
            vm.startPrank(admin);
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector, 0
                )
            );
            IAccessControl(address(governed[i])).renounceRole(0, admin);
            vm.expectRevert(IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminRules.selector);
            IAccessControl(address(governed[i])).grantRole(0, next);
            vm.stopPrank();
        }
    }

    function test_whoever_stops_cannot_start_again() public {
        vm.startPrank(pauser);
        escrow.pause();
        manager.pause();
        kes.pause();
        bytes memory refusal = abi.encodeWithSelector(
            IAccessControl.AccessControlUnauthorizedAccount.selector, pauser, keccak256("UNPAUSER_ROLE")
        );
        vm.expectRevert(refusal);
        escrow.unpause();
        vm.expectRevert(refusal);
        manager.unpause();
        vm.expectRevert(refusal);
        kes.unpause();
        vm.stopPrank();
        vm.startPrank(unpauser);
        escrow.unpause();
        manager.unpause();
        kes.unpause();
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControl.AccessControlUnauthorizedAccount.selector, unpauser, keccak256("PAUSER_ROLE")
            )
        );
        escrow.pause();
    }
}
