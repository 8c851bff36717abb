// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";
import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {vm} from "./utils/Test.sol";

contract EscrowSubmitTest is EscrowFixture {
    function setUp() public override {
        super.setUp();
        dai.mint(user, 1e24);
        vm.prank(user);
        dai.approve(address(escrow), type(uint256).max);
    }

    function _expectUserRefused(bytes4 selector, uint256 amount, bytes32 code, bytes32 txRef) private {
        vm.prank(user);
        vm.expectRevert(selector);
        escrow.submitIntent(amount, code, txRef);
    }

    function test_intent_id_known_answer() public {
        address at = 0x5FbDB2315678afecb367f032d93F642f64180aa3;
        // The id needs nothing from storage: the same code behind any address computes that address's ids.
        vm.etch(at, address(escrow).code);
        vm.store(at, IMPLEMENTATION, vm.load(address(escrow), IMPLEMENTATION));
        bytes32 id = IMintEscrow(at)
            .computeIntentId(
                0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65,
                0x70997970C51812dc3A010C7d01b50e0d17dc79C8,
                150_000_000_000_000_000_000,
                "KES",
                "TX0000000001"
            );
        vm.assertEq(id, 0xea77772f8ee613a38310be6efdfaabab62ccddfd822ba2739a82686d36d776cb);
    }

    bytes32 private constant IMPLEMENTATION = bytes32(uint256(keccak256("eip1967.proxy.implementation")) - 1);

    function test_a_user_deposits_their_own_money() public {
        bytes32 id = escrow.computeIntentId(user, user, AMOUNT, KES, REF);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit IMintEscrow.MintIntentSubmitted(id, user, AMOUNT, KES, REF);
        vm.prank(user);
        vm.assertEq(escrow.submitIntent(AMOUNT, KES, REF), id);

        IMintEscrow.Intent memory intent = escrow.getIntent(id);
        vm.assertEq(intent.user, user);
        vm.assertEq(intent.depositor, user);
        vm.assertEq(intent.amount, AMOUNT);
        vm.assertEq(intent.countryCode, KES);
        vm.assertEq(intent.txRef, REF);
        vm.assertEq(uint256(intent.status), 0);
        vm.assertEq(intent.depositedAt, START);
        vm.assertEq(intent.expiresAt, START + EXPIRY);
        vm.assertTrue(escrow.isPending(id));
        vm.assertEq(escrow.pendingTotal(), AMOUNT);
        vm.assertEq(escrow.intentIdOf(user, REF), id);
        vm.assertEq(escrow.dailyDeposited(user), AMOUNT);
        vm.assertEq(dai.balanceOf(address(escrow)), AMOUNT);
    }

    function test_the_executor_deposits_treasury_money_for_a_user() public {
        uint256 before = dai.balanceOf(treasury);
        bytes32 id = _deposited(REF);
        vm.assertEq(escrow.getIntent(id).depositor, treasury);
        vm.assertEq(escrow.getIntent(id).user, user);
        vm.assertEq(dai.balanceOf(treasury), before - AMOUNT);
        vm.assertEq(dai.balanceOf(executor), 0);
    }

    function test_views_revert_on_unknown_ids() public {
        bytes4 unknown = IMintEscrow.IntentNotFound.selector;
        vm.expectRevert(unknown);
        escrow.getIntent(REF);
        vm.expectRevert(unknown);
        escrow.getIntentStatus(REF);
        vm.expectRevert(unknown);
        escrow.isPending(REF);
    }

    function test_many_intents_are_read_at_once() public {
        bytes32[] memory ids = new bytes32[](2);
        ids[0] = _deposited(REF);
        ids[1] = "unknown";
        IMintEscrow.Intent[] memory intents = escrow.getIntents(ids);
        vm.assertEq(intents[0].amount, AMOUNT);
        vm.assertEq(intents[1].depositedAt, 0);
        vm.assertEq(intents[1].user, address(0));
    }

    function test_single_refusals() public {
        _expectUserRefused(IMintEscrow.InvalidAmount.selector, 1e18 - 1, KES, REF);
        _expectUserRefused(IMintEscrow.InvalidAmount.selector, 1e21 + 1, KES, REF);
        _expectUserRefused(IMintEscrow.InvalidAmount.selector, type(uint256).max, KES, REF);
        _expectUserRefused(IMintEscrow.InvalidCountryCode.selector, AMOUNT, "UGX", REF);
        _expectUserRefused(IMintEscrow.InvalidCountryCode.selector, AMOUNT, bytes32(0), REF);
        vm.startPrank(user);
        escrow.submitIntent(1e18, KES, _ref(1));
        escrow.submitIntent(1e21, KES, _ref(2));
        vm.stopPrank();
        _expectUserRefused(IMintEscrow.IntentAlreadyExists.selector, 1e18, KES, _ref(1));
        _expectUserRefused(IMintEscrow.TxRefAlreadyUsed.selector, 2e18, KES, _ref(1));
    }

    function test_references_are_one_to_thirty_one_padded_bytes() public {
        bytes4 refused = IMintEscrow.InvalidTxRef.selector;
        _expectUserRefused(refused, AMOUNT, KES, bytes32(0));
        _expectUserRefused(refused, AMOUNT, KES, bytes32("\x00A"));
        _expectUserRefused(refused, AMOUNT, KES, bytes32("A\x00B"));
        _expectUserRefused(refused, AMOUNT, KES, bytes32(uint256(1)));
        _expectUserRefused(refused, AMOUNT, KES, bytes32("0123456789abcdef0123456789abcdef"));
        vm.startPrank(user);
        escrow.submitIntent(AMOUNT, KES, "A");
        escrow.submitIntent(AMOUNT, KES, "0123456789abcdef0123456789abcde");
    }

    function testFuzz_reference_check_is_the_obvious_loop(bytes32 txRef, uint8 keep, uint8 hole) public {
        if (keep % 40 < 32) txRef &= bytes32(~(type(uint256).max >> (8 * (keep % 40))));
        if (hole < 32) txRef &= bytes32(~(uint256(0xff) << (8 * hole)));
        bool valid = txRef[0] != 0 && txRef[31] == 0;
        for (uint256 i = 1; i < 32; ++i) {
            if (txRef[i] != 0 && txRef[i - 1] == 0) valid = false;
        }
        if (!valid) vm.expectRevert(IMintEscrow.InvalidTxRef.selector);
        vm.prank(user);
        escrow.submitIntent(AMOUNT, KES, txRef);
    }

    function test_nobody_can_squat_anothers_reference() public {
        vm.prank(user);
        escrow.submitIntent(AMOUNT, KES, REF);
        _deposited(REF);
    }

    function test_a_reference_stays_used_after_mint_and_refund() public {
        _execute(_deposited(_ref(1)));
        _refund(_deposited(_ref(2)));
        _expectOutcome(_submit(_item(user, 2e18, _ref(1))), IMintEscrow.ItemOutcome.TxRefAlreadyUsed);
        _expectOutcome(_submit(_item(user, 2e18, _ref(2))), IMintEscrow.ItemOutcome.TxRefAlreadyUsed);
        _expectOutcome(_submit(_item(user, AMOUNT, _ref(2))), IMintEscrow.ItemOutcome.AlreadyExists);
    }

    function test_the_daily_limit_is_charged_at_deposit_and_ends_with_the_day() public {
        for (uint256 i = 0; i < 20; ++i) {
            _expectOutcome(_submit(_item(user, 1e21, _ref(i))), IMintEscrow.ItemOutcome.Done);
        }
        vm.assertEq(escrow.dailyDeposited(user), 2e22);
        _expectOutcome(_submit(_item(user, 1e18, _ref(20))), IMintEscrow.ItemOutcome.DailyLimitExceeded);
        _expectUserRefused(IMintEscrow.DailyLimitExceeded.selector, 1e18, KES, _ref(21));
        _expectOutcome(_submit(_item(stranger, 1e18, _ref(22))), IMintEscrow.ItemOutcome.Done);

        // A refund restores nothing of the daily limit, and a mint uses nothing of it.
        _refund(escrow.intentIdOf(treasury, _ref(0)));
        _expectOutcome(_submit(_item(user, 1e18, _ref(20))), IMintEscrow.ItemOutcome.DailyLimitExceeded);
        _expectOutcome(_execute(escrow.intentIdOf(treasury, _ref(1))), IMintEscrow.ItemOutcome.Done);

        vm.warp(START + 1 days);
        vm.assertEq(escrow.dailyDeposited(user), 0);
        _expectOutcome(_submit(_item(user, 1e18, _ref(20))), IMintEscrow.ItemOutcome.Done);
        vm.assertEq(escrow.dailyDeposited(user), 1e18);
    }

    function test_a_deposit_needs_money_and_allowance() public {
        vm.prank(stranger);
        vm.expectRevert(IMintEscrow.TransferFailed.selector);
        escrow.submitIntent(AMOUNT, KES, REF);
        vm.prank(treasury);
        dai.approve(address(escrow), AMOUNT - 1);
        _expectOutcome(_submit(_item(user, AMOUNT, REF)), IMintEscrow.ItemOutcome.TransferFailed);
        vm.assertEq(escrow.pendingTotal(), 0);
        vm.assertEq(escrow.intentIdOf(treasury, REF), 0);
        vm.assertEq(escrow.dailyDeposited(user), 0);
    }

    function test_paused_no_deposit_is_taken() public {
        vm.prank(pauser);
        escrow.pause();
        vm.prank(user);
        vm.expectRevert(PausableUpgradeable.EnforcedPause.selector);
        escrow.submitIntent(AMOUNT, KES, REF);
    }

    function _withId(IMintEscrow.SubmitItem memory item)
        private
        view
        returns (IMintEscrow.SubmitItem memory)
    {
        item.expectedId = escrow.computeIntentId(
            item.depositor, item.user, item.amount, item.countryCode, item.txRef
        );
        return item;
    }

    function test_every_refusal_of_an_item_has_its_outcome() public {
        IMintEscrow.SubmitItem memory item = _item(user, AMOUNT, REF);
        item.amount += 1;
        _expectOutcome(_submit(item), IMintEscrow.ItemOutcome.IdMismatch);
        item = _item(address(0), AMOUNT, REF);
        _expectOutcome(_submit(item), IMintEscrow.ItemOutcome.InvalidUser);
        _expectOutcome(_submit(_item(address(escrow), AMOUNT, REF)), IMintEscrow.ItemOutcome.InvalidUser);
        _expectOutcome(_submit(_item(address(kes), AMOUNT, REF)), IMintEscrow.ItemOutcome.InvalidUser);
        _expectOutcome(_submit(_item(address(dai), AMOUNT, REF)), IMintEscrow.ItemOutcome.InvalidUser);
        _expectOutcome(_submit(_item(user, 1e18 - 1, REF)), IMintEscrow.ItemOutcome.InvalidAmount);
        _expectOutcome(_submit(_item(user, 1e21 + 1, REF)), IMintEscrow.ItemOutcome.InvalidAmount);
        item = _item(user, AMOUNT, REF);
        item.countryCode = "UGX";
        _expectOutcome(_submit(_withId(item)), IMintEscrow.ItemOutcome.InvalidCountryCode);
        _expectOutcome(_submit(_item(user, AMOUNT, bytes32(0))), IMintEscrow.ItemOutcome.Unknown);
        item = _item(user, AMOUNT, REF);
        item.depositor = user;
        _expectOutcome(_submit(_withId(item)), IMintEscrow.ItemOutcome.DepositorNotAllowed);
        vm.assertEq(escrow.pendingTotal(), 0);
        _deposited(REF);
        _expectOutcome(_submit(_item(user, AMOUNT, REF)), IMintEscrow.ItemOutcome.AlreadyExists);
        _expectOutcome(_submit(_item(stranger, AMOUNT, REF)), IMintEscrow.ItemOutcome.TxRefAlreadyUsed);
    }

    function testFuzz_an_id_commits_to_every_field(uint8 field, uint256 change) public view {
        vm.assume(change != 0);
        IMintEscrow.SubmitItem memory item = _item(user, AMOUNT, REF);
        uint160 small = uint160(change);
        if (field % 5 < 2 && small == 0) small = 1;
        if (field % 5 == 0) item.depositor = address(uint160(item.depositor) ^ small);
        if (field % 5 == 1) item.user = address(uint160(item.user) ^ small);
        if (field % 5 == 2) item.amount ^= change;
        if (field % 5 == 3) item.countryCode ^= bytes32(change);
        if (field % 5 == 4) item.txRef ^= bytes32(change);
        vm.assertTrue(
            escrow.computeIntentId(item.depositor, item.user, item.amount, item.countryCode, item.txRef)
                != item.expectedId
        );
    }

    function test_an_id_commits_to_chain_and_escrow() public {
        bytes32 id = _item(user, AMOUNT, REF).expectedId;
        vm.chainId(1);
        vm.assertTrue(_item(user, AMOUNT, REF).expectedId != id);
    }
}
