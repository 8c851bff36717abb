// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Deployment} from "../../script/Deployment.sol";
import {Governance} from "../../script/Governance.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {ProductionFixture} from "../utils/ProductionFixture.sol";
import {Vm, vm} from "../utils/Test.sol";

/// @dev The production script grants exactly these roles, and refuses unsound settings.
contract ProductionTest is ProductionFixture {
    bytes32 private constant GRANTED = IAccessControl.RoleGranted.selector;
    bytes32 private constant REVOKED = IAccessControl.RoleRevoked.selector;

    mapping(bytes32 grant => bool) private held;
    uint256 private grants;

    function setUp() public override {
        vm.recordLogs();
        super.setUp();
        _replay(vm.getRecordedLogs());
    }

    /// @dev Collects every grant on every contract from the logs.
    function _replay(Vm.Log[] memory logs) private {
        for (uint256 i = 0; i < logs.length; ++i) {
            bool granted = logs[i].topics[0] == GRANTED;
            if (!granted && logs[i].topics[0] != REVOKED) continue;
            bytes32 key =
                _key(logs[i].emitter, logs[i].topics[1], address(uint160(uint256(logs[i].topics[2]))));
            if (held[key] != granted) grants = granted ? grants + 1 : grants - 1;
            held[key] = granted;
        }
    }

    function _key(address target, bytes32 role, address account) private pure returns (bytes32) {
        return keccak256(abi.encode(target, role, account));
    }

    function _holds(address target, string memory role, address account) private {
        bytes32 hash = bytes(role).length == 0 ? bytes32(0) : keccak256(bytes(role));
        vm.assertTrue(held[_key(target, hash, account)], role);
        vm.assertTrue(IAccessControl(target).hasRole(hash, account), role);
        --grants;
    }

    function test_the_holders_are_exactly_these() public {
        address[3] memory proxies = [address(escrow), address(manager), address(registry)];
        for (uint256 i = 0; i < proxies.length; ++i) {
            _holds(proxies[i], "", admin);
            _holds(proxies[i], "ADMIN_ROLE", admin);
            _holds(proxies[i], "UPGRADER_ROLE", address(timelock));
        }
        _holds(address(kes), "", admin);
        address[3] memory pausable = [address(escrow), address(manager), address(kes)];
        for (uint256 i = 0; i < pausable.length; ++i) {
            _holds(pausable[i], "PAUSER_ROLE", pauser);
            _holds(pausable[i], "UNPAUSER_ROLE", admin);
        }
        _holds(address(escrow), "EXECUTOR_ROLE", executor);
        _holds(address(escrow), "EXECUTOR_ROLE", otherExecutor);
        _holds(address(manager), "COMPLIANCE_OFFICER_ROLE", officer);
        _holds(address(registry), "WRITER_ROLE", address(manager));
        _holds(address(timelock), "", address(timelock));
        _holds(address(timelock), "PROPOSER_ROLE", admin);
        _holds(address(timelock), "CANCELLER_ROLE", admin);
        _holds(address(timelock), "EXECUTOR_ROLE", admin);
        vm.assertEq(grants, 0, "a role too many");
        vm.assertEq(timelock.getMinDelay(), DELAY);
    }

    function test_the_deployer_is_left_with_nothing_and_would_be_found_otherwise() public {
        Deployment.System memory system = Deployment.System(registry, manager, kes, escrow);
        Governance.requireNoRole(address(production), system, address(timelock));
        bytes32 role = manager.COMPLIANCE_OFFICER_ROLE();
        vm.prank(admin);
        manager.grantRole(role, address(production));
        vm.expectRevert(abi.encodeWithSelector(Governance.DeployerHoldsRole.selector, address(manager), role));
        this.requireNoRole(address(production));
    }

    /// @dev External, so that expectRevert sees one call.
    function requireNoRole(address account) external view {
        Governance.requireNoRole(
            account, Deployment.System(registry, manager, kes, escrow), address(timelock)
        );
    }

    // ---------------------------------------------------------------- what is refused

    function _refused(Deployment.Roles memory roles, bytes memory refusal) private {
        _refused(roles, _policy(address(dai)), DELAY, refusal);
    }

    function _refused(
        Deployment.Roles memory roles,
        Deployment.Policy memory policy,
        uint256 delay,
        bytes memory refusal
    ) private {
        vm.expectRevert(refusal);
        production.deploy(address(production), roles, policy, delay);
    }

    function _same(address account) private pure returns (bytes memory) {
        return abi.encodeWithSelector(Governance.SameAccount.selector, account);
    }

    function test_one_key_is_no_multisig() public {
        Deployment.Roles memory roles = _roles();
        roles.admin = stranger;
        _refused(roles, abi.encodeWithSelector(Governance.NoCode.selector, "multisig"));
    }

    function test_there_must_be_a_real_stablecoin() public {
        _refused(
            _roles(),
            _policy(address(0)),
            DELAY,
            abi.encodeWithSelector(Governance.NoCode.selector, "stablecoin")
        );
    }

    function test_delays_leave_time_to_look() public {
        bytes4 selector = Governance.DelayTooShort.selector;
        _refused(_roles(), _policy(address(dai)), DELAY - 1, abi.encodeWithSelector(selector, "timelock"));
        Deployment.Roles memory roles = _roles();
        roles.adminDelay = uint48(DELAY - 1);
        _refused(roles, abi.encodeWithSelector(selector, "admin"));
    }

    function test_executors_and_officers_are_required() public {
        Deployment.Roles memory roles = _roles();
        roles.executors = new address[](0);
        _refused(roles, abi.encodeWithSelector(Governance.NoHolder.selector, "executor"));
        roles = _roles();
        roles.officers = new address[](0);
        _refused(roles, abi.encodeWithSelector(Governance.NoHolder.selector, "compliance officer"));
    }

    function test_powers_that_check_each_other_are_held_apart() public {
        Deployment.Roles memory roles = _roles();
        roles.pauser = roles.unpauser;
        _refused(roles, _same(roles.unpauser));
        address[4] memory taken = [admin, pauser, treasury, address(production)];
        for (uint256 i = 0; i < taken.length; ++i) {
            roles = _roles();
            roles.executors[1] = taken[i];
            _refused(roles, _same(taken[i]));
            roles = _roles();
            roles.officers[0] = taken[i];
            _refused(roles, _same(taken[i]));
        }
        roles = _roles();
        roles.officers[0] = executor;
        _refused(roles, _same(executor));
    }

    function test_the_deployer_is_nobody_else() public {
        Deployment.Roles memory roles = _roles();
        roles.pauser = address(production);
        _refused(roles, _same(address(production)));
        roles = _roles();
        roles.unpauser = address(production);
        _refused(roles, _same(address(production)));
        Deployment.Policy memory policy = _policy(address(dai));
        policy.treasury = address(production);
        _refused(_roles(), policy, DELAY, _same(address(production)));
    }
}
