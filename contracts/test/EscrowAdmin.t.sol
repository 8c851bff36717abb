// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {ComplianceManager} from "../src/ComplianceManager.sol";
import {CountryToken} from "../src/CountryToken.sol";
import {MintEscrow} from "../src/MintEscrow.sol";
import {USDStablecoin} from "../src/USDStablecoin.sol";
import {UserRegistry} from "../src/UserRegistry.sol";
import {Governed} from "../src/base/Governed.sol";
import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {IUserRegistry} from "../src/interfaces/IUserRegistry.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {HostileToken} from "./mocks/HostileToken.sol";
import {vm} from "./utils/Test.sol";

contract EscrowAdminTest is EscrowFixture {
    function test_the_deployed_policy_is_readable() public view {
        vm.assertEq(escrow.treasury(), treasury);
        vm.assertEq(escrow.stablecoin(), address(dai));
        vm.assertEq(escrow.countryToken(), address(kes));
        vm.assertEq(escrow.userRegistry(), address(manager));
        vm.assertEq(escrow.countryCode(), KES);
        vm.assertEq(escrow.minMintAmount(), 1e18);
        vm.assertEq(escrow.maxMintAmount(), 1e21);
        vm.assertEq(escrow.dailyLimitPerUser(), 2e22);
        vm.assertEq(escrow.executorMintPerHour(), 1e24);
        vm.assertEq(escrow.executorMintAvailable(executor), 1e24);
        vm.assertEq(escrow.depositExpirySeconds(), EXPIRY);
        vm.assertEq(escrow.version(), "1.0.0");
        vm.assertTrue(escrow.isAllowedDepositor(treasury));
        vm.assertFalse(escrow.isAllowedDepositor(user));
    }

    function test_settled_backing_is_swept_up_to_what_nobody_is_owed() public {
        _execute(_deposited("A"));
        _deposited("B");
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(IMintEscrow.SweepExceedsSettled.selector, AMOUNT));
        escrow.sweepSettled(AMOUNT + 1);
        uint256 before = dai.balanceOf(treasury);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.SettledSwept(treasury, AMOUNT);
        escrow.sweepSettled(AMOUNT);
        vm.assertEq(dai.balanceOf(treasury), before + AMOUNT);
        vm.assertEq(escrow.sweepable(), 0);
        _solvent();
    }

    function test_the_stablecoin_cannot_change_under_deposits_or_credits() public {
        HostileToken coin = new HostileToken();
        bytes32 id = _deposited(REF);
        vm.prank(admin);
        vm.expectRevert(IMintEscrow.DepositsOutstanding.selector);
        escrow.setStablecoin(address(coin));
        _refund(id);
        vm.prank(admin);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.StablecoinChanged(address(dai), address(coin));
        escrow.setStablecoin(address(coin));

        coin.mint(treasury, AMOUNT);
        id = _deposited("CREDIT");
        coin.setMode(HostileToken.Mode.Reverts);
        _refund(id);
        vm.assertEq(escrow.pendingTotal(), 0);
        vm.prank(admin);
        vm.expectRevert(IMintEscrow.DepositsOutstanding.selector);
        escrow.setStablecoin(address(dai));
    }

    function test_a_stablecoin_has_code_and_18_decimals_and_is_not_the_country_token() public {
        HostileToken coin = new HostileToken();
        coin.setDecimals(6);
        vm.startPrank(admin);
        vm.expectRevert(IMintEscrow.InvalidToken.selector);
        escrow.setStablecoin(address(coin));
        vm.expectRevert(IMintEscrow.InvalidToken.selector);
        escrow.setStablecoin(stranger);
        vm.expectRevert(IMintEscrow.InvalidToken.selector);
        escrow.setStablecoin(address(kes));
        vm.expectRevert(IMintEscrow.InvalidToken.selector);
        escrow.setStablecoin(address(manager));
    }

    function test_a_former_stablecoin_is_recovered_but_never_the_present_one() public {
        _execute(_deposited(REF));
        USDStablecoin next = new USDStablecoin("Next", "NXT", address(this));
        vm.startPrank(admin);
        vm.expectRevert(IMintEscrow.InvalidToken.selector);
        escrow.recoverForeignToken(address(dai), 1);
        vm.expectRevert(IMintEscrow.InvalidToken.selector);
        escrow.recoverForeignToken(stranger, 1);
        escrow.setStablecoin(address(next));
        vm.expectRevert(IMintEscrow.TransferFailed.selector);
        escrow.recoverForeignToken(address(dai), AMOUNT + 1);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.ForeignTokenRecovered(address(dai), treasury, AMOUNT);
        escrow.recoverForeignToken(address(dai), AMOUNT);
        vm.assertEq(dai.balanceOf(address(escrow)), 0);
    }

    function test_a_compliance_source_must_answer() public {
        vm.startPrank(admin);
        vm.expectRevert(IMintEscrow.InvalidComplianceSource.selector);
        escrow.setUserRegistry(stranger);
        vm.expectRevert(IMintEscrow.InvalidComplianceSource.selector);
        escrow.setUserRegistry(address(dai));
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.UserRegistryChanged(address(manager), address(registry));
        escrow.setUserRegistry(address(registry));
        vm.stopPrank();
        _is(_execute(_deposited(REF)), IMintEscrow.ItemOutcome.Done);
    }

    function test_a_former_treasury_pays_until_revoked_and_is_refunded_after() public {
        address next = _account("next treasury");
        bytes32 id = _deposited(REF);
        vm.prank(admin);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.TreasuryChanged(treasury, next);
        escrow.setTreasury(next);
        vm.assertEq(escrow.treasury(), next);
        _is(_submit(_item(user, AMOUNT, "STILL")), IMintEscrow.ItemOutcome.Done);

        vm.startPrank(admin);
        vm.expectRevert(IMintEscrow.InvalidTreasury.selector);
        escrow.revokeTreasury(next);
        vm.expectRevert(IMintEscrow.InvalidTreasury.selector);
        escrow.revokeTreasury(stranger);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.TreasuryRevoked(treasury);
        escrow.revokeTreasury(treasury);
        vm.stopPrank();
        _is(_submit(_item(user, AMOUNT, "ENDED")), IMintEscrow.ItemOutcome.DepositorNotAllowed);
        uint256 before = dai.balanceOf(treasury);
        _is(_refund(id), IMintEscrow.ItemOutcome.Done);
        vm.assertEq(dai.balanceOf(treasury), before + AMOUNT);
    }

    function test_limits_have_bounds_and_events() public {
        vm.startPrank(admin);
        bytes4 refused = IMintEscrow.InvalidLimit.selector;
        vm.expectRevert(refused);
        escrow.setMintLimits(0, 1);
        vm.expectRevert(refused);
        escrow.setMintLimits(2, 1);
        vm.expectRevert(refused);
        escrow.setMintLimits(1, uint256(type(uint96).max) + 1);
        vm.expectRevert(refused);
        escrow.setDailyLimitPerUser(uint256(type(uint128).max) + 1);
        vm.expectRevert(refused);
        escrow.setExecutorMintPerHour(uint256(type(uint128).max) + 1);
        vm.expectRevert(refused);
        escrow.setDepositExpirySeconds(1 hours - 1);
        vm.expectRevert(refused);
        escrow.setDepositExpirySeconds(365 days + 1);
        vm.expectRevert(IMintEscrow.InvalidTreasury.selector);
        escrow.setTreasury(address(0));
        vm.expectRevert(IMintEscrow.InvalidTreasury.selector);
        escrow.setTreasury(address(escrow));

        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.MintLimitsChanged(3, 4);
        escrow.setMintLimits(3, 4);
        vm.assertEq(escrow.minMintAmount(), 3);
        vm.assertEq(escrow.maxMintAmount(), 4);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.DailyLimitChanged(5);
        escrow.setDailyLimitPerUser(5);
        vm.assertEq(escrow.dailyLimitPerUser(), 5);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.ExecutorMintPerHourChanged(6);
        escrow.setExecutorMintPerHour(6);
        vm.assertEq(escrow.executorMintPerHour(), 6);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.DepositExpiryChanged(1 hours);
        escrow.setDepositExpirySeconds(1 hours);
        vm.assertEq(escrow.depositExpirySeconds(), 1 hours);
    }

    /// @dev Every gated function, called by every account that lacks its role.
    function test_every_function_refuses_every_wrong_role() public {
        bytes32[] memory none = new bytes32[](0);
        bytes[11] memory adminCalls = [
            abi.encodeCall(IMintEscrow.sweepSettled, (0)),
            abi.encodeCall(IMintEscrow.recoverForeignToken, (address(kes), 0)),
            abi.encodeCall(IMintEscrow.setUserRegistry, (address(manager))),
            abi.encodeCall(IMintEscrow.setStablecoin, (address(dai))),
            abi.encodeCall(IMintEscrow.setTreasury, (stranger)),
            abi.encodeCall(IMintEscrow.revokeTreasury, (treasury)),
            abi.encodeCall(IMintEscrow.setMintLimits, (1, 2)),
            abi.encodeCall(IMintEscrow.setDailyLimitPerUser, (1)),
            abi.encodeCall(IMintEscrow.setExecutorMintPerHour, (1)),
            abi.encodeCall(IMintEscrow.setDepositExpirySeconds, (1 days)),
            abi.encodeCall(IAccessControl.grantRole, (escrow.EXECUTOR_ROLE(), stranger))
        ];
        for (uint256 i = 0; i < 10; ++i) {
            _refusedToAllBut(admin, escrow.ADMIN_ROLE(), adminCalls[i]);
        }
        _refusedToAllBut(admin, 0, adminCalls[10]);
        bytes32 role = escrow.EXECUTOR_ROLE();
        _refusedToAllBut(executor, role, abi.encodeCall(IMintEscrow.executeMint, (REF)));
        _refusedToAllBut(executor, role, abi.encodeCall(IMintEscrow.refundIntent, (REF, "")));
        _refusedToAllBut(executor, role, abi.encodeCall(IMintEscrow.executeMints, (none)));
        _refusedToAllBut(executor, role, abi.encodeCall(IMintEscrow.refundIntents, (none, "")));
        _refusedToAllBut(
            executor, role, abi.encodeCall(IMintEscrow.submitIntents, (new IMintEscrow.SubmitItem[](0)))
        );
        _refusedToAllBut(pauser, escrow.PAUSER_ROLE(), abi.encodeCall(IMintEscrow.pause, ()));
        _refusedToAllBut(unpauser, escrow.UNPAUSER_ROLE(), abi.encodeCall(IMintEscrow.unpause, ()));
        address next = address(new MintEscrow());
        _refusedToAllBut(
            upgrader, escrow.UPGRADER_ROLE(), abi.encodeCall(UUPSUpgradeable.upgradeToAndCall, (next, ""))
        );
    }

    function _refusedToAllBut(address holder, bytes32 role, bytes memory call) private {
        address[8] memory callers = [admin, upgrader, pauser, unpauser, officer, executor, treasury, stranger];
        for (uint256 i = 0; i < callers.length; ++i) {
            if (callers[i] == holder) continue;
            vm.prank(callers[i]);
            (bool success, bytes memory answer) = address(escrow).call(call);
            vm.assertFalse(success);
            vm.assertEq(
                answer,
                abi.encodeWithSelector(
                    IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], role
                )
            );
        }
    }

    function test_the_default_admin_cannot_make_an_upgrader() public {
        bytes32 role = escrow.UPGRADER_ROLE();
        vm.assertEq(escrow.getRoleAdmin(role), role);
        vm.prank(admin);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, admin, role)
        );
        escrow.grantRole(role, admin);
    }

    function test_the_default_admin_is_handed_over_in_two_steps_and_late() public {
        vm.prank(admin);
        escrow.beginDefaultAdminTransfer(stranger);
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector,
                START + 2 days
            )
        );
        escrow.acceptDefaultAdminTransfer();
        vm.warp(START + 2 days + 1);
        vm.prank(stranger);
        escrow.acceptDefaultAdminTransfer();
        vm.assertEq(escrow.defaultAdmin(), stranger);
    }

    function test_the_deployer_holds_no_role() public view {
        bytes32[5] memory roles = [
            bytes32(0),
            escrow.ADMIN_ROLE(),
            escrow.UPGRADER_ROLE(),
            escrow.EXECUTOR_ROLE(),
            escrow.PAUSER_ROLE()
        ];
        for (uint256 i = 0; i < roles.length; ++i) {
            vm.assertFalse(escrow.hasRole(roles[i], address(this)));
            vm.assertFalse(manager.hasRole(roles[i], address(this)));
            vm.assertFalse(registry.hasRole(roles[i], address(this)));
            vm.assertFalse(kes.hasRole(roles[i], address(this)));
        }
    }

    function test_an_upgrade_keeps_intents_and_their_ends() public {
        bytes32 minted = _deposited("A");
        bytes32 refunded = _deposited("B");
        address next = address(new MintEscrowNext());
        vm.prank(upgrader);
        escrow.upgradeToAndCall(next, "");
        vm.assertEq(escrow.version(), "next");
        _is(_execute(minted), IMintEscrow.ItemOutcome.Done);
        _is(_refund(refunded), IMintEscrow.ItemOutcome.Done);
        address former = address(new MintEscrow());
        vm.prank(upgrader);
        escrow.upgradeToAndCall(former, "");
        vm.assertEq(escrow.version(), "1.0.0");
        _is(_execute(minted), IMintEscrow.ItemOutcome.AlreadyExecuted);
        _is(_refund(refunded), IMintEscrow.ItemOutcome.AlreadyRefunded);
    }

    function test_the_other_proxies_upgrade_by_the_upgrader_alone() public {
        address nextManager = address(new ComplianceManager());
        address nextRegistry = address(new UserRegistry());
        bytes32 role = manager.UPGRADER_ROLE();
        vm.startPrank(admin);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, admin, role)
        );
        manager.upgradeToAndCall(nextManager, "");
        vm.expectRevert(IUserRegistry.Unauthorized.selector);
        registry.upgradeToAndCall(nextRegistry, "");
        vm.stopPrank();
        vm.startPrank(upgrader);
        manager.upgradeToAndCall(nextManager, "");
        registry.upgradeToAndCall(nextRegistry, "");
        vm.assertTrue(manager.isCompliant(user));
    }

    function test_an_upgrade_to_something_else_is_refused() public {
        vm.startPrank(upgrader);
        vm.expectRevert();
        escrow.upgradeToAndCall(address(dai), "");
        vm.expectRevert();
        escrow.upgradeToAndCall(stranger, "");
    }

    // ---------------------------------------------------------------- initialization

    function _params() private view returns (IMintEscrow.InitParams memory params) {
        params.admin = admin;
        params.upgrader = upgrader;
        params.pauser = pauser;
        params.unpauser = unpauser;
        params.executors = new address[](1);
        params.executors[0] = executor;
        params.treasury = treasury;
        params.stablecoin = address(dai);
        params.userRegistry = address(manager);
        params.countryCode = KES;
        params.minMintAmount = 1;
        params.maxMintAmount = 2;
        params.depositExpirySeconds = 1 days;
    }

    /// @dev A token whose minter is the proxy that is created right after it.
    function _tokenForNext() private returns (address) {
        address proxy = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        return address(new CountryToken("Kenya Shilling Token", "KES", proxy, admin, 0, pauser, unpauser));
    }

    function _refusedInit(address implementation, IMintEscrow.InitParams memory params, bytes4 selector)
        private
    {
        if (params.countryToken == address(0)) params.countryToken = _tokenForNext();
        bytes memory init = abi.encodeCall(escrow.initialize, (params));
        vm.expectRevert(selector);
        new ERC1967Proxy(implementation, init);
    }

    function test_initializes_once_and_only_through_a_proxy() public {
        IMintEscrow.InitParams memory params = _params();
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        escrow.initialize(params);
        MintEscrow implementation = new MintEscrow();
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        implementation.initialize(params);
    }

    function test_initialization_refuses_what_could_not_work() public {
        address implementation = address(new MintEscrow());
        IMintEscrow.InitParams memory params = _params();
        params.executors[0] = address(0);
        _refusedInit(implementation, params, Governed.InvalidRoleHolder.selector);
        params = _params();
        params.unpauser = address(0);
        _refusedInit(implementation, params, Governed.InvalidRoleHolder.selector);
        params = _params();
        params.countryToken = address(kes);
        _refusedInit(implementation, params, IMintEscrow.InvalidToken.selector);
        params = _params();
        params.countryCode = bytes32(uint256(1));
        _refusedInit(implementation, params, IMintEscrow.InvalidCountryCode.selector);
        params = _params();
        params.stablecoin = stranger;
        _refusedInit(implementation, params, IMintEscrow.InvalidToken.selector);
        params = _params();
        params.userRegistry = stranger;
        _refusedInit(implementation, params, IMintEscrow.InvalidComplianceSource.selector);
        params = _params();
        params.treasury = address(0);
        _refusedInit(implementation, params, IMintEscrow.InvalidTreasury.selector);
        params = _params();
        params.maxMintAmount = 0;
        _refusedInit(implementation, params, IMintEscrow.InvalidLimit.selector);
    }
}

contract MintEscrowNext is MintEscrow {
    function version() external pure override returns (string memory) {
        return "next";
    }
}
