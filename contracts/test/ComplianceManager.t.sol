// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";
import {ComplianceManager} from "../src/ComplianceManager.sol";
import {Governed} from "../src/base/Governed.sol";
import {IComplianceManager} from "../src/interfaces/IComplianceManager.sol";
import {IUserRegistry} from "../src/interfaces/IUserRegistry.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {vm} from "./utils/Test.sol";

contract ComplianceManagerTest is EscrowFixture {
    address private account = address(0xBEEF);

    function test_set_user_compliance_sets_every_fact() public {
        vm.expectEmit(true, true, true, true, address(manager));
        emit IComplianceManager.UserRiskUpdated(account, 10, officer, START);
        vm.expectEmit(true, true, true, true, address(manager));
        emit IComplianceManager.AttestationRecorded(account, ATTESTATION, 0, officer);
        vm.prank(officer);
        manager.setUserCompliance(account, 10, ATTESTATION, true);
        vm.assertTrue(manager.isCompliant(account));
        vm.prank(officer);
        manager.setUserCompliance(account, 10, ATTESTATION, false);
        vm.assertFalse(manager.isCompliant(account));
    }

    function test_set_user_compliance_without_attestation_records_none() public {
        vm.recordLogs();
        vm.prank(officer);
        manager.setUserCompliance(account, 10, 0, true);
        vm.assertEq(vm.getRecordedLogs().length, 2);
        vm.assertEq(registry.getAttestationHash(account), 0);
    }

    function test_update_risk_keeps_the_other_facts() public {
        vm.prank(officer);
        vm.expectEmit(true, true, true, true, address(manager));
        emit IComplianceManager.UserRiskUpdated(user, 55, officer, START);
        manager.updateUserRisk(user, 55);
        (uint8 risk, bytes32 hash,, bool verified) = registry.getUser(user);
        vm.assertEq(risk, 55);
        vm.assertEq(hash, ATTESTATION);
        vm.assertTrue(verified);
    }

    function test_update_risk_of_an_unknown_user_admits_nobody() public {
        vm.prank(officer);
        manager.updateUserRisk(account, 0);
        vm.assertEq(registry.getRiskScore(account), 0);
        vm.assertFalse(manager.isCompliant(account));
    }

    function test_risk_and_attestation_make_compliant_in_either_order() public {
        vm.startPrank(officer);
        vm.expectEmit(true, true, true, true, address(manager));
        emit IComplianceManager.AttestationRecorded(account, ATTESTATION, "KYC", officer);
        manager.recordAttestation(account, ATTESTATION, "KYC");
        vm.assertEq(registry.getRiskScore(account), 100);
        vm.assertFalse(manager.isCompliant(account));
        manager.updateUserRisk(account, 20);
        vm.assertTrue(manager.isCompliant(account));

        address other = address(0xCAFE);
        manager.updateUserRisk(other, 20);
        vm.assertFalse(manager.isCompliant(other));
        manager.recordAttestation(other, ATTESTATION, "KYC");
        vm.assertEq(registry.getRiskScore(other), 20);
        vm.assertTrue(manager.isCompliant(other));
    }

    function test_an_attestation_is_never_zero() public {
        vm.prank(officer);
        vm.expectRevert(IComplianceManager.InvalidAttestation.selector);
        manager.recordAttestation(account, 0, "KYC");
    }

    function test_a_bad_score_is_refused_by_the_registry() public {
        vm.prank(officer);
        vm.expectRevert(IUserRegistry.InvalidRiskScore.selector);
        manager.updateUserRisk(account, 101);
    }

    function test_paused_it_neither_answers_nor_writes() public {
        vm.prank(pauser);
        manager.pause();
        bytes4 stopped = PausableUpgradeable.EnforcedPause.selector;
        vm.expectRevert(stopped);
        manager.isCompliant(user);
        vm.startPrank(officer);
        vm.expectRevert(stopped);
        manager.updateUserRisk(user, 1);
        vm.expectRevert(stopped);
        manager.recordAttestation(user, ATTESTATION, 0);
        vm.expectRevert(stopped);
        manager.setUserCompliance(user, 1, ATTESTATION, true);
        vm.stopPrank();
        vm.prank(unpauser);
        manager.unpause();
        vm.assertTrue(manager.isCompliant(user));
    }

    function test_only_officers_write() public {
        bytes memory refused = abi.encodeWithSelector(
            IAccessControl.AccessControlUnauthorizedAccount.selector, admin, manager.COMPLIANCE_OFFICER_ROLE()
        );
        vm.startPrank(admin);
        vm.expectRevert(refused);
        manager.updateUserRisk(user, 1);
        vm.expectRevert(refused);
        manager.recordAttestation(user, ATTESTATION, 0);
        vm.expectRevert(refused);
        manager.setUserCompliance(user, 1, ATTESTATION, true);
    }

    function test_policy_is_readable_here() public view {
        vm.assertEq(manager.userRegistry(), address(registry));
        vm.assertEq(manager.maxRiskScore(), 91);
        vm.assertTrue(manager.attestationRequired());
        vm.assertEq(manager.minAttestationAge(), 0);
        vm.assertEq(manager.version(), "1.0.0");
        vm.assertEq(registry.version(), "1.0.0");
    }

    function _init(address pauser_, address registry_, address officer_) private view returns (bytes memory) {
        address[] memory officers = new address[](1);
        officers[0] = officer_;
        return abi.encodeCall(
            ComplianceManager.initialize, (admin, 0, upgrader, pauser_, unpauser, registry_, officers)
        );
    }

    function test_initializes_once_with_real_holders_and_registry() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        manager.initialize(admin, 0, upgrader, pauser, unpauser, address(registry), new address[](0));
        ComplianceManager implementation = new ComplianceManager();
        vm.expectRevert(IComplianceManager.InvalidRegistry.selector);
        new ERC1967Proxy(address(implementation), _init(pauser, stranger, officer));
        vm.expectRevert(Governed.InvalidRoleHolder.selector);
        new ERC1967Proxy(address(implementation), _init(address(0), address(registry), officer));
        vm.expectRevert(Governed.InvalidRoleHolder.selector);
        new ERC1967Proxy(address(implementation), _init(pauser, address(registry), address(0)));
    }
}
