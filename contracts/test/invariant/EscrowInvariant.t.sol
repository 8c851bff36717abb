// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {vm} from "../utils/Test.sol";
import {Book} from "./Book.sol";
import {Campaign} from "./Campaign.sol";

/// @dev What holds after every action of any sequence. Two kinds of books are kept because each misses what
/// the other sees: sums do not notice one intent paid twice and another never, single records do not notice
/// a total that drifts.
contract EscrowInvariantTest is Campaign {
    /// @dev Actions a run goes on for at most until every kind of action has succeeded in it.
    uint256 private constant ENCORE = 3000;

    function setUp() public override {
        super.setUp();
        address last;
        for (uint256 i = 0; i < actions.length; ++i) {
            if (actions[i].handler != last) _target(actions[i].handler);
            last = actions[i].handler;
        }
    }

    /// @dev One function: forge would run the same sequences once more for each further one. Ids that no
    /// action touched are looked at when the run closes.
    function invariant_the_books_and_the_escrow_agree() public view {
        _totals();
        _check(book.touched());
    }

    /// @dev Closes a run: every id is looked at, and no kind of action may have been without effect. Kinds
    /// that had no luck in the fuzzed part get more turns, so a handler that cannot succeed fails the run.
    function afterInvariant() public {
        _report();
        uint256 missing = actions.length;
        for (uint256 step = 0; step < ENCORE && missing != 0; ++step) {
            _step(uint256(keccak256(abi.encode("encore", step))));
            missing = 0;
            for (uint256 i = 0; i < actions.length; ++i) {
                if (book.succeeded(actions[i].name) == 0) ++missing;
            }
        }
        vm.assertEq(missing, 0, "an action never succeeded");
        _totals();
        _checkAll();
    }

    function _totals() private view {
        _mintedIsBackedAndNothingIsLost();
        _theSupplyIsWhatWasExecuted();
        _eachCoinHeldIsAccountedFor();
    }

    function _mintedIsBackedAndNothingIsLost() private view {
        vm.assertLe(book.minted(), book.deposited() - book.returned(), "minted is backed");
        vm.assertEq(book.deposited(), book.minted() + book.returned() + book.pending(), "nothing lost");
        vm.assertEq(escrow.pendingTotal(), book.pending(), "pending total");
        vm.assertEq(escrow.creditedTotal(), book.credits(), "credited total");
    }

    function _theSupplyIsWhatWasExecuted() private view {
        vm.assertEq(kes.totalSupply(), index.executedTotal(), "supply is the sum of MintExecuted");
        vm.assertEq(kes.totalSupply(), book.minted(), "supply is what the book minted");
    }

    function _eachCoinHeldIsAccountedFor() private view {
        address present = escrow.stablecoin();
        for (uint256 i = 0; i < 2; ++i) {
            address coin = address(world.coins[i]);
            uint256 owed = coin == present ? escrow.pendingTotal() + escrow.creditedTotal() : 0;
            uint256 held = world.coins[i].balanceOf(address(escrow));
            vm.assertGe(held, owed, "never less than owed");
            vm.assertEq(held, owed + book.settledIn(coin), "owed plus settled backing not swept");
        }
        vm.assertEq(escrow.sweepable(), book.settledIn(present), "sweepable");
    }

    function _checkAll() private view {
        bytes32[] memory all = new bytes32[](book.count());
        uint256 pending;
        for (uint256 i = 0; i < all.length; ++i) {
            all[i] = book.ids(i);
            if (escrow.isPending(all[i])) pending += book.entryOf(all[i]).amount;
        }
        _check(all);
        vm.assertEq(escrow.pendingTotal(), pending, "pending total is the sum over ids");
    }

    function _check(bytes32[] memory ids) private view {
        IMintEscrow.Intent[] memory intents = escrow.getIntents(ids);
        for (uint256 i = 0; i < ids.length; ++i) {
            Book.Entry memory entry = book.entryOf(ids[i]);
            IMintEscrow.Intent memory intent = intents[i];
            vm.assertEq(intent.user, entry.user);
            vm.assertEq(intent.depositor, entry.depositor);
            vm.assertEq(intent.amount, entry.amount);
            vm.assertEq(intent.expiresAt, entry.expiresAt);
            vm.assertEq(escrow.intentIdOf(intent.depositor, intent.txRef), ids[i]);
            vm.assertLe(entry.mints + entry.returns_, 1, "paid once");
            vm.assertEq(entry.mints, intent.status == IMintEscrow.IntentStatus.Executed ? 1 : 0, "mints");
            vm.assertEq(entry.returns_, intent.status == IMintEscrow.IntentStatus.Refunded ? 1 : 0, "returns");
        }
    }

    /// @dev One line per action, before the encore, for tools/invariants.
    function _report() private {
        string memory file = vm.envOr("INVARIANT_REPORT", "");
        if (bytes(file).length == 0) return;
        for (uint256 i = 0; i < actions.length; ++i) {
            bytes32 name = actions[i].name;
            string memory line = string(
                abi.encodePacked(
                    _text(name), " ", vm.toString(book.tried(name)), " ", vm.toString(book.succeeded(name))
                )
            );
            vm.writeLine(file, line);
        }
    }
}
