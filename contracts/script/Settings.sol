// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {vm} from "../test/utils/Test.sol";
import {Deployment} from "./Deployment.sol";

/// @title What the deployment scripts read from the environment and write for others.
/// @notice README.md lists the variables.
abstract contract Settings {
    bool public constant IS_SCRIPT = true;

    function _policy() internal view returns (Deployment.Policy memory) {
        return Deployment.Policy({
            treasury: vm.envAddress("TREASURY"),
            stablecoin: vm.envOr("STABLECOIN", address(0)),
            tokenName: vm.envOr("TOKEN_NAME", "Kenya Shilling Token"),
            tokenSymbol: vm.envOr("TOKEN_SYMBOL", "KES"),
            countryCode: bytes32(bytes(vm.envOr("COUNTRY_CODE", "KES"))),
            maxRiskScore: uint8(vm.envOr("MAX_RISK_SCORE", 91)),
            attestationRequired: vm.envOr("ATTESTATION_REQUIRED", 1) != 0,
            minAttestationAge: uint64(vm.envOr("MIN_ATTESTATION_AGE", 0)),
            minMintAmount: vm.envOr("MIN_MINT_AMOUNT", 1e18),
            maxMintAmount: vm.envOr("MAX_MINT_AMOUNT", 1e21),
            dailyLimitPerUser: vm.envOr("DAILY_LIMIT_PER_USER", 2e22),
            executorMintPerHour: vm.envOr("EXECUTOR_MINT_PER_HOUR", 1e24),
            depositExpirySeconds: vm.envOr("DEPOSIT_EXPIRY_SECONDS", 604_800)
        });
    }

    /// @dev Addresses and who was given what: what the services need, and what tools/check-system expects.
    function _write(
        Deployment.System memory system,
        Deployment.Roles memory roles,
        Deployment.Policy memory policy,
        uint256 deployBlock
    ) internal {
        string memory json = "system";
        vm.serializeUint(json, "chainId", block.chainid);
        vm.serializeAddress(json, "escrow", address(system.escrow));
        vm.serializeAddress(json, "countryToken", address(system.token));
        vm.serializeAddress(json, "stablecoin", policy.stablecoin);
        vm.serializeAddress(json, "userRegistry", address(system.registry));
        vm.serializeAddress(json, "complianceManager", address(system.manager));
        vm.serializeAddress(json, "treasury", policy.treasury);
        vm.serializeAddress(json, "admin", roles.admin);
        vm.serializeUint(json, "adminDelay", roles.adminDelay);
        vm.serializeAddress(json, "upgrader", roles.upgrader);
        vm.serializeAddress(json, "pauser", roles.pauser);
        vm.serializeAddress(json, "unpauser", roles.unpauser);
        vm.serializeAddress(json, "officers", roles.officers);
        vm.serializeAddress(json, "executors", roles.executors);
        string memory text = vm.serializeUint(json, "deployBlock", deployBlock);
        vm.writeJson(text, vm.envString("SCRIPT_OUT"));
    }
}
