// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Deployment} from "../../script/Deployment.sol";
import {Production} from "../../script/Production.s.sol";
import {UpgradePlan} from "../../script/UpgradePlan.sol";
import {USDStablecoin} from "../../src/USDStablecoin.sol";
import {EscrowFixture} from "./EscrowFixture.sol";
import {vm} from "./Test.sol";

/// @dev The system as the production script leaves it: a multisig administers, a timelock upgrades.
abstract contract ProductionFixture is EscrowFixture {
    using UpgradePlan for UpgradePlan.Plan;

    uint256 internal constant DELAY = 2 days;

    Production internal production;
    TimelockController internal timelock;

    function setUp() public virtual override {
        vm.warp(START);
        vm.chainId(31_430);
        dai = new USDStablecoin("Dai Stablecoin", "DAI", address(this));
        dai.mint(treasury, 1e28);
        // Any contract is as good as a multisig: all the system asks of one is code.
        vm.etch(admin, hex"00");
        unpauser = admin;
        production = new Production();
        Deployment.System memory system;
        (system, timelock) = production.deploy(address(production), _roles(), _policy(address(dai)), DELAY);
        (registry, manager, kes, escrow) = (system.registry, system.manager, system.token, system.escrow);
        upgrader = address(timelock);

        vm.prank(treasury);
        dai.approve(address(escrow), type(uint256).max);
        _makeCompliant(user);
    }

    function _byMultisig(bytes memory call) internal {
        vm.prank(admin);
        (bool success, bytes memory answer) = address(timelock).call(call);
        if (success) return;
        assembly ("memory-safe") {
            revert(add(answer, 0x20), mload(answer))
        }
    }

    /// @dev Schedules the plan, waits for the delay, and executes it.
    function _throughTimelock(UpgradePlan.Plan memory plan) internal {
        _byMultisig(plan.scheduleCall());
        vm.warp(block.timestamp + plan.delay);
        _byMultisig(plan.executeCall());
    }
}
