// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Deployment} from "../../script/Deployment.sol";
import {ComplianceManager} from "../../src/ComplianceManager.sol";
import {CountryToken} from "../../src/CountryToken.sol";
import {MintEscrow} from "../../src/MintEscrow.sol";
import {USDStablecoin} from "../../src/USDStablecoin.sol";
import {UserRegistry} from "../../src/UserRegistry.sol";
import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {Test, vm} from "./Test.sol";

/// @dev The whole system as the deployment script builds it, with one account per role.
abstract contract EscrowFixture is Test {
    bytes32 internal constant KES = "KES";
    bytes32 internal constant REF = "TX0000000001";
    bytes32 internal constant ATTESTATION = keccak256("attestation");
    uint256 internal constant AMOUNT = 150e18;
    uint256 internal constant START = 1_767_225_600;
    uint256 internal constant EXPIRY = 604_800;

    address internal admin = _account("admin");
    address internal upgrader = _account("upgrader");
    address internal pauser = _account("pauser");
    address internal unpauser = _account("unpauser");
    address internal officer = _account("officer");
    address internal executor = _account("executor");
    address internal otherExecutor = _account("otherExecutor");
    address internal treasury = _account("treasury");
    address internal user = _account("user");
    address internal stranger = _account("stranger");

    USDStablecoin internal dai;
    UserRegistry internal registry;
    ComplianceManager internal manager;
    CountryToken internal kes;
    MintEscrow internal escrow;

    function setUp() public virtual {
        vm.warp(START);
        vm.chainId(31_430);
        dai = new USDStablecoin("Dai Stablecoin", "DAI", address(this));
        Deployment.System memory system = Deployment.deploy(address(this), _roles(), _policy(address(dai)));
        (registry, manager, kes, escrow) = (system.registry, system.manager, system.token, system.escrow);

        dai.mint(treasury, 1e28);
        vm.prank(treasury);
        dai.approve(address(escrow), type(uint256).max);
        _makeCompliant(user);
    }

    function _roles() internal view returns (Deployment.Roles memory roles) {
        roles.admin = admin;
        roles.adminDelay = 2 days;
        roles.upgrader = upgrader;
        roles.pauser = pauser;
        roles.unpauser = unpauser;
        roles.officers = new address[](1);
        roles.officers[0] = officer;
        roles.executors = new address[](2);
        roles.executors[0] = executor;
        roles.executors[1] = otherExecutor;
    }

    function _policy(address stablecoin) internal view returns (Deployment.Policy memory) {
        return Deployment.Policy({
            treasury: treasury,
            stablecoin: stablecoin,
            tokenName: "Kenya Shilling Token",
            tokenSymbol: "KES",
            countryCode: KES,
            maxRiskScore: 91,
            attestationRequired: true,
            minAttestationAge: 0,
            minMintAmount: 1e18,
            maxMintAmount: 1e21,
            dailyLimitPerUser: 2e22,
            executorMintPerHour: 1e24,
            depositExpirySeconds: EXPIRY
        });
    }

    function _makeCompliant(address account) internal {
        vm.prank(officer);
        manager.setUserCompliance(account, 10, ATTESTATION, true);
    }

    function _ref(uint256 number) internal pure returns (bytes32) {
        return bytes32(abi.encodePacked("TX", vm.toString(1_000_000_000 + number)));
    }

    /// @dev Returns the item for a treasury deposit, with its true id.
    function _item(address account, uint256 amount, bytes32 txRef)
        internal
        view
        returns (IMintEscrow.SubmitItem memory)
    {
        bytes32 id = escrow.computeIntentId(treasury, account, amount, KES, txRef);
        return IMintEscrow.SubmitItem(id, treasury, account, amount, KES, txRef);
    }

    function _one(IMintEscrow.SubmitItem memory item)
        internal
        pure
        returns (IMintEscrow.SubmitItem[] memory items)
    {
        items = new IMintEscrow.SubmitItem[](1);
        items[0] = item;
    }

    function _ids(bytes32 id) internal pure returns (bytes32[] memory ids) {
        ids = new bytes32[](1);
        ids[0] = id;
    }

    function _submit(IMintEscrow.SubmitItem memory item) internal returns (IMintEscrow.ItemOutcome) {
        vm.prank(executor);
        return escrow.submitIntents(_one(item))[0];
    }

    function _execute(bytes32 id) internal returns (IMintEscrow.ItemOutcome) {
        vm.prank(executor);
        return escrow.executeMints(_ids(id))[0];
    }

    function _refund(bytes32 id) internal returns (IMintEscrow.ItemOutcome) {
        vm.prank(executor);
        return escrow.refundIntents(_ids(id), "declined")[0];
    }

    /// @dev Makes a treasury deposit for `user`.
    function _deposited(bytes32 txRef) internal returns (bytes32 id) {
        IMintEscrow.SubmitItem memory item = _item(user, AMOUNT, txRef);
        _expectOutcome(_submit(item), IMintEscrow.ItemOutcome.Done);
        return item.expectedId;
    }

    function _expectOutcome(IMintEscrow.ItemOutcome actual, IMintEscrow.ItemOutcome expected) internal pure {
        vm.assertEq(uint256(actual), uint256(expected), "item outcome");
    }

    function _expectStatus(bytes32 id, IMintEscrow.IntentStatus expected) internal view {
        vm.assertEq(uint256(escrow.getIntentStatus(id)), uint256(expected), "intent status");
    }

    /// @dev The escrow must always hold what it owes.
    function _expectSolvent() internal view {
        vm.assertGe(
            dai.balanceOf(address(escrow)),
            escrow.pendingTotal() + escrow.creditedTotal(),
            "balance covers pending and credits"
        );
    }
}
