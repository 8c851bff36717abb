// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {Vm, vm} from "./Test.sol";

/// @dev Rebuilds the state of one escrow from nothing but logs and the block time they came in. It calls no
/// contract; the tests compare what it has with storage.
contract Indexer {
    struct IndexedIntent {
        address user;
        address depositor;
        uint256 amount;
        bytes32 countryCode;
        bytes32 txRef;
        IMintEscrow.IntentStatus status;
        uint256 depositedAt;
        uint256 expiresAt;
    }

    address private immutable ESCROW;
    address private immutable KES;

    bytes32[] public ids;
    mapping(bytes32 id => IndexedIntent) private _intents;
    /// @dev Per token and account, from its Transfer events.
    mapping(address token => mapping(address account => uint256)) public balanceOf;
    uint256 public supply;
    uint256 public executedTotal;
    uint256 public pendingTotal;
    uint256 public creditedTotal;
    mapping(address depositor => uint256) public creditOf;
    mapping(address user => mapping(uint256 day => uint256)) public depositedOn;
    mapping(bytes32 role => mapping(address account => bool)) public hasRole;
    mapping(address account => bool) public isTreasury;
    mapping(address account => bool) public paused;
    address public treasury;
    address public stablecoin;
    address public userRegistry;
    uint256 public minMintAmount;
    uint256 public maxMintAmount;
    uint256 public dailyLimit;
    uint256 public perHour;
    uint256 public expiry;
    uint256 public swept;
    uint256 public skipped;

    /// @dev The deposit whose stablecoin transfer is the next event of the coin.
    bytes32 private _unfunded;

    constructor(address escrow, address kes) {
        (ESCROW, KES) = (escrow, kes);
    }

    function intentOf(bytes32 id) external view returns (IndexedIntent memory) {
        return _intents[id];
    }

    function count() external view returns (uint256) {
        return ids.length;
    }

    function ingest(Vm.Log[] calldata logs) external {
        for (uint256 i = 0; i < logs.length; ++i) {
            Vm.Log calldata log = logs[i];
            if (log.topics.length == 0) continue;
            bytes32 kind = log.topics[0];
            if (kind == IERC20.Transfer.selector) _transfer(log);
            if (kind == Pausable.Paused.selector) paused[log.emitter] = true;
            if (kind == Pausable.Unpaused.selector) paused[log.emitter] = false;
            if (log.emitter != ESCROW) continue;
            _intent(kind, log);
            _credit(kind, log);
            _settings(kind, log);
        }
    }

    /// @dev The escrow's event does not name the depositor; the coin's own transfer, which follows it, does.
    function _transfer(Vm.Log calldata log) private {
        (address from, address to) = (_address(log.topics[1]), _address(log.topics[2]));
        uint256 amount = abi.decode(log.data, (uint256));
        if (from == address(0)) {
            if (log.emitter == KES) supply += amount;
        } else {
            balanceOf[log.emitter][from] -= amount;
        }
        balanceOf[log.emitter][to] += amount;
        if (_unfunded != 0 && log.emitter == stablecoin && to == ESCROW) {
            IndexedIntent storage intent = _intents[_unfunded];
            intent.depositor = from;
            bytes32 id = keccak256(
                abi.encode(
                    block.chainid, ESCROW, from, intent.user, intent.amount, intent.countryCode, intent.txRef
                )
            );
            vm.assertEq(id, _unfunded);
            _unfunded = 0;
        }
    }

    function _intent(bytes32 kind, Vm.Log calldata log) private {
        bytes32 id = log.topics.length > 1 ? log.topics[1] : bytes32(0);
        if (kind == IMintEscrow.MintIntentSubmitted.selector) _submitted(id, log);
        if (kind == IMintEscrow.MintExecuted.selector) {
            (uint256 amount, bytes32 txRef) = abi.decode(log.data, (uint256, bytes32));
            IndexedIntent storage intent = _settled(id, _address(log.topics[2]), amount);
            vm.assertEq(intent.txRef, txRef);
            vm.assertEq(intent.countryCode, log.topics[3]);
            intent.status = IMintEscrow.IntentStatus.Executed;
            executedTotal += amount;
        }
        if (kind == IMintEscrow.MintRefunded.selector) {
            (uint256 amount,) = abi.decode(log.data, (uint256, string));
            _settled(id, _address(log.topics[2]), amount).status = IMintEscrow.IntentStatus.Refunded;
        }
        if (kind == IMintEscrow.ItemSkipped.selector) ++skipped;
    }

    function _submitted(bytes32 id, Vm.Log calldata log) private {
        vm.assertEq(_intents[id].amount, 0, "submitted once");
        (uint256 amount, bytes32 txRef) = abi.decode(log.data, (uint256, bytes32));
        _intents[id] = IndexedIntent({
            user: _address(log.topics[2]),
            depositor: address(0),
            amount: amount,
            countryCode: log.topics[3],
            txRef: txRef,
            status: IMintEscrow.IntentStatus.Pending,
            depositedAt: block.timestamp,
            expiresAt: block.timestamp + expiry
        });
        ids.push(id);
        pendingTotal += amount;
        depositedOn[_address(log.topics[2])][block.timestamp / 1 days] += amount;
        _unfunded = id;
    }

    function _settled(bytes32 id, address user, uint256 amount)
        private
        returns (IndexedIntent storage intent)
    {
        intent = _intents[id];
        vm.assertTrue(intent.amount != 0, "settled after it was submitted");
        vm.assertEq(uint256(intent.status), 0, "settled once");
        vm.assertEq(intent.user, user);
        vm.assertEq(intent.amount, amount);
        pendingTotal -= amount;
    }

    function _credit(bytes32 kind, Vm.Log calldata log) private {
        if (kind == IMintEscrow.DepositCredited.selector) {
            uint256 amount = abi.decode(log.data, (uint256));
            creditOf[_address(log.topics[2])] += amount;
            creditedTotal += amount;
        }
        if (kind == IMintEscrow.CreditWithdrawn.selector) {
            uint256 amount = abi.decode(log.data, (uint256));
            creditOf[_address(log.topics[1])] -= amount;
            creditedTotal -= amount;
        }
        if (kind == IMintEscrow.SettledSwept.selector) swept += abi.decode(log.data, (uint256));
    }

    function _settings(bytes32 kind, Vm.Log calldata log) private {
        if (kind == IMintEscrow.TreasuryChanged.selector) {
            treasury = _address(log.topics[2]);
            isTreasury[treasury] = true;
        }
        if (kind == IMintEscrow.TreasuryRevoked.selector) isTreasury[_address(log.topics[1])] = false;
        if (kind == IMintEscrow.StablecoinChanged.selector) stablecoin = _address(log.topics[2]);
        if (kind == IMintEscrow.UserRegistryChanged.selector) userRegistry = _address(log.topics[2]);
        if (kind == IMintEscrow.MintLimitsChanged.selector) {
            (minMintAmount, maxMintAmount) = abi.decode(log.data, (uint256, uint256));
        }
        if (kind == IMintEscrow.DailyLimitChanged.selector) dailyLimit = abi.decode(log.data, (uint256));
        if (kind == IMintEscrow.ExecutorMintPerHourChanged.selector) {
            perHour = abi.decode(log.data, (uint256));
        }
        if (kind == IMintEscrow.DepositExpiryChanged.selector) expiry = abi.decode(log.data, (uint256));
        if (kind == IAccessControl.RoleGranted.selector) {
            hasRole[log.topics[1]][_address(log.topics[2])] = true;
        }
        if (kind == IAccessControl.RoleRevoked.selector) {
            hasRole[log.topics[1]][_address(log.topics[2])] = false;
        }
    }

    function _address(bytes32 topic) private pure returns (address) {
        return address(uint160(uint256(topic)));
    }
}
