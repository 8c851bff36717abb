// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {HostileSource} from "./mocks/HostileSource.sol";
import {HostileToken} from "./mocks/HostileToken.sol";
import {vm} from "./utils/Test.sol";

/// @dev One item of five burns all gas it gets. The other four are done, in a transaction that has gas for
/// four ordinary items and one whole allowance, and the batch reports the outcome of the fifth.
contract EscrowStarvingTest is EscrowFixture {
    uint256 private constant BURNER = 2;

    HostileToken private coin;
    HostileSource private source;
    address private burner = _account("burner");

    function setUp() public override {
        super.setUp();
        coin = new HostileToken();
        source = new HostileSource();
        coin.mint(treasury, 1e28);
        coin.mint(burner, 1e28);
        vm.prank(upgrader);
        escrow.setStablecoin(address(coin));
        vm.prank(admin);
        escrow.setUserRegistry(address(source));
        coin.setAffected(burner);
        source.setAffected(burner);
    }

    /// @dev Five items, each for another user; the third belongs to the burner, as user or as depositor.
    function _items(bool asDepositor) private returns (IMintEscrow.SubmitItem[] memory items) {
        if (asDepositor) {
            vm.startPrank(admin);
            escrow.setTreasury(burner);
            escrow.setTreasury(treasury);
            vm.stopPrank();
        }
        items = new IMintEscrow.SubmitItem[](5);
        for (uint256 i = 0; i < 5; ++i) {
            IMintEscrow.SubmitItem memory item = _item(address(uint160(0xA11CE + i)), AMOUNT, _ref(i));
            if (i == BURNER && asDepositor) item.depositor = burner;
            if (i == BURNER && !asDepositor) item.user = burner;
            item.expectedId = escrow.computeIntentId(item.depositor, item.user, AMOUNT, KES, item.txRef);
            items[i] = item;
        }
    }

    function _submitted(bool asDepositor) private returns (bytes32[] memory ids) {
        IMintEscrow.SubmitItem[] memory items = _items(asDepositor);
        vm.prank(executor);
        escrow.submitIntents(items);
        ids = new bytes32[](5);
        for (uint256 i = 0; i < 5; ++i) {
            ids[i] = items[i].expectedId;
            _expectStatus(ids[i], IMintEscrow.IntentStatus.Pending);
        }
    }

    /// @dev Returns the gas for four items at `ordinary` each, one that takes all of `allowance`, and what
    /// must be left for the last item to begin.
    function _budget(uint256 allowance, uint256 ordinary) private pure returns (uint256) {
        return 60_000 + 4 * ordinary + 2 * allowance + allowance / 63;
    }

    function _othersDone(IMintEscrow.ItemOutcome[] memory outcomes) private pure {
        for (uint256 i = 0; i < 5; ++i) {
            if (i != BURNER) _expectOutcome(outcomes[i], IMintEscrow.ItemOutcome.Done);
        }
    }

    function _expectSkipped(bytes32 id, IMintEscrow.Command command) private {
        // Which failure it is depends on where the gas ends; that it is reported under its id does not.
        vm.expectEmit(true, true, false, false, address(escrow));
        emit IMintEscrow.ItemSkipped(id, command, IMintEscrow.ItemOutcome.OutOfGas, "");
    }

    function test_a_source_that_burns_gas_for_one_user_stops_only_that_user() public {
        bytes32[] memory ids = _submitted(false);
        HostileSource.Mode[3] memory modes =
            [HostileSource.Mode.BurnsGas, HostileSource.Mode.RevertsHuge, HostileSource.Mode.ReturnsHuge];
        source.setMode(modes[0]);
        uint256 budget = _budget(escrow.EXECUTE_ITEM_GAS(), 90_000);
        _expectSkipped(ids[BURNER], IMintEscrow.Command.Execute);
        vm.prank(executor);
        IMintEscrow.ItemOutcome[] memory outcomes = escrow.executeMints{gas: budget}(ids);
        _othersDone(outcomes);
        _expectOutcome(outcomes[BURNER], IMintEscrow.ItemOutcome.CompliancePaused);
        for (uint256 i = 1; i < 3; ++i) {
            source.setMode(modes[i]);
            _expectOutcome(_execute(ids[BURNER]), IMintEscrow.ItemOutcome.CompliancePaused);
        }
        _expectStatus(ids[BURNER], IMintEscrow.IntentStatus.Pending);
        source.setMode(HostileSource.Mode.Yes);
        _expectOutcome(_execute(ids[BURNER]), IMintEscrow.ItemOutcome.Done);
    }

    function test_a_country_token_that_burns_gas_for_one_user_stops_only_that_user() public {
        bytes32[] memory ids = _submitted(false);
        source.setMode(HostileSource.Mode.Yes);
        vm.etch(address(kes), address(new GasBurningToken(burner)).code);
        uint256 budget = _budget(escrow.EXECUTE_ITEM_GAS(), 90_000);
        _expectSkipped(ids[BURNER], IMintEscrow.Command.Execute);
        vm.prank(executor);
        IMintEscrow.ItemOutcome[] memory outcomes = escrow.executeMints{gas: budget}(ids);
        _othersDone(outcomes);
        vm.assertTrue(outcomes[BURNER] != IMintEscrow.ItemOutcome.Done);
        _expectStatus(ids[BURNER], IMintEscrow.IntentStatus.Pending);
    }

    function test_a_coin_that_burns_gas_for_one_depositor_stops_only_that_deposit() public {
        HostileToken.Mode[2] memory modes = [HostileToken.Mode.BurnsGas, HostileToken.Mode.RevertsHuge];
        IMintEscrow.SubmitItem[] memory items = _items(true);
        coin.setMode(modes[0]);
        uint256 budget = _budget(escrow.SUBMIT_ITEM_GAS(), 160_000);
        _expectSkipped(items[BURNER].expectedId, IMintEscrow.Command.Submit);
        vm.prank(executor);
        IMintEscrow.ItemOutcome[] memory outcomes = escrow.submitIntents{gas: budget}(items);
        _othersDone(outcomes);
        vm.assertTrue(outcomes[BURNER] != IMintEscrow.ItemOutcome.Done);
        coin.setMode(modes[1]);
        _expectOutcome(_submit(items[BURNER]), IMintEscrow.ItemOutcome.TransferFailed);
        vm.assertEq(escrow.pendingTotal(), 4 * AMOUNT);
        vm.assertEq(coin.balanceOf(address(escrow)), 4 * AMOUNT);
    }

    function test_a_recipient_that_burns_gas_gets_a_credit_and_the_others_their_money() public {
        bytes32[] memory ids = _submitted(true);
        uint256 before = coin.balanceOf(treasury);
        coin.setMode(HostileToken.Mode.BurnsGas);
        uint256 budget = _budget(escrow.REFUND_ITEM_GAS(), 90_000);
        vm.prank(executor);
        IMintEscrow.ItemOutcome[] memory outcomes = escrow.refundIntents{gas: budget}(ids, "declined");
        _othersDone(outcomes);
        _expectOutcome(outcomes[BURNER], IMintEscrow.ItemOutcome.Done);
        vm.assertEq(coin.balanceOf(treasury), before + 4 * AMOUNT);
        vm.assertEq(escrow.creditOf(burner), AMOUNT);
        coin.setMode(HostileToken.Mode.Honest);
        vm.prank(burner);
        escrow.withdraw();
    }

    /// @dev An item is not begun when, after it took its whole allowance, the others could not be reported.
    function test_gas_to_report_the_rest_is_kept_back() public {
        bytes32[] memory ids = new bytes32[](41);
        ids[0] = _submitted(false)[BURNER];
        source.setMode(HostileSource.Mode.BurnsGas);
        for (uint256 gasLimit = 320_000; gasLimit < 640_000; gasLimit += 20_000) {
            vm.prank(executor);
            IMintEscrow.ItemOutcome[] memory outcomes = escrow.executeMints{gas: gasLimit}(ids);
            vm.assertTrue(outcomes[0] != IMintEscrow.ItemOutcome.Done);
        }
    }

    /// @dev The callee pays for making a huge answer, and the escrow does not pay for copying it.
    function test_huge_answers_are_not_copied() public {
        bytes32[] memory ids = _submitted(true);
        coin.setMode(HostileToken.Mode.RevertsHuge);
        vm.prank(executor);
        uint256 before = gasleft();
        escrow.refundIntents(_ids(ids[BURNER]), "declined");
        uint256 failing = before - gasleft();
        // Making 100,000 bytes costs 28,460; copying them would cost as much again and 9,375 more.
        vm.assertLt(failing, 28_460 + 62_000, "gas of a push with a huge answer");
    }
}

/// @dev A country token that has an endless loop for one user.
contract GasBurningToken {
    address private immutable BURNER;
    mapping(address account => uint256) public balanceOf;

    constructor(address burner) {
        BURNER = burner;
    }

    function mint(address to, uint256 amount) external {
        if (to == BURNER) while (true) {}
        balanceOf[to] += amount;
    }
}
