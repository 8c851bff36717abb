// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Rollback} from "../../script/Rollback.s.sol";
import {UpgradePlan} from "../../script/UpgradePlan.sol";
import {ComplianceManager} from "../../src/ComplianceManager.sol";
import {MintEscrow} from "../../src/MintEscrow.sol";
import {UserRegistry} from "../../src/UserRegistry.sol";
import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {IUserRegistry} from "../../src/interfaces/IUserRegistry.sol";
import {MintEscrowV2, NotUups, OneWay, WrongUuid} from "../mocks/NextVersions.sol";
import {ProductionFixture} from "../utils/ProductionFixture.sol";
import {vm} from "../utils/Test.sol";

/// @dev The plans that the scripts write upgrade and roll back the escrow while intents are pending.
contract UpgradeTest is ProductionFixture {
    using UpgradePlan for UpgradePlan.Plan;

    uint256 private constant NOT_WHOLE = AMOUNT + 1;

    function _plan(address proxy, address next) private view returns (UpgradePlan.Plan memory) {
        return UpgradePlan.make(timelock, proxy, next, "", bytes32(0));
    }

    function _toV2() private returns (UpgradePlan.Plan memory plan) {
        bytes memory migration = abi.encodeCall(MintEscrowV2.initializeV2, (1e18));
        plan = UpgradePlan.make(timelock, address(escrow), address(new MintEscrowV2()), migration, bytes32(0));
    }

    function _statusesAre(bytes32[4] memory ids, IMintEscrow.IntentStatus status) private view {
        for (uint256 i = 0; i < ids.length; ++i) {
            _expectStatus(ids[i], status);
        }
    }

    function test_intents_in_flight_survive_an_upgrade_and_its_rollback() public {
        bytes32[4] memory old = [_deposited("A"), _deposited("B"), _deposited("C"), _deposited("D")];
        UpgradePlan.Plan memory upgrade = _toV2();
        upgrade.rehearse();
        UpgradePlan.Plan memory rollback =
            new Rollback().plan(timelock, address(escrow), upgrade.previous, upgrade.id());
        _byMultisig(upgrade.scheduleCall());
        _byMultisig(rollback.scheduleCall());
        vm.warp(block.timestamp + DELAY);

        // Work goes on until the very block of the upgrade.
        _expectOutcome(_execute(old[0]), IMintEscrow.ItemOutcome.Done);
        _byMultisig(upgrade.executeCall());
        vm.assertEq(escrow.version(), "2.0.0");
        vm.assertEq(MintEscrowV2(address(escrow)).wholeUnit(), 1e18);
        vm.assertEq(escrow.pendingTotal(), 3 * AMOUNT);

        // Old intents settle, the new requirement holds for new ones, and settled intents stay settled.
        _expectOutcome(_execute(old[0]), IMintEscrow.ItemOutcome.AlreadyExecuted);
        _expectOutcome(_execute(old[1]), IMintEscrow.ItemOutcome.Done);
        _expectOutcome(_refund(old[2]), IMintEscrow.ItemOutcome.Done);
        _expectOutcome(_submit(_item(user, NOT_WHOLE, "E")), IMintEscrow.ItemOutcome.InvalidAmount);
        bytes32 made = _deposited("F");
        bytes32 alsoMade = _deposited("G");

        // Scheduled beside the upgrade, the rollback needs no further delay.
        _byMultisig(rollback.executeCall());
        vm.assertEq(escrow.version(), "1.0.0");
        _expectOutcome(_execute(old[3]), IMintEscrow.ItemOutcome.Done);
        _expectOutcome(_execute(made), IMintEscrow.ItemOutcome.Done);
        _expectOutcome(_refund(alsoMade), IMintEscrow.ItemOutcome.Done);
        _expectOutcome(_execute(old[2]), IMintEscrow.ItemOutcome.AlreadyRefunded);
        _expectOutcome(_submit(_item(user, NOT_WHOLE, "E")), IMintEscrow.ItemOutcome.Done);
        vm.assertEq(kes.totalSupply(), 4 * AMOUNT);
        vm.assertEq(escrow.pendingTotal(), NOT_WHOLE);
        vm.assertEq(dai.balanceOf(address(escrow)), 4 * AMOUNT + NOT_WHOLE);
        _expectSolvent();
    }

    function test_roles_limits_and_counters_survive_an_upgrade() public {
        bytes32 done = _deposited("A");
        _execute(done);
        uint256 allowance = escrow.executorMintAvailable(executor);
        uint256 day = escrow.dailyDeposited(user);
        address next = address(new MintEscrowV2());
        // Without the delay, after which the day and the allowance would be new ones.
        vm.prank(address(timelock));
        escrow.upgradeToAndCall(next, "");
        vm.assertEq(escrow.dailyDeposited(user), day);
        vm.assertEq(escrow.executorMintAvailable(executor), allowance);
        vm.assertEq(escrow.defaultAdmin(), admin);
        vm.assertTrue(escrow.hasRole(escrow.EXECUTOR_ROLE(), executor));
        vm.assertTrue(escrow.hasRole(escrow.UPGRADER_ROLE(), address(timelock)));
        vm.assertEq(escrow.depositExpirySeconds(), EXPIRY);
        vm.assertEq(escrow.intentIdOf(treasury, "A"), done);
    }

    // ---------------------------------------------------------------- the timelock cannot be passed

    function test_nobody_but_the_timelock_upgrades() public {
        _onlyTimelockUpgrades(address(escrow), address(new MintEscrowV2()));
        _onlyTimelockUpgrades(address(manager), address(new ComplianceManager()));
        UpgradePlan.Plan memory plan = _plan(address(registry), address(new UserRegistry()));
        vm.prank(admin);
        vm.expectRevert(IUserRegistry.Unauthorized.selector);
        registry.upgradeToAndCall(plan.implementation, "");
        _throughTimelock(plan);
        _throughTimelock(_plan(address(manager), address(new ComplianceManager())));
        vm.assertTrue(manager.isCompliant(user));
    }

    function _onlyTimelockUpgrades(address proxy, address next) private {
        address[6] memory callers = [admin, pauser, executor, officer, stranger, address(production)];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.prank(callers[i]);
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessControl.AccessControlUnauthorizedAccount.selector,
                    callers[i],
                    keccak256("UPGRADER_ROLE")
                )
            );
            MintEscrow(proxy).upgradeToAndCall(next, "");
        }
    }

    function test_the_default_admin_cannot_become_upgrader() public {
        bytes32 role = escrow.UPGRADER_ROLE();
        bytes memory refusal =
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, admin, role);
        vm.startPrank(admin);
        vm.expectRevert(refusal);
        escrow.grantRole(role, admin);
        vm.expectRevert(refusal);
        escrow.revokeRole(role, address(timelock));
    }

    function test_an_upgrade_waits_for_the_delay_and_can_be_cancelled() public {
        UpgradePlan.Plan memory plan = _plan(address(escrow), address(new MintEscrowV2()));
        bytes memory tooEarly = plan.executeCall();
        _byMultisig(plan.scheduleCall());
        vm.warp(block.timestamp + DELAY - 1);
        vm.assertFalse(_succeeds(tooEarly));
        _byMultisig(plan.cancelCall());
        vm.warp(block.timestamp + DELAY);
        vm.assertFalse(_succeeds(tooEarly));
        vm.assertEq(escrow.version(), "1.0.0");
    }

    function test_a_rollback_waits_for_its_upgrade() public {
        UpgradePlan.Plan memory upgrade = _plan(address(escrow), address(new MintEscrowV2()));
        UpgradePlan.Plan memory rollback =
            new Rollback().plan(timelock, address(escrow), upgrade.previous, upgrade.id());
        _byMultisig(rollback.scheduleCall());
        vm.warp(block.timestamp + DELAY);
        vm.assertFalse(_succeeds(rollback.executeCall()));
    }

    function test_only_the_multisig_schedules_executes_and_cancels() public {
        UpgradePlan.Plan memory plan = _plan(address(escrow), address(new MintEscrowV2()));
        bytes[3] memory calls = [plan.scheduleCall(), plan.executeCall(), plan.cancelCall()];
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(stranger);
            (bool success, bytes memory answer) = address(timelock).call(calls[i]);
            vm.assertFalse(success);
            vm.assertEq(
                bytes32(bytes4(answer)), bytes32(IAccessControl.AccessControlUnauthorizedAccount.selector)
            );
        }
    }

    function test_the_delay_itself_changes_only_through_the_timelock() public {
        vm.prank(admin);
        vm.expectRevert(abi.encodeWithSelector(TimelockController.TimelockUnauthorizedCaller.selector, admin));
        timelock.updateDelay(0);
    }

    // ---------------------------------------------------------------- what is not an upgrade

    function test_code_that_is_not_uups_is_refused_by_plan_and_proxy() public {
        _refused(address(new NotUups()));
        _refused(address(new WrongUuid()));
        _refused(address(kes));
        _refused(stranger);
    }

    function _refused(address next) private {
        UpgradePlan.Plan memory plan = _plan(address(escrow), next);
        vm.expectRevert(abi.encodeWithSelector(UpgradePlan.NotUpgradeable.selector, next));
        this.rehearse(plan);
        // Even if it is scheduled, its execution fails.
        _byMultisig(plan.scheduleCall());
        vm.warp(block.timestamp + DELAY);
        vm.assertFalse(_succeeds(plan.executeCall()));
        vm.assertEq(UpgradePlan.implementationOf(address(escrow)), plan.previous);
    }

    function test_a_plan_that_could_not_be_taken_back_is_refused() public {
        UpgradePlan.Plan memory plan = _plan(address(escrow), address(new OneWay()));
        vm.expectRevert(
            abi.encodeWithSelector(
                UpgradePlan.RehearsalFailed.selector, abi.encodeWithSelector(OneWay.NoWayBack.selector)
            )
        );
        this.rehearse(plan);
    }

    function test_a_plan_that_changes_nothing_or_lacks_the_role_is_refused() public {
        UpgradePlan.Plan memory plan = _plan(address(escrow), UpgradePlan.implementationOf(address(escrow)));
        vm.expectRevert(UpgradePlan.SameImplementation.selector);
        this.rehearse(plan);
        plan = _plan(address(escrow), address(new MintEscrowV2()));
        plan.timelock = new TimelockController(0, new address[](0), new address[](0), address(0));
        vm.expectRevert(abi.encodeWithSelector(UpgradePlan.NotUpgrader.selector, address(escrow)));
        this.rehearse(plan);
    }

    /// @dev External, so that expectRevert sees one call.
    function rehearse(UpgradePlan.Plan memory plan) external {
        plan.rehearse();
    }

    // ---------------------------------------------------------------- taking over

    function test_nothing_is_initialized_twice_not_even_by_an_upgrade() public {
        UpgradePlan.Plan memory plan = _toV2();
        _throughTimelock(plan);
        bytes4 refusal = bytes4(keccak256("InvalidInitialization()"));
        vm.expectRevert(refusal);
        MintEscrowV2(address(escrow)).initializeV2(1);
        IMintEscrow.InitParams memory params;
        params.admin = stranger;
        vm.expectRevert(refusal);
        escrow.initialize(params);
        // After the rollback to the first version, it still cannot be initialized.
        _throughTimelock(_plan(address(escrow), plan.previous));
        vm.expectRevert(refusal);
        escrow.initialize(params);
    }

    function test_implementations_belong_to_nobody_and_cannot_be_taken() public {
        address[3] memory proxies = [address(escrow), address(manager), address(registry)];
        for (uint256 i = 0; i < proxies.length; ++i) {
            MintEscrow implementation = MintEscrow(UpgradePlan.implementationOf(proxies[i]));
            vm.assertEq(implementation.defaultAdmin(), address(0));
            vm.prank(stranger);
            vm.expectRevert();
            implementation.upgradeToAndCall(address(implementation), "");
        }
        address address_ = UpgradePlan.implementationOf(address(escrow));
        IMintEscrow.InitParams memory params;
        params.admin = stranger;
        vm.expectRevert(bytes4(keccak256("InvalidInitialization()")));
        MintEscrow(address_).initialize(params);
        vm.expectRevert(bytes4(keccak256("InvalidInitialization()")));
        manager.initialize(stranger, 0, stranger, stranger, stranger, address(registry), new address[](0));
        vm.expectRevert(bytes4(keccak256("InvalidInitialization()")));
        registry.initialize(stranger, 0, stranger, stranger, 1, false, 0);
    }

    function test_the_implementation_slot_is_the_standards() public view {
        vm.assertEq(
            ERC1967Utils.IMPLEMENTATION_SLOT, bytes32(uint256(keccak256("eip1967.proxy.implementation")) - 1)
        );
    }

    function _succeeds(bytes memory call) private returns (bool success) {
        vm.prank(admin);
        (success,) = address(timelock).call(call);
    }
}
