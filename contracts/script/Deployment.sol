// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ComplianceManager} from "../src/ComplianceManager.sol";
import {CountryToken} from "../src/CountryToken.sol";
import {MintEscrow} from "../src/MintEscrow.sol";
import {UserRegistry} from "../src/UserRegistry.sol";
import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {vm} from "../test/utils/Test.sol";

/// @title The one way the system is put together, for scripts and tests alike.
/// @notice Every role is granted inside an initializer, so the deployer never holds any.
library Deployment {
    struct Roles {
        address admin;
        uint48 adminDelay;
        address upgrader;
        address pauser;
        address unpauser;
        address[] officers;
        address[] executors;
    }

    struct Policy {
        address treasury;
        address stablecoin;
        string tokenName;
        string tokenSymbol;
        bytes32 countryCode;
        uint8 maxRiskScore;
        bool attestationRequired;
        uint64 minAttestationAge;
        uint256 minMintAmount;
        uint256 maxMintAmount;
        uint256 dailyLimitPerUser;
        uint256 executorMintPerHour;
        uint256 depositExpirySeconds;
    }

    struct System {
        UserRegistry registry;
        ComplianceManager manager;
        CountryToken token;
        MintEscrow escrow;
    }

    error WrongAddress();

    /// @param deployer the account whose nonce the new addresses come from
    function deploy(address deployer, Roles memory roles, Policy memory policy)
        internal
        returns (System memory system)
    {
        // The registry must know its writer, and the token its minter, before either exists.
        address registryImplementation = address(new UserRegistry());
        address managerImplementation = address(new ComplianceManager());
        address escrowImplementation = address(new MintEscrow());
        uint256 nonce = vm.getNonce(deployer);
        address managerAt = vm.computeCreateAddress(deployer, nonce + 1);
        address escrowAt = vm.computeCreateAddress(deployer, nonce + 3);

        system.registry = _registry(registryImplementation, managerAt, roles, policy);
        system.manager = _manager(managerImplementation, address(system.registry), roles);
        system.token = new CountryToken(
            policy.tokenName,
            policy.tokenSymbol,
            escrowAt,
            roles.admin,
            roles.adminDelay,
            roles.pauser,
            roles.unpauser
        );
        system.escrow = _escrow(escrowImplementation, system, roles, policy);
        if (address(system.manager) != managerAt || address(system.escrow) != escrowAt) {
            revert WrongAddress();
        }
    }

    function _registry(address implementation, address writer, Roles memory roles, Policy memory policy)
        private
        returns (UserRegistry)
    {
        bytes memory init = abi.encodeCall(
            UserRegistry.initialize,
            (
                roles.admin,
                roles.adminDelay,
                roles.upgrader,
                writer,
                policy.maxRiskScore,
                policy.attestationRequired,
                policy.minAttestationAge
            )
        );
        return UserRegistry(address(new ERC1967Proxy(implementation, init)));
    }

    function _manager(address implementation, address registry, Roles memory roles)
        private
        returns (ComplianceManager)
    {
        bytes memory init = abi.encodeCall(
            ComplianceManager.initialize,
            (
                roles.admin,
                roles.adminDelay,
                roles.upgrader,
                roles.pauser,
                roles.unpauser,
                registry,
                roles.officers
            )
        );
        return ComplianceManager(address(new ERC1967Proxy(implementation, init)));
    }

    function _escrow(address implementation, System memory system, Roles memory roles, Policy memory policy)
        private
        returns (MintEscrow)
    {
        IMintEscrow.InitParams memory params = IMintEscrow.InitParams({
            admin: roles.admin,
            adminDelay: roles.adminDelay,
            upgrader: roles.upgrader,
            pauser: roles.pauser,
            unpauser: roles.unpauser,
            executors: roles.executors,
            treasury: policy.treasury,
            stablecoin: policy.stablecoin,
            countryToken: address(system.token),
            userRegistry: address(system.manager),
            countryCode: policy.countryCode,
            minMintAmount: policy.minMintAmount,
            maxMintAmount: policy.maxMintAmount,
            dailyLimitPerUser: policy.dailyLimitPerUser,
            executorMintPerHour: policy.executorMintPerHour,
            depositExpirySeconds: policy.depositExpirySeconds
        });
        bytes memory init = abi.encodeCall(IMintEscrowInit.initialize, (params));
        return MintEscrow(address(new ERC1967Proxy(implementation, init)));
    }
}

/// @dev The initializer's shape, for encodeCall.
interface IMintEscrowInit {
    function initialize(IMintEscrow.InitParams calldata params) external;
}
