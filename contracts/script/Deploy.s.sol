// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {USDStablecoin} from "../src/USDStablecoin.sol";
import {vm} from "../test/utils/Test.sol";
import {Deployment} from "./Deployment.sol";

/// @title Deploys the whole system from the environment and writes its addresses.
/// @notice README.md lists the variables. Without STABLECOIN a development coin is deployed and the treasury
/// funded; with TREASURY_KEY the treasury also approves the escrow.
contract Deploy {
    bool public constant IS_SCRIPT = true;

    uint256 private constant DEVELOPMENT_FUNDS = 1e28;

    function run() external {
        uint256 key = vm.envUint("DEPLOYER_KEY");
        Deployment.Roles memory roles = _roles();
        Deployment.Policy memory policy = _policy();
        uint256 deployBlock = block.number;

        vm.startBroadcast(key);
        if (policy.stablecoin == address(0)) {
            policy.stablecoin = _developmentCoin(vm.addr(key), roles.admin, policy.treasury);
        }
        Deployment.System memory system = Deployment.deploy(vm.addr(key), roles, policy);
        uint256 treasuryKey = vm.envOr("TREASURY_KEY", uint256(0));
        if (treasuryKey != 0) {
            _approve(USDStablecoin(policy.stablecoin), treasuryKey, address(system.escrow));
        }
        vm.stopBroadcast();
        _write(system, policy, deployBlock);
    }

    function _developmentCoin(address deployer, address admin, address treasury) private returns (address) {
        USDStablecoin coin = new USDStablecoin(
            vm.envOr("STABLECOIN_NAME", "Dai Stablecoin"), vm.envOr("STABLECOIN_SYMBOL", "DAI"), deployer
        );
        coin.mint(treasury, DEVELOPMENT_FUNDS);
        if (admin != deployer) coin.transferOwnership(admin);
        return address(coin);
    }

    /// @dev By permit: with a second sender forge would wait for every single transaction.
    function _approve(USDStablecoin coin, uint256 treasuryKey, address escrow) private {
        address treasury = vm.addr(treasuryKey);
        uint256 unlimited = type(uint256).max;
        bytes32 permit =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 content =
            keccak256(abi.encode(permit, treasury, escrow, unlimited, coin.nonces(treasury), unlimited));
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", coin.DOMAIN_SEPARATOR(), content));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(treasuryKey, digest);
        coin.permit(treasury, escrow, unlimited, unlimited, v, r, s);
    }

    function _roles() private view returns (Deployment.Roles memory) {
        address admin = vm.envAddress("ADMIN");
        return Deployment.Roles({
            admin: admin,
            adminDelay: uint48(vm.envOr("ADMIN_DELAY", 2 days)),
            upgrader: vm.envOr("UPGRADER", admin),
            pauser: vm.envOr("PAUSER", admin),
            unpauser: vm.envOr("UNPAUSER", admin),
            officers: vm.envAddress("COMPLIANCE_OFFICER", ","),
            executors: vm.envAddress("EXECUTOR", ",")
        });
    }

    function _policy() private view returns (Deployment.Policy memory) {
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

    function _write(Deployment.System memory system, Deployment.Policy memory policy, uint256 deployBlock)
        private
    {
        string memory json = "system";
        vm.serializeUint(json, "chainId", block.chainid);
        vm.serializeAddress(json, "escrow", address(system.escrow));
        vm.serializeAddress(json, "countryToken", address(system.token));
        vm.serializeAddress(json, "stablecoin", policy.stablecoin);
        vm.serializeAddress(json, "userRegistry", address(system.registry));
        vm.serializeAddress(json, "complianceManager", address(system.manager));
        vm.serializeAddress(json, "treasury", policy.treasury);
        string memory text = vm.serializeUint(json, "deployBlock", deployBlock);
        vm.writeJson(text, vm.envString("DEPLOY_OUT"));
    }
}
