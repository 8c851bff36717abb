// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {USDStablecoin} from "../src/USDStablecoin.sol";
import {vm} from "../test/utils/Test.sol";
import {Deployment} from "./Deployment.sol";
import {Settings} from "./Settings.sol";

/// @title Deploys the whole system for development; Production.s.sol is for where money is real.
/// @notice Without STABLECOIN a development coin is deployed and the treasury funded; with TREASURY_KEY the
/// treasury also approves the escrow.
contract Deploy is Settings {
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
        _write(system, roles, policy, deployBlock);
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
}
