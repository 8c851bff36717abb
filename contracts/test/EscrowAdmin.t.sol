// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {CountryToken} from "../src/CountryToken.sol";
import {MintEscrow} from "../src/MintEscrow.sol";
import {USDStablecoin} from "../src/USDStablecoin.sol";
import {Governed} from "../src/base/Governed.sol";
import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
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
        _expectSolvent();
    }

    function test_the_stablecoin_cannot_change_under_deposits_or_credits() public {
        HostileToken coin = new HostileToken();
        bytes32 id = _deposited(REF);
        vm.prank(upgrader);
        vm.expectRevert(IMintEscrow.DepositsOutstanding.selector);
        escrow.setStablecoin(address(coin));
        _refund(id);
        vm.prank(upgrader);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.StablecoinChanged(address(dai), address(coin));
        escrow.setStablecoin(address(coin));

        coin.mint(treasury, AMOUNT);
        id = _deposited("CREDIT");
        coin.setMode(HostileToken.Mode.Reverts);
        _refund(id);
        vm.assertEq(escrow.pendingTotal(), 0);
        vm.prank(upgrader);
        vm.expectRevert(IMintEscrow.DepositsOutstanding.selector);
        escrow.setStablecoin(address(dai));
    }

    function test_a_stablecoin_has_code_and_18_decimals_and_is_not_the_country_token() public {
        HostileToken coin = new HostileToken();
        coin.setDecimals(6);
        vm.startPrank(upgrader);
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
        vm.stopPrank();
        vm.prank(upgrader);
        escrow.setStablecoin(address(next));
        vm.startPrank(admin);
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
        _expectOutcome(_execute(_deposited(REF)), IMintEscrow.ItemOutcome.Done);
    }

    function test_a_former_treasury_pays_until_revoked_and_is_refunded_after() public {
        address next = _account("next treasury");
        bytes32 id = _deposited(REF);
        vm.prank(admin);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.TreasuryChanged(treasury, next);
        escrow.setTreasury(next);
        vm.assertEq(escrow.treasury(), next);
        _expectOutcome(_submit(_item(user, AMOUNT, "STILL")), IMintEscrow.ItemOutcome.Done);

        vm.startPrank(admin);
        vm.expectRevert(IMintEscrow.InvalidTreasury.selector);
        escrow.revokeTreasury(next);
        vm.expectRevert(IMintEscrow.InvalidTreasury.selector);
        escrow.revokeTreasury(stranger);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.TreasuryRevoked(treasury);
        escrow.revokeTreasury(treasury);
        vm.stopPrank();
        _expectOutcome(_submit(_item(user, AMOUNT, "ENDED")), IMintEscrow.ItemOutcome.DepositorNotAllowed);
        uint256 before = dai.balanceOf(treasury);
        _expectOutcome(_refund(id), IMintEscrow.ItemOutcome.Done);
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
