// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ComplianceManager} from "../src/ComplianceManager.sol";
import {MintEscrow} from "../src/MintEscrow.sol";
import {UserRegistry} from "../src/UserRegistry.sol";
import {vm} from "../test/utils/Test.sol";
import {UpgradePlan} from "./UpgradePlan.sol";

/// @title Deploys the present code of one contract and writes the plan that puts it behind its proxy.
/// @notice SYSTEM: what the deployment wrote; CONTRACT: MintEscrow, ComplianceManager or UserRegistry; MIGRATION:
/// calldata for the new code, usually a reinitializer, or 0x; DEPLOYER_KEY: any funded key, it gets no power.
contract Upgrade {
    using UpgradePlan for UpgradePlan.Plan;

    bool public constant IS_SCRIPT = true;

    error UnknownContract(string name);

    function run() external {
        string memory system = vm.envString("SYSTEM");
        string memory name = vm.envString("CONTRACT");
        vm.startBroadcast(vm.envUint("DEPLOYER_KEY"));
        (string memory key, address implementation) = _deploy(name);
        vm.stopBroadcast();
        UpgradePlan.Plan memory plan = UpgradePlan.make(
            TimelockController(payable(vm.parseJsonAddress(system, ".timelock"))),
            vm.parseJsonAddress(system, string.concat(".", key)),
            implementation,
            vm.envBytes("MIGRATION"),
            bytes32(0)
        );
        plan.rehearse();
        plan.write(name, vm.envString("SCRIPT_OUT"));
    }

    function _deploy(string memory name) private returns (string memory key, address implementation) {
        bytes32 which = keccak256(bytes(name));
        if (which == keccak256("MintEscrow")) return ("escrow", address(new MintEscrow()));
        if (which == keccak256("ComplianceManager")) {
            return ("complianceManager", address(new ComplianceManager()));
        }
        if (which == keccak256("UserRegistry")) return ("userRegistry", address(new UserRegistry()));
        revert UnknownContract(name);
    }
}
