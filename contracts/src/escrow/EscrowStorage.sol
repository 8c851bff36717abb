// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RateLimiter} from "@openzeppelin/contracts/utils/RateLimiter.sol";
import {IMintEscrow} from "../interfaces/IMintEscrow.sol";

/// @title What the escrow remembers, and the views over it.
abstract contract EscrowStorage is IMintEscrow {
    using RateLimiter for RateLimiter.RefillingBucket;

    /// @dev Two slots; the third of an intent is its claim. Exists exactly when `depositedAt` is not zero.
    /// The country is not stored, since an escrow serves one for its whole life.
    struct Deposit {
        address depositor;
        IntentStatus status;
        uint40 depositedAt;
        uint40 expiresAt;
        bytes32 txRef;
    }

    /// @dev What a depositor's reference was used for; written once, so it also marks the reference as used
    /// (`user` is not zero). Amounts fit: maxMintAmount is kept below 2^96.
    struct Claim {
        address user;
        uint96 amount;
    }

    /// @dev Deposits of one user in one UTC day.
    struct DailyUse {
        uint64 day;
        uint128 amount;
    }

    /// @dev ERC-7201: where the storage of this namespace begins.
    bytes32 private constant STORAGE_SLOT = keccak256(
        abi.encode(uint256(keccak256("fiatrails.storage.MintEscrow")) - 1)
    ) & ~bytes32(uint256(0xff));

    /// @custom:storage-location erc7201:fiatrails.storage.MintEscrow
    struct EscrowState {
        address stablecoin;
        uint96 minMintAmount;
        address countryToken;
        uint96 maxMintAmount;
        address userRegistry;
        uint40 depositExpirySeconds;
        address treasury;
        bytes32 countryCode;
        uint128 pendingTotal;
        uint128 creditedTotal;
        uint128 dailyLimitPerUser;
        RateLimiter.RefillingBucket executorMints;
        mapping(bytes32 intentId => Deposit) deposits;
        mapping(address depositor => mapping(bytes32 txRef => Claim)) claims;
        mapping(address user => DailyUse) dailyUse;
        mapping(address depositor => uint256) credits;
        mapping(address depositor => bool) allowedDepositors;
    }

    function _state() internal pure returns (EscrowState storage $) {
        bytes32 slot = STORAGE_SLOT;
        assembly {
            $.slot := slot
        }
    }

    /// @dev The record of an id, or IntentNotFound.
    function _deposit(bytes32 intentId) internal view returns (Deposit storage deposit) {
        deposit = _state().deposits[intentId];
        if (deposit.depositedAt == 0) revert IntentNotFound();
    }

    /// @dev Who is to be paid how much for a deposit that exists.
    function _claim(Deposit storage deposit) internal view returns (Claim memory) {
        return _state().claims[deposit.depositor][deposit.txRef];
    }

    /// @inheritdoc IMintEscrow
    function computeIntentId(
        address depositor,
        address user,
        uint256 amount,
        bytes32 countryCode_,
        bytes32 txRef
    ) public view returns (bytes32) {
        return keccak256(
            abi.encode(block.chainid, address(this), depositor, user, amount, countryCode_, txRef)
        );
    }

    /// @inheritdoc IMintEscrow
    function getIntent(bytes32 intentId) external view returns (Intent memory) {
        return _toIntent(_deposit(intentId));
    }

    /// @inheritdoc IMintEscrow
    function getIntents(bytes32[] calldata intentIds) external view returns (Intent[] memory intents) {
        intents = new Intent[](intentIds.length);
        for (uint256 i = 0; i < intentIds.length; ++i) {
            Deposit storage deposit = _state().deposits[intentIds[i]];
            if (deposit.depositedAt != 0) intents[i] = _toIntent(deposit);
        }
    }

    /// @inheritdoc IMintEscrow
    function getIntentStatus(bytes32 intentId) external view returns (IntentStatus) {
        return _deposit(intentId).status;
    }

    /// @inheritdoc IMintEscrow
    function isPending(bytes32 intentId) external view returns (bool) {
        return _deposit(intentId).status == IntentStatus.Pending;
    }

    /// @inheritdoc IMintEscrow
    function intentIdOf(address depositor, bytes32 txRef) external view returns (bytes32) {
        EscrowState storage $ = _state();
        Claim memory claim = $.claims[depositor][txRef];
        if (claim.user == address(0)) return 0;
        return computeIntentId(depositor, claim.user, claim.amount, $.countryCode, txRef);
    }

    /// @inheritdoc IMintEscrow
    function treasury() external view returns (address) {
        return _state().treasury;
    }

    /// @inheritdoc IMintEscrow
    function isAllowedDepositor(address depositor) external view returns (bool) {
        return _state().allowedDepositors[depositor];
    }

    /// @inheritdoc IMintEscrow
    function stablecoin() external view returns (address) {
        return _state().stablecoin;
    }

    /// @inheritdoc IMintEscrow
    function countryToken() external view returns (address) {
        return _state().countryToken;
    }

    /// @inheritdoc IMintEscrow
    function userRegistry() external view returns (address) {
        return _state().userRegistry;
    }

    /// @inheritdoc IMintEscrow
    function countryCode() external view returns (bytes32) {
        return _state().countryCode;
    }

    /// @inheritdoc IMintEscrow
    function pendingTotal() external view returns (uint256) {
        return _state().pendingTotal;
    }

    /// @inheritdoc IMintEscrow
    function creditedTotal() external view returns (uint256) {
        return _state().creditedTotal;
    }

    /// @inheritdoc IMintEscrow
    function creditOf(address depositor) external view returns (uint256) {
        return _state().credits[depositor];
    }

    /// @inheritdoc IMintEscrow
    function minMintAmount() external view returns (uint256) {
        return _state().minMintAmount;
    }

    /// @inheritdoc IMintEscrow
    function maxMintAmount() external view returns (uint256) {
        return _state().maxMintAmount;
    }

    /// @inheritdoc IMintEscrow
    function dailyLimitPerUser() external view returns (uint256) {
        return _state().dailyLimitPerUser;
    }

    /// @inheritdoc IMintEscrow
    function dailyDeposited(address user) external view returns (uint256) {
        DailyUse storage use = _state().dailyUse[user];
        return use.day == block.timestamp / 1 days ? use.amount : 0;
    }

    /// @inheritdoc IMintEscrow
    function executorMintPerHour() external view returns (uint256) {
        return _state().executorMints._capacity;
    }

    /// @inheritdoc IMintEscrow
    function executorMintAvailable(address executor) external view returns (uint256) {
        return _state().executorMints.available(_bucketKey(executor));
    }

    /// @inheritdoc IMintEscrow
    function depositExpirySeconds() external view returns (uint256) {
        return _state().depositExpirySeconds;
    }

    function _bucketKey(address executor) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(executor)));
    }

    function _toIntent(Deposit storage deposit) private view returns (Intent memory) {
        Claim memory claim = _claim(deposit);
        return Intent({
            user: claim.user,
            depositor: deposit.depositor,
            amount: claim.amount,
            countryCode: _state().countryCode,
            txRef: deposit.txRef,
            status: deposit.status,
            depositedAt: deposit.depositedAt,
            expiresAt: deposit.expiresAt
        });
    }
}
