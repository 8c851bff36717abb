// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ComplianceManager} from "../src/ComplianceManager.sol";
import {CountryToken} from "../src/CountryToken.sol";
import {MintEscrow} from "../src/MintEscrow.sol";
import {IMintEscrow} from "../src/interfaces/IMintEscrow.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {HostileToken} from "./mocks/HostileToken.sol";
import {vm} from "./utils/Test.sol";

/// @dev Does anything anyone may do, in any order, and keeps its own books per intent.
contract EscrowHandler {
    MintEscrow private immutable ESCROW;
    CountryToken private immutable KES;
    HostileToken private immutable COIN;
    address private immutable EXECUTOR;
    address private immutable ADMIN;
    address private immutable OFFICER;
    ComplianceManager private immutable MANAGER;
    address private immutable TREASURY;

    bytes32[] public ids;
    mapping(bytes32 id => uint256) public amountOf;
    mapping(bytes32 id => uint256) public mints;
    mapping(bytes32 id => uint256) public returns_;
    uint256 public deposited;
    uint256 public minted;
    uint256 public returned;

    constructor(
        MintEscrow escrow,
        CountryToken kes,
        HostileToken coin,
        ComplianceManager manager,
        address[4] memory accounts
    ) {
        (ESCROW, KES, COIN, MANAGER) = (escrow, kes, coin, manager);
        (EXECUTOR, ADMIN, OFFICER, TREASURY) = (accounts[0], accounts[1], accounts[2], accounts[3]);
    }

    function count() external view returns (uint256) {
        return ids.length;
    }

    function submit(uint8 who, uint96 amount, uint8 number) external {
        amount = uint96(1e18 + amount % 999e18);
        address user = address(uint160(0xA11CE + who % 4));
        bytes32 ref = bytes32(abi.encodePacked("R", bytes1(65 + number % 50)));
        bytes32 id = ESCROW.computeIntentId(TREASURY, user, amount, "KES", ref);
        IMintEscrow.SubmitItem[] memory items = new IMintEscrow.SubmitItem[](1);
        items[0] = IMintEscrow.SubmitItem(id, TREASURY, user, amount, "KES", ref);
        vm.prank(EXECUTOR);
        if (ESCROW.submitIntents(items)[0] != IMintEscrow.ItemOutcome.Done) return;
        ids.push(id);
        amountOf[id] = amount;
        deposited += amount;
    }

    /// @dev Two picks, which may be one id twice.
    function execute(uint256 first, uint256 second) external {
        bytes32[] memory batch = _pick(first, second);
        vm.prank(EXECUTOR);
        IMintEscrow.ItemOutcome[] memory outcomes = ESCROW.executeMints(batch);
        for (uint256 i = 0; i < batch.length; ++i) {
            if (outcomes[i] != IMintEscrow.ItemOutcome.Done) continue;
            ++mints[batch[i]];
            minted += amountOf[batch[i]];
        }
    }

    function refund(uint256 first, uint256 second, bool pushFails) external {
        bytes32[] memory batch = _pick(first, second);
        if (pushFails) COIN.setMode(HostileToken.Mode.Reverts);
        vm.prank(EXECUTOR);
        IMintEscrow.ItemOutcome[] memory outcomes = ESCROW.refundIntents(batch, "declined");
        COIN.setMode(HostileToken.Mode.Honest);
        for (uint256 i = 0; i < batch.length; ++i) {
            if (outcomes[i] == IMintEscrow.ItemOutcome.Done) _returned(batch[i]);
        }
    }

    function reclaim(uint256 which, bool pushFails) external {
        bytes32[] memory batch = _pick(which, which);
        if (pushFails) COIN.setMode(HostileToken.Mode.Reverts);
        for (uint256 i = 0; i < batch.length && i < 1; ++i) {
            try ESCROW.reclaim(batch[i]) {
                _returned(batch[i]);
            } catch {}
        }
        COIN.setMode(HostileToken.Mode.Honest);
    }

    function withdraw() external {
        vm.prank(TREASURY);
        try ESCROW.withdraw() {} catch {}
    }

    function sweep(uint96 amount) external {
        vm.prank(ADMIN);
        try ESCROW.sweepSettled(amount) {} catch {}
    }

    function judge(uint8 who, bool compliant) external {
        vm.prank(OFFICER);
        MANAGER.setUserCompliance(address(uint160(0xA11CE + who % 4)), compliant ? 1 : 100, "A", true);
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + time % 300_000);
    }

    function _returned(bytes32 id) private {
        ++returns_[id];
        returned += amountOf[id];
    }

    function _pick(uint256 first, uint256 second) private view returns (bytes32[] memory batch) {
        if (ids.length == 0) return batch;
        batch = new bytes32[](2);
        batch[0] = ids[first % ids.length];
        batch[1] = ids[second % ids.length];
    }
}

contract EscrowInvariantTest is EscrowFixture {
    HostileToken private coin;
    EscrowHandler private handler;

    function setUp() public override {
        super.setUp();
        coin = new HostileToken();
        coin.mint(treasury, 1e28);
        vm.prank(admin);
        escrow.setStablecoin(address(coin));
        for (uint256 i = 0; i < 4; ++i) {
            _makeCompliant(address(uint160(0xA11CE + i)));
        }
        handler = new EscrowHandler(escrow, kes, coin, manager, [executor, admin, officer, treasury]);
        _target(address(handler));
    }

    function invariant_each_intent_pays_once_and_its_status_tells_how() public view {
        uint256 pending;
        for (uint256 i = 0; i < handler.count(); ++i) {
            bytes32 id = handler.ids(i);
            IMintEscrow.Intent memory intent = escrow.getIntent(id);
            vm.assertEq(intent.amount, handler.amountOf(id));
            uint256 mints = handler.mints(id);
            uint256 returned = handler.returns_(id);
            vm.assertLe(mints + returned, 1, "paid once");
            vm.assertEq(mints, intent.status == IMintEscrow.IntentStatus.Executed ? 1 : 0);
            vm.assertEq(returned, intent.status == IMintEscrow.IntentStatus.Refunded ? 1 : 0);
            if (intent.status == IMintEscrow.IntentStatus.Pending) pending += intent.amount;
        }
        vm.assertEq(escrow.pendingTotal(), pending);
    }

    function invariant_money_is_conserved() public view {
        vm.assertEq(kes.totalSupply(), handler.minted());
        vm.assertLe(handler.minted(), handler.deposited() - handler.returned(), "minted is backed");
        vm.assertEq(
            handler.deposited(), handler.minted() + handler.returned() + escrow.pendingTotal(), "nothing lost"
        );
        vm.assertGe(
            coin.balanceOf(address(escrow)), escrow.pendingTotal() + escrow.creditedTotal(), "owed is held"
        );
        vm.assertEq(escrow.creditedTotal(), escrow.creditOf(treasury));
    }
}
