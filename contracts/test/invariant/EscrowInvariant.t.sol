// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {vm} from "../utils/Test.sol";
import {ReferenceModel} from "./ReferenceModel.sol";
import {Campaign} from "./Campaign.sol";

/// @dev Checks what must hold after every action of any sequence. The model keeps totals and one record per
/// intent, because each misses what the other sees: totals do not notice one intent paid twice and another
/// never, and records do not notice a total that drifts.
contract EscrowInvariantTest is Campaign {
    /// @dev A run adds at most so many actions until every kind of action has succeeded in it.
    uint256 private constant MAX_EXTRA_STEPS = 3000;

    function setUp() public override {
        super.setUp();
        address last;
        for (uint256 i = 0; i < actions.length; ++i) {
            if (actions[i].handler != last) _target(actions[i].handler);
            last = actions[i].handler;
        }
    }

    /// @dev There is one invariant function, since forge would run the same sequences again for each further
    /// one. Ids that no action changed are checked when the run ends.
    function invariant_the_model_and_the_escrow_agree() public view {
        _totals();
        _check(model.changedIds());
    }

    /// @dev Ends a run: every id is checked, and every kind of action must have succeeded once. Kinds that
    /// never did in the fuzzed part are tried again, so a handler that cannot succeed fails the run.
    function afterInvariant() public {
        _report();
        uint256 missing = actions.length;
        for (uint256 step = 0; step < MAX_EXTRA_STEPS && missing != 0; ++step) {
            _step(uint256(keccak256(abi.encode("extra", step))));
            missing = 0;
            for (uint256 i = 0; i < actions.length; ++i) {
                if (model.succeeded(actions[i].name) == 0) ++missing;
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
        vm.assertLe(model.minted(), model.deposited() - model.refunded(), "minted is backed");
        vm.assertEq(model.deposited(), model.minted() + model.refunded() + model.pending(), "nothing lost");
        vm.assertEq(escrow.pendingTotal(), model.pending(), "pending total");
        vm.assertEq(escrow.creditedTotal(), model.credits(), "credited total");
    }

    function _theSupplyIsWhatWasExecuted() private view {
        vm.assertEq(kes.totalSupply(), indexer.executedTotal(), "supply is the sum of MintExecuted");
        vm.assertEq(kes.totalSupply(), model.minted(), "supply is what the model minted");
    }

    function _eachCoinHeldIsAccountedFor() private view {
        address present = escrow.stablecoin();
        for (uint256 i = 0; i < 2; ++i) {
            address coin = address(sut.coins[i]);
            uint256 owed = coin == present ? escrow.pendingTotal() + escrow.creditedTotal() : 0;
            uint256 held = sut.coins[i].balanceOf(address(escrow));
            vm.assertGe(held, owed, "never less than owed");
            vm.assertEq(held, owed + model.settledIn(coin), "owed plus settled backing not swept");
        }
        vm.assertEq(escrow.sweepable(), model.settledIn(present), "sweepable");
    }

    function _checkAll() private view {
        bytes32[] memory all = new bytes32[](model.count());
        uint256 pending;
        for (uint256 i = 0; i < all.length; ++i) {
            all[i] = model.ids(i);
            if (escrow.isPending(all[i])) pending += model.entryOf(all[i]).amount;
        }
        _check(all);
        vm.assertEq(escrow.pendingTotal(), pending, "pending total is the sum over ids");
    }

    function _check(bytes32[] memory ids) private view {
        IMintEscrow.Intent[] memory intents = escrow.getIntents(ids);
        for (uint256 i = 0; i < ids.length; ++i) {
            ReferenceModel.Entry memory entry = model.entryOf(ids[i]);
            IMintEscrow.Intent memory intent = intents[i];
            vm.assertEq(intent.user, entry.user);
            vm.assertEq(intent.depositor, entry.depositor);
            vm.assertEq(intent.amount, entry.amount);
            vm.assertEq(intent.expiresAt, entry.expiresAt);
            vm.assertEq(escrow.intentIdOf(intent.depositor, intent.txRef), ids[i]);
            vm.assertLe(entry.mints + entry.refunds, 1, "paid once");
            vm.assertEq(entry.mints, intent.status == IMintEscrow.IntentStatus.Executed ? 1 : 0, "mints");
            vm.assertEq(entry.refunds, intent.status == IMintEscrow.IntentStatus.Refunded ? 1 : 0, "refunds");
        }
    }

    /// @dev Writes one line per action, before the extra steps, for tools/invariants.
    function _report() private {
        string memory file = vm.envOr("INVARIANT_REPORT", "");
        if (bytes(file).length == 0) return;
        for (uint256 i = 0; i < actions.length; ++i) {
            bytes32 name = actions[i].name;
            string memory line = string(
                abi.encodePacked(
                    _text(name), " ", vm.toString(model.tried(name)), " ", vm.toString(model.succeeded(name))
                )
            );
            vm.writeLine(file, line);
        }
    }
}
