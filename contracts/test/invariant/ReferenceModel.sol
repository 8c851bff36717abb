// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {vm} from "../utils/Test.sol";

/// @dev The state that the escrow should be in, kept without asking the escrow: one entry per intent, the
/// settled backing in each coin, and how often each action was tried and succeeded.
contract ReferenceModel {
    struct Entry {
        address user;
        address depositor;
        uint256 amount;
        uint256 expiresAt;
        uint256 mints;
        uint256 refunds;
    }

    struct Mint {
        uint256 at;
        uint256 amount;
    }

    bytes32[] public ids;
    mapping(bytes32 id => Entry) private _entries;
    mapping(address depositor => mapping(bytes32 txRef => bool)) public refUsed;
    bytes32[] private _pending;
    mapping(bytes32 id => uint256) private _pendingAt;
    bytes32[] private _changed;

    uint256 public deposited;
    uint256 public minted;
    uint256 public refunded;
    uint256 public pending;
    uint256 public credits;
    mapping(address depositor => uint256) public creditOf;
    /// @dev Per coin: backing of executed mints and donations, less what was swept or recovered.
    mapping(address coin => uint256) public settledIn;
    mapping(address user => mapping(uint256 day => uint256)) public depositedOn;
    mapping(address executor => Mint[]) private _mints;
    uint256 public highestAllowance;

    bytes32[] public actions;
    mapping(bytes32 action => uint256) public tried;
    mapping(bytes32 action => uint256) public succeeded;

    // ---------------------------------------------------------------- actions

    function register(bytes32[] calldata names) external {
        for (uint256 i = 0; i < names.length; ++i) {
            actions.push(names[i]);
        }
    }

    function beginAction(bytes32 action) external {
        ++tried[action];
        delete _changed;
    }

    function recordSuccess(bytes32 action) external {
        ++succeeded[action];
    }

    function actionCount() external view returns (uint256) {
        return actions.length;
    }

    // ---------------------------------------------------------------- intents

    function submit(
        bytes32 id,
        address user,
        address depositor,
        bytes32 txRef,
        uint256 amount,
        uint256 expiry,
        uint256 dailyLimit
    ) external {
        vm.assertEq(_entries[id].amount, 0, "an id is deposited once");
        vm.assertFalse(refUsed[depositor][txRef]);
        refUsed[depositor][txRef] = true;
        _entries[id] = Entry(user, depositor, amount, block.timestamp + expiry, 0, 0);
        ids.push(id);
        _pending.push(id);
        _pendingAt[id] = _pending.length;
        _changed.push(id);
        deposited += amount;
        pending += amount;
        uint256 day = block.timestamp / 1 days;
        depositedOn[user][day] += amount;
        vm.assertLe(depositedOn[user][day], dailyLimit, "daily limit");
    }

    function mint(bytes32 id, address executor, address coin) external {
        Entry storage entry = _settle(id);
        ++entry.mints;
        minted += entry.amount;
        settledIn[coin] += entry.amount;
        _mints[executor].push(Mint(block.timestamp, entry.amount));
        _checkAllowance(executor);
    }

    function refund(bytes32 id, bool asCredit) external {
        Entry storage entry = _settle(id);
        ++entry.refunds;
        refunded += entry.amount;
        if (!asCredit) return;
        credits += entry.amount;
        creditOf[entry.depositor] += entry.amount;
    }

    function withdraw(address depositor) external {
        credits -= creditOf[depositor];
        creditOf[depositor] = 0;
    }

    function addSettled(address coin, uint256 amount) external {
        settledIn[coin] += amount;
    }

    function removeSettled(address coin, uint256 amount) external {
        settledIn[coin] -= amount;
    }

    function noteAllowance(uint256 perHour) external {
        if (perHour > highestAllowance) highestAllowance = perHour;
    }

    function entryOf(bytes32 id) external view returns (Entry memory) {
        return _entries[id];
    }

    function count() external view returns (uint256) {
        return ids.length;
    }

    function pendingIds() external view returns (bytes32[] memory) {
        return _pending;
    }

    /// @dev Returns the ids that changed in the last action.
    function changedIds() external view returns (bytes32[] memory) {
        return _changed;
    }

    /// @dev Only an id that is pending in the model may be settled: no check of totals can replace this one.
    function _settle(bytes32 id) private returns (Entry storage entry) {
        entry = _entries[id];
        uint256 at = _pendingAt[id];
        vm.assertTrue(at != 0, "only a pending intent is settled");
        bytes32 last = _pending[_pending.length - 1];
        _pending[at - 1] = last;
        _pendingAt[last] = at;
        _pending.pop();
        _pendingAt[id] = 0;
        pending -= entry.amount;
        _changed.push(id);
    }

    /// @dev In no stretch of time may more be minted than one full allowance and its refill. The sum is
    /// computed in another way than the escrow's own.
    function _checkAllowance(address executor) private view {
        Mint[] storage list = _mints[executor];
        uint256 sum;
        for (uint256 i = list.length; i > 0; --i) {
            Mint memory one = list[i - 1];
            sum += one.amount;
            uint256 refill = (block.timestamp - one.at) * highestAllowance / 1 hours;
            vm.assertLe(sum, highestAllowance + refill, "executor allowance");
        }
    }
}
