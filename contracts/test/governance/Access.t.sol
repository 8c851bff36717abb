// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {ICountryToken} from "../../src/interfaces/ICountryToken.sol";
import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {IUserRegistry} from "../../src/interfaces/IUserRegistry.sol";
import {EscrowFixture} from "../utils/EscrowFixture.sol";
import {vm} from "../utils/Test.sol";

/// @dev access.json says who may call each function of the built ABI; here every function is called by every
/// kind of account there is. Arguments are all zero: what counts is whether the call got past its guard, and
/// that is certain because everybody else is refused with the guard's own error for the very same call.
contract AccessTest is EscrowFixture {
    address private adminOfParameters = _account("adminOfParameters");
    address private pendingAdmin = _account("pendingAdmin");
    address[] private callers;
    string private table;

    /// @dev signature -> group of access.json, for the contract under test
    mapping(string name => mapping(string signature => string group)) private groupOf;

    function setUp() public override {
        super.setUp();
        table = vm.readFile("test/governance/access.json");
        // One account for each role, so that no holder passes by another role.
        _split(address(escrow));
        _split(address(manager));
        _split(address(registry));
        vm.prank(admin);
        kes.beginDefaultAdminTransfer(pendingAdmin);
        callers = [admin, adminOfParameters, pendingAdmin, upgrader, pauser, unpauser, executor, officer];
        callers.push(treasury);
        callers.push(user);
        callers.push(stranger);
        callers.push(address(escrow));
        callers.push(address(manager));
        callers.push(address(registry));
        callers.push(address(kes));
        callers.push(address(this));
    }

    function _split(address target) private {
        bytes32 role = escrow.ADMIN_ROLE();
        vm.startPrank(admin);
        IAccessControl(target).grantRole(role, adminOfParameters);
        IAccessControl(target).revokeRole(role, admin);
        IAccessControlDefaultAdminRules(target).beginDefaultAdminTransfer(pendingAdmin);
        vm.stopPrank();
    }

    function test_every_function_of_the_escrow_by_everybody() public {
        _everyFunction("MintEscrow", address(escrow));
    }

    function test_every_function_of_the_compliance_manager_by_everybody() public {
        _everyFunction("ComplianceManager", address(manager));
    }

    function test_every_function_of_the_user_registry_by_everybody() public {
        _everyFunction("UserRegistry", address(registry));
    }

    function test_every_function_of_the_country_token_by_everybody() public {
        _everyFunction("CountryToken", address(kes));
    }

    function test_every_role_is_granted_and_revoked_by_its_admin_alone() public {
        _everyRole("MintEscrow", address(escrow));
        _everyRole("ComplianceManager", address(manager));
        _everyRole("UserRegistry", address(registry));
        _everyRole("CountryToken", address(kes));
    }

    function test_a_role_is_renounced_by_its_holder_alone() public {
        bytes32 role = escrow.EXECUTOR_ROLE();
        vm.prank(admin);
        vm.expectRevert(IAccessControl.AccessControlBadConfirmation.selector);
        escrow.renounceRole(role, executor);
        vm.prank(executor);
        escrow.renounceRole(role, executor);
        vm.assertFalse(escrow.hasRole(role, executor));
    }

    // ---------------------------------------------------------------- functions

    function _everyFunction(string memory name, address target) private {
        uint256 listed = _readTable(name);
        string[] memory signatures = vm.parseJsonKeys(_artifact(name), ".methodIdentifiers");
        for (uint256 i = 0; i < signatures.length; ++i) {
            string memory group = groupOf[name][signatures[i]];
            vm.assertTrue(
                bytes(group).length != 0, string.concat("not in access.json: ", name, ".", signatures[i])
            );
            for (uint256 j = 0; j < callers.length; ++j) {
                _call(target, signatures[i], group, callers[j]);
            }
        }
        vm.assertEq(listed, signatures.length, string.concat("access.json lists more than the ABI of ", name));
    }

    function _readTable(string memory name) private returns (uint256 listed) {
        string memory path = string.concat(".", name);
        string[] memory groups = vm.parseJsonKeys(table, path);
        for (uint256 i = 0; i < groups.length; ++i) {
            string[] memory signatures = vm.parseJsonStringArray(table, string.concat(path, ".", groups[i]));
            listed += signatures.length;
            for (uint256 j = 0; j < signatures.length; ++j) {
                groupOf[name][signatures[j]] = groups[i];
            }
        }
    }

    function _call(address target, string memory signature, string memory group, address caller) private {
        bytes memory data = bytes.concat(bytes4(keccak256(bytes(signature))), new bytes(1024));
        uint256 before = vm.snapshotState();
        vm.prank(caller);
        (bool success, bytes memory answer) = target.call(data);
        vm.revertToState(before);
        string memory call = string.concat(signature, " by ", vm.toString(caller));
        (bool allowed, bytes memory refusal) = _expected(target, group, caller);
        if (allowed) {
            vm.assertTrue(success || !_isRefusal(answer), string.concat("refused: ", call));
        } else {
            vm.assertFalse(success, string.concat("allowed: ", call));
            vm.assertEq(answer, refusal, string.concat("refused for another reason: ", call));
        }
    }

    /// @dev Returns who may call the functions of a group, and the error that everybody else gets.
    function _expected(address target, string memory group, address caller)
        private
        view
        returns (bool allowed, bytes memory refusal)
    {
        bytes32 kind = keccak256(bytes(group));
        if (kind == keccak256("view") || kind == keccak256("anyone")) return (true, "");
        if (kind == keccak256("nobody")) {
            return (false, abi.encodePacked(Initializable.InvalidInitialization.selector));
        }
        if (kind == keccak256("implementation")) {
            return (false, abi.encodePacked(UUPSUpgradeable.UUPSUnauthorizedCallContext.selector));
        }
        if (kind == keccak256("self")) {
            return (caller == target, abi.encodePacked(IMintEscrow.OnlySelf.selector));
        }
        if (kind == keccak256("minter")) {
            return (caller == address(escrow), abi.encodePacked(ICountryToken.NotMinter.selector));
        }
        if (kind == keccak256("pendingAdmin")) {
            bytes4 selector = IAccessControlDefaultAdminRules.AccessControlInvalidDefaultAdmin.selector;
            return (caller == pendingAdmin, abi.encodeWithSelector(selector, caller));
        }
        // With role zero, which moves only by the two steps. _everyRole has the other roles.
        if (kind == keccak256("roleAdmin")) return (false, _refusedByRules());
        bytes32 role = kind == keccak256("DEFAULT_ADMIN_ROLE") ? bytes32(0) : kind;
        return (caller == _holder(role), _unauthorized(target, caller, role));
    }

    /// @dev Returns the account this fixture gave the role to; an unknown role is a mistake in access.json.
    function _holder(bytes32 role) private view returns (address) {
        if (role == bytes32(0)) return admin;
        if (role == keccak256("ADMIN_ROLE")) return adminOfParameters;
        if (role == keccak256("UPGRADER_ROLE")) return upgrader;
        if (role == keccak256("PAUSER_ROLE")) return pauser;
        if (role == keccak256("UNPAUSER_ROLE")) return unpauser;
        if (role == keccak256("EXECUTOR_ROLE")) return executor;
        if (role == keccak256("COMPLIANCE_OFFICER_ROLE")) return officer;
        if (role == keccak256("WRITER_ROLE")) return address(manager);
        revert("a role nobody was given");
    }

    // ---------------------------------------------------------------- roles

    /// @dev The roles are the ABI's constants that end in _ROLE.
    function _everyRole(string memory name, address target) private {
        string[] memory signatures = vm.parseJsonKeys(_artifact(name), ".methodIdentifiers");
        uint256 roles;
        for (uint256 i = 0; i < signatures.length; ++i) {
            if (!_endsWithRole(signatures[i])) continue;
            ++roles;
            (, bytes memory answer) =
                target.staticcall(abi.encodePacked(bytes4(keccak256(bytes(signatures[i])))));
            bytes32 role = abi.decode(answer, (bytes32));
            for (uint256 j = 0; j < callers.length; ++j) {
                _grantAndRevoke(target, role, callers[j]);
            }
        }
        vm.assertGe(roles, 3, "roles are found by their names");
    }

    function _grantAndRevoke(address target, bytes32 role, address caller) private {
        // Only an upgrader grants UPGRADER_ROLE, so the default admin cannot get past the timelock.
        bytes32 needed = role == keccak256("UPGRADER_ROLE") ? role : bytes32(0);
        bool allowed = role != bytes32(0) && caller == _holder(needed);
        bytes memory refusal = role == bytes32(0) ? _refusedByRules() : _unauthorized(target, caller, needed);
        bytes[2] memory calls = [
            abi.encodeCall(IAccessControl.grantRole, (role, stranger)),
            abi.encodeCall(IAccessControl.revokeRole, (role, _holder(role)))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            uint256 before = vm.snapshotState();
            vm.prank(caller);
            (bool success, bytes memory answer) = target.call(calls[i]);
            bool changed = IAccessControl(target).hasRole(role, i == 0 ? stranger : _holder(role)) == (i == 0);
            vm.revertToState(before);
            vm.assertEq(success, allowed);
            vm.assertEq(changed, allowed);
            if (!allowed) vm.assertEq(answer, refusal);
        }
    }

    // ---------------------------------------------------------------- refusals

    function _isRefusal(bytes memory answer) private pure returns (bool) {
        bytes4 selector = bytes4(answer);
        return selector == IAccessControl.AccessControlUnauthorizedAccount.selector
            || selector == IAccessControlDefaultAdminRules.AccessControlInvalidDefaultAdmin.selector
            || selector == IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminRules.selector
            || selector == IUserRegistry.Unauthorized.selector || selector == IMintEscrow.OnlySelf.selector
            || selector == ICountryToken.NotMinter.selector
            || selector == Initializable.InvalidInitialization.selector
            || selector == UUPSUpgradeable.UUPSUnauthorizedCallContext.selector;
    }

    /// @dev The registry reverts with an error of its own.
    function _unauthorized(address target, address caller, bytes32 role) private view returns (bytes memory) {
        if (target == address(registry)) return abi.encodePacked(IUserRegistry.Unauthorized.selector);
        return abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, role);
    }

    function _refusedByRules() private pure returns (bytes memory) {
        return
            abi.encodePacked(IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminRules.selector);
    }

    function _artifact(string memory name) private view returns (string memory) {
        return vm.readFile(string.concat("out/", name, ".sol/", name, ".json"));
    }

    function _endsWithRole(string memory signature) private pure returns (bool) {
        bytes memory text = bytes(signature);
        if (text.length < 7) return false;
        bytes memory end = new bytes(7);
        for (uint256 i = 0; i < 7; ++i) {
            end[i] = text[text.length - 7 + i];
        }
        return keccak256(end) == keccak256("_ROLE()");
    }
}
