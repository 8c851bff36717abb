// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {UserRegistry} from "../src/UserRegistry.sol";
import {Governed} from "../src/base/Governed.sol";
import {IUserRegistry} from "../src/interfaces/IUserRegistry.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {vm} from "./utils/Test.sol";

contract UserRegistryTest is EscrowFixture {
    address private account = address(0xBEEF);

    function _write(uint8 risk, bytes32 hash, bool verified) private {
        vm.prank(address(manager));
        registry.updateUser(account, risk, hash, verified);
    }

    function test_update_user_stores_and_emits_every_fact() public {
        vm.expectEmit(true, true, true, true, address(registry));
        emit IUserRegistry.UserComplianceUpdated(account, 42, ATTESTATION, true);
        _write(42, ATTESTATION, true);
        (uint8 risk, bytes32 hash, uint64 updated, bool verified) = registry.getUser(account);
        vm.assertEq(risk, 42);
        vm.assertEq(hash, ATTESTATION);
        vm.assertEq(updated, START);
        vm.assertTrue(verified);
        vm.assertEq(registry.getRiskScore(account), 42);
        vm.assertEq(registry.getAttestationHash(account), ATTESTATION);
        vm.assertEq(registry.getAttestedAt(account), START);
        vm.assertTrue(registry.isKnown(account));
    }

    function test_unknown_user_is_not_found_but_a_clean_false() public {
        vm.assertFalse(registry.isKnown(account));
        vm.assertFalse(registry.isCompliant(account));
        vm.expectRevert(IUserRegistry.UserNotFound.selector);
        registry.getUser(account);
        vm.expectRevert(IUserRegistry.UserNotFound.selector);
        registry.getRiskScore(account);
        vm.expectRevert(IUserRegistry.UserNotFound.selector);
        registry.getAttestationHash(account);
        vm.expectRevert(IUserRegistry.UserNotFound.selector);
        registry.getAttestedAt(account);
    }

    function test_update_user_refuses_strangers_bad_scores_and_nobody() public {
        vm.expectRevert(IUserRegistry.Unauthorized.selector);
        registry.updateUser(account, 1, ATTESTATION, true);
        vm.startPrank(address(manager));
        registry.updateUser(account, 100, ATTESTATION, true);
        vm.expectRevert(IUserRegistry.InvalidRiskScore.selector);
        registry.updateUser(account, 101, ATTESTATION, true);
        vm.expectRevert(IUserRegistry.InvalidUser.selector);
        registry.updateUser(address(0), 1, ATTESTATION, true);
    }

    function test_compliance_needs_every_fact() public {
        _write(91, ATTESTATION, true);
        vm.assertTrue(registry.isCompliant(account));
        _write(92, ATTESTATION, true);
        vm.assertFalse(registry.isCompliant(account));
        _write(91, ATTESTATION, false);
        vm.assertFalse(registry.isCompliant(account));
        _write(91, 0, true);
        vm.assertFalse(registry.isCompliant(account));
    }

    function test_attestation_may_be_optional() public {
        _write(1, 0, true);
        vm.prank(admin);
        registry.setCompliancePolicy(91, false, 0);
        vm.assertTrue(registry.isCompliant(account));
    }

    function test_attestation_ages_from_its_own_first_record() public {
        vm.prank(admin);
        registry.setCompliancePolicy(91, true, 100);
        _write(1, ATTESTATION, true);
        vm.warp(START + 99);
        _write(2, ATTESTATION, true);
        vm.assertFalse(registry.isCompliant(account));
        vm.warp(START + 100);
        vm.assertTrue(registry.isCompliant(account));
        _write(2, keccak256("another"), true);
        vm.assertFalse(registry.isCompliant(account));
        _write(2, 0, true);
        vm.assertEq(registry.getAttestedAt(account), 0);
    }

    function test_policy_has_getters_an_event_and_bounds() public {
        vm.startPrank(admin);
        vm.expectEmit(true, true, true, true, address(registry));
        emit IUserRegistry.CompliancePolicyChanged(99, false, 7);
        registry.setCompliancePolicy(99, false, 7);
        vm.assertEq(registry.maxRiskScore(), 99);
        vm.assertFalse(registry.attestationRequired());
        vm.assertEq(registry.minAttestationAge(), 7);
        vm.expectRevert(IUserRegistry.InvalidMaxRiskScore.selector);
        registry.setCompliancePolicy(100, true, 0);
        vm.expectRevert(IUserRegistry.InvalidMinAttestationAge.selector);
        registry.setCompliancePolicy(91, true, 3650 days + 1);
        vm.stopPrank();
        vm.expectRevert(IUserRegistry.Unauthorized.selector);
        registry.setCompliancePolicy(1, true, 0);
    }

    function test_initializes_once_and_never_without_a_writer() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        registry.initialize(admin, 0, upgrader, address(manager), 91, true, 0);
        UserRegistry implementation = new UserRegistry();
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        implementation.initialize(admin, 0, upgrader, address(manager), 91, true, 0);
        vm.expectRevert(Governed.InvalidRoleHolder.selector);
        new ERC1967Proxy(
            address(implementation),
            abi.encodeCall(UserRegistry.initialize, (admin, 0, upgrader, address(0), 91, true, 0))
        );
        vm.expectRevert(Governed.InvalidRoleHolder.selector);
        new ERC1967Proxy(
            address(implementation),
            abi.encodeCall(UserRegistry.initialize, (admin, 0, address(0), address(manager), 91, true, 0))
        );
    }

    function testFuzz_compliance_is_the_conjunction_of_the_facts(uint8 risk, bytes32 hash, bool verified)
        public
    {
        vm.assume(risk <= 100);
        _write(risk, hash, verified);
        vm.assertEq(registry.isCompliant(account), verified && risk <= 91 && hash != 0);
    }
}
