// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC1822Proxiable} from "@openzeppelin/contracts/interfaces/draft-IERC1822.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {vm} from "../test/utils/Test.sol";

/// @title One change of the code behind one proxy, as the timelock's calls that bring it about.
/// @notice The multisig sends `schedule`, waits, and sends `execute`; or `cancel` in between.
library UpgradePlan {
    struct Plan {
        TimelockController timelock;
        address proxy;
        address previous;
        address implementation;
        /// the call to the proxy
        bytes data;
        /// an operation that must be done before, zero for none
        bytes32 predecessor;
        bytes32 salt;
        uint256 delay;
    }

    /// @notice Nothing would change.
    error SameImplementation();
    /// @notice The proxy would refuse it, or could never be upgraded again.
    error NotUpgradeable(address implementation);
    /// @notice The timelock cannot upgrade this proxy.
    error NotUpgrader(address proxy);
    /// @notice The upgrade was tried on a copy of the present state, and failed.
    error RehearsalFailed(bytes reason);

    /// @param migration what the new code is called with in the same transaction, empty for nothing
    function make(
        TimelockController timelock,
        address proxy,
        address implementation,
        bytes memory migration,
        bytes32 predecessor
    ) internal view returns (Plan memory plan) {
        plan.timelock = timelock;
        plan.proxy = proxy;
        plan.previous = implementationOf(proxy);
        plan.implementation = implementation;
        plan.data = abi.encodeCall(UUPSUpgradeable.upgradeToAndCall, (implementation, migration));
        plan.predecessor = predecessor;
        // Two plans of the same change must not be one operation: it could be done only once.
        plan.salt = keccak256(abi.encode(plan.previous, implementation, predecessor, block.number));
        plan.delay = timelock.getMinDelay();
    }

    /// @dev Fails where the upgrade would fail two days later, and when the new code could not be taken back.
    /// Leaves the state as it was.
    function rehearse(Plan memory plan) internal {
        if (plan.implementation == implementationOf(plan.proxy)) revert SameImplementation();
        if (!_isUpgradeable(plan.implementation)) revert NotUpgradeable(plan.implementation);
        if (!IAccessControl(plan.proxy).hasRole(keccak256("UPGRADER_ROLE"), address(plan.timelock))) {
            revert NotUpgrader(plan.proxy);
        }
        uint256 before = vm.snapshotState();
        _try(plan, plan.data);
        _try(plan, abi.encodeCall(UUPSUpgradeable.upgradeToAndCall, (plan.previous, "")));
        vm.revertToState(before);
    }

    function _try(Plan memory plan, bytes memory data) private {
        vm.prank(address(plan.timelock));
        (bool success, bytes memory reason) = plan.proxy.call(data);
        if (!success) revert RehearsalFailed(reason);
    }

    function id(Plan memory plan) internal pure returns (bytes32) {
        return plan.timelock.hashOperation(plan.proxy, 0, plan.data, plan.predecessor, plan.salt);
    }

    function scheduleCall(Plan memory plan) internal pure returns (bytes memory) {
        return abi.encodeCall(
            TimelockController.schedule, (plan.proxy, 0, plan.data, plan.predecessor, plan.salt, plan.delay)
        );
    }

    function executeCall(Plan memory plan) internal pure returns (bytes memory) {
        return
            abi.encodeCall(
                TimelockController.execute, (plan.proxy, 0, plan.data, plan.predecessor, plan.salt)
            );
    }

    function cancelCall(Plan memory plan) internal pure returns (bytes memory) {
        return abi.encodeCall(TimelockController.cancel, (id(plan)));
    }

    function implementationOf(address proxy) internal view returns (address) {
        return address(uint160(uint256(vm.load(proxy, ERC1967Utils.IMPLEMENTATION_SLOT))));
    }

    function _isUpgradeable(address implementation) private view returns (bool) {
        (bool success, bytes memory uuid) =
            implementation.staticcall(abi.encodeCall(IERC1822Proxiable.proxiableUUID, ()));
        return success && uuid.length == 32 && bytes32(uuid) == ERC1967Utils.IMPLEMENTATION_SLOT;
    }

    /// @dev Read by a person before signing, by the multisig's tooling, and by the rollback.
    function write(Plan memory plan, string memory name, string memory path) internal {
        string memory json = "plan";
        vm.serializeUint(json, "chainId", block.chainid);
        vm.serializeString(json, "contract", name);
        vm.serializeAddress(json, "timelock", address(plan.timelock));
        vm.serializeAddress(json, "proxy", plan.proxy);
        vm.serializeAddress(json, "previous", plan.previous);
        vm.serializeAddress(json, "implementation", plan.implementation);
        vm.serializeUint(json, "delay", plan.delay);
        vm.serializeBytes32(json, "id", id(plan));
        vm.serializeBytes(json, "schedule", scheduleCall(plan));
        vm.serializeBytes(json, "execute", executeCall(plan));
        vm.writeJson(vm.serializeBytes(json, "cancel", cancelCall(plan)), path);
    }
}
