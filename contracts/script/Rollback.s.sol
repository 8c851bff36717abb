// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {vm} from "../test/utils/Test.sol";
import {UpgradePlan} from "./UpgradePlan.sol";

/// @title Writes the plan that takes an upgrade back.
/// @notice PLAN: what Upgrade wrote. Scheduled together with the upgrade, whose operation it waits for, it is
/// ready the moment the upgrade is done: a bad upgrade need not stay for another delay. Deploys nothing.
contract Rollback {
    using UpgradePlan for UpgradePlan.Plan;

    bool public constant IS_SCRIPT = true;

    function run() external {
        string memory upgrade = vm.envString("PLAN");
        plan(
                TimelockController(payable(vm.parseJsonAddress(upgrade, ".timelock"))),
                vm.parseJsonAddress(upgrade, ".proxy"),
                vm.parseJsonAddress(upgrade, ".previous"),
                vm.parseJsonBytes32(upgrade, ".id")
            ).write(vm.parseJsonString(upgrade, ".contract"), vm.envString("SCRIPT_OUT"));
    }

    /// @param previous what the proxy ran before the upgrade
    /// @param upgrade the upgrade's operation
    function plan(TimelockController timelock, address proxy, address previous, bytes32 upgrade)
        public
        view
        returns (UpgradePlan.Plan memory)
    {
        return UpgradePlan.make(timelock, proxy, previous, "", upgrade);
    }
}
