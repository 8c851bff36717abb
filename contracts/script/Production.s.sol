// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {vm} from "../test/utils/Test.sol";
import {Deployment} from "./Deployment.sol";
import {Governance} from "./Governance.sol";
import {Settings} from "./Settings.sol";

/// @title Deploys the whole system where money is real.
/// @notice The multisig administers, a timelock upgrades, and the deployer's key is worth nothing afterwards.
/// Nothing has a development default here: what is missing stops the script.
contract Production is Settings {
    function run() external {
        uint256 key = vm.envUint("DEPLOYER_KEY");
        uint256 delay = vm.envOr("TIMELOCK_DELAY", Governance.MIN_DELAY);
        Deployment.Roles memory roles = _roles();
        Deployment.Policy memory policy = _policy();
        uint256 deployBlock = block.number;

        vm.startBroadcast(key);
        (Deployment.System memory system, TimelockController timelock) =
            deploy(vm.addr(key), roles, policy, delay);
        vm.stopBroadcast();

        vm.serializeAddress("system", "timelock", address(timelock));
        vm.serializeUint("system", "timelockDelay", delay);
        _write(system, roles, policy, deployBlock);
    }

    /// @notice The whole of it, for the script and for its tests.
    /// @param roles `upgrader` is filled in here
    function deploy(
        address deployer,
        Deployment.Roles memory roles,
        Deployment.Policy memory policy,
        uint256 timelockDelay
    ) public returns (Deployment.System memory system, TimelockController timelock) {
        Governance.requireSound(deployer, roles, policy, timelockDelay);
        timelock = Governance.timelock(roles.admin, timelockDelay);
        roles.upgrader = address(timelock);
        system = Deployment.deploy(deployer, roles, policy);
        Governance.requireNoRole(deployer, system, address(timelock));
    }

    function _roles() private view returns (Deployment.Roles memory roles) {
        roles.admin = vm.envAddress("MULTISIG");
        roles.adminDelay = uint48(vm.envOr("ADMIN_DELAY", Governance.MIN_DELAY));
        roles.pauser = vm.envAddress("PAUSER");
        roles.unpauser = vm.envOr("UNPAUSER", roles.admin);
        roles.officers = vm.envAddress("COMPLIANCE_OFFICER", ",");
        roles.executors = vm.envAddress("EXECUTOR", ",");
    }
}
