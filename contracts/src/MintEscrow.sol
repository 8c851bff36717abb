// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RateLimiter} from "@openzeppelin/contracts/utils/RateLimiter.sol";
import {EscrowAdmin} from "./escrow/EscrowAdmin.sol";
import {IComplianceSource} from "./interfaces/IComplianceSource.sol";
import {ICountryToken} from "./interfaces/ICountryToken.sol";
import {IMintEscrow} from "./interfaces/IMintEscrow.sol";
import {BoundedCall} from "./lib/BoundedCall.sol";

/// @title Locks backing stablecoin per payment reference and pays each deposit out once.
/// @dev One order in every function: role, pause, lookups and checks, state, event, token call.
contract MintEscrow is EscrowAdmin {
    using BoundedCall for address;
    using BoundedCall for BoundedCall.Answer;
    using RateLimiter for RateLimiter.RefillingBucket;

    /// @notice Gas set aside for one item, cold storage and a costly stablecoin included. An item is begun
    /// only if all of it is there, so a small gas limit can never look like a failure of the item.
    uint256 public constant SUBMIT_ITEM_GAS = 300_000;
    /// @notice See SUBMIT_ITEM_GAS.
    uint256 public constant EXECUTE_ITEM_GAS = 200_000;
    /// @notice See SUBMIT_ITEM_GAS; holds a whole push and the credit after it.
    uint256 public constant REFUND_ITEM_GAS = 260_000;

    /// @dev Gas to report one item as skipped, kept back for every item not yet done.
    uint256 private constant REPORT_GAS = 5000;
    /// @dev ItemSkipped carries at most so many bytes of an item's revert data.
    uint256 private constant MAX_REVERT_DATA_BYTES = 68;
    uint256 private constant MAX_REASON_BYTES = 256;

    modifier onlySelf() {
        if (msg.sender != address(this)) revert OnlySelf();
        _;
    }

    /// @notice Runs once, through the proxy.
    function initialize(InitParams calldata params) external initializer {
        __EscrowAdmin_init(params);
    }

    // ---------------------------------------------------------------- single

    /// @inheritdoc IMintEscrow
    function submitIntent(uint256 amount, bytes32 countryCode_, bytes32 txRef)
        external
        nonReentrant
        whenNotPaused
        returns (bytes32 intentId)
    {
        intentId = computeIntentId(msg.sender, msg.sender, amount, countryCode_, txRef);
        _submit(SubmitItem(intentId, msg.sender, msg.sender, amount, countryCode_, txRef), false);
    }

    /// @inheritdoc IMintEscrow
    function executeMint(bytes32 intentId) external nonReentrant onlyRole(EXECUTOR_ROLE) whenNotPaused {
        _execute(intentId, msg.sender);
    }

    /// @inheritdoc IMintEscrow
    function refundIntent(bytes32 intentId, string calldata reason)
        external
        nonReentrant
        onlyRole(EXECUTOR_ROLE)
        whenNotPaused
    {
        if (bytes(reason).length > MAX_REASON_BYTES) revert ReasonTooLong();
        _refund(intentId, reason);
    }

    /// @inheritdoc IMintEscrow
    function reclaim(bytes32 intentId) external nonReentrant {
        uint256 expiresAt = _pending(intentId).expiresAt;
        if (block.timestamp < expiresAt) revert NotExpired(expiresAt);
        _refund(intentId, "expired");
    }

    /// @inheritdoc IMintEscrow
    function withdraw() external nonReentrant returns (uint256 amount) {
        EscrowState storage $ = _state();
        amount = $.credits[msg.sender];
        if (amount == 0) revert NothingToWithdraw();
        $.credits[msg.sender] = 0;
        $.creditedTotal -= uint128(amount);
        emit CreditWithdrawn(msg.sender, amount);
        _send($.stablecoin, msg.sender, amount);
    }

    // ---------------------------------------------------------------- batches

    /// @inheritdoc IMintEscrow
    function submitIntents(SubmitItem[] calldata items)
        external
        nonReentrant
        onlyRole(EXECUTOR_ROLE)
        returns (ItemOutcome[] memory outcomes)
    {
        BatchRun memory run = _begin(Command.Submit, SUBMIT_ITEM_GAS, items.length);
        outcomes = new ItemOutcome[](items.length);
        for (uint256 i = 0; i < items.length; ++i) {
            outcomes[i] = _item(run, items[i].expectedId, abi.encodeCall(this.submitItem, (items[i])));
        }
    }

    /// @inheritdoc IMintEscrow
    function executeMints(bytes32[] calldata intentIds)
        external
        nonReentrant
        onlyRole(EXECUTOR_ROLE)
        returns (ItemOutcome[] memory outcomes)
    {
        BatchRun memory run = _begin(Command.Execute, EXECUTE_ITEM_GAS, intentIds.length);
        outcomes = new ItemOutcome[](intentIds.length);
        for (uint256 i = 0; i < intentIds.length; ++i) {
            bytes memory data = abi.encodeCall(this.executeItem, (intentIds[i], msg.sender));
            outcomes[i] = _item(run, intentIds[i], data);
        }
    }

    /// @inheritdoc IMintEscrow
    function refundIntents(bytes32[] calldata intentIds, string calldata reason)
        external
        nonReentrant
        onlyRole(EXECUTOR_ROLE)
        returns (ItemOutcome[] memory outcomes)
    {
        if (bytes(reason).length > MAX_REASON_BYTES) revert ReasonTooLong();
        BatchRun memory run = _begin(Command.Refund, REFUND_ITEM_GAS, intentIds.length);
        outcomes = new ItemOutcome[](intentIds.length);
        for (uint256 i = 0; i < intentIds.length; ++i) {
            bytes memory data = abi.encodeCall(this.refundItem, (intentIds[i], reason));
            outcomes[i] = _item(run, intentIds[i], data);
        }
    }

    // ---------------------------------------------------------------- items: only called by the batches

    /// @notice One item of submitIntents. Only the escrow calls it.
    function submitItem(SubmitItem calldata item) external onlySelf {
        _submit(item, true);
    }

    /// @notice One item of executeMints. Only the escrow calls it.
    /// @param executor who is charged for the mint
    function executeItem(bytes32 intentId, address executor) external onlySelf {
        _execute(intentId, executor);
    }

    /// @notice One item of refundIntents. Only the escrow calls it.
    function refundItem(bytes32 intentId, string calldata reason) external onlySelf {
        _refund(intentId, reason);
    }

    /// @inheritdoc IMintEscrow
    function version() external pure virtual returns (string memory) {
        return "1.0.0";
    }

    // ---------------------------------------------------------------- the three transitions

    /// @dev What exists already is checked first: an item sent twice is AlreadyExists, whatever else changed.
    /// @param byExecutor a user deposits their own money for themselves, the executor only a treasury's
    function _submit(SubmitItem memory item, bool byExecutor) private {
        EscrowState storage $ = _state();
        bytes32 id = computeIntentId(item.depositor, item.user, item.amount, item.countryCode, item.txRef);
        if (id != item.expectedId) revert IdMismatch();
        if ($.deposits[id].depositedAt != 0) revert IntentAlreadyExists();
        if ($.claims[item.depositor][item.txRef].user != address(0)) revert TxRefAlreadyUsed();
        address token = $.stablecoin;
        _checkFields($, item, token);
        if (byExecutor && !$.allowedDepositors[item.depositor]) revert DepositorNotAllowed();
        _chargeDailyLimit($, item.user, item.amount);

        $.pendingTotal += uint128(item.amount);
        $.claims[item.depositor][item.txRef] = Claim(item.user, uint96(item.amount));
        $.deposits[id] = Deposit({
            depositor: item.depositor,
            status: IntentStatus.Pending,
            depositedAt: uint40(block.timestamp),
            expiresAt: uint40(block.timestamp + $.depositExpirySeconds),
            txRef: item.txRef
        });
        emit MintIntentSubmitted(id, item.user, item.amount, item.countryCode, item.txRef);
        _pull(token, item.depositor, item.amount);
    }

    function _execute(bytes32 intentId, address executor) private {
        EscrowState storage $ = _state();
        Deposit storage deposit = _pending(intentId);
        Claim memory claim = _claim(deposit);
        (address user, uint96 amount) = (claim.user, claim.amount);
        _requireCompliant($.userRegistry, user);
        if (!$.executorMints.tryConsume(_bucketKey(executor), amount)) revert RateLimited();

        deposit.status = IntentStatus.Executed;
        $.pendingTotal -= amount;
        emit MintExecuted(intentId, user, amount, $.countryCode, deposit.txRef);
        _mintTo($.countryToken, user, amount);
    }

    function _refund(bytes32 intentId, string memory reason) private {
        EscrowState storage $ = _state();
        Deposit storage deposit = _pending(intentId);
        Claim memory claim = _claim(deposit);
        (address depositor, uint96 amount) = (deposit.depositor, claim.amount);

        deposit.status = IntentStatus.Refunded;
        $.pendingTotal -= amount;
        emit MintRefunded(intentId, claim.user, amount, reason);
        if (!_push($.stablecoin, depositor, amount)) {
            // Nothing moved, so the credit cannot be a second payment.
            $.credits[depositor] += amount;
            $.creditedTotal += amount;
            emit DepositCredited(intentId, depositor, amount);
        }
    }

    // ---------------------------------------------------------------- checks

    function _pending(bytes32 intentId) private view returns (Deposit storage deposit) {
        deposit = _deposit(intentId);
        IntentStatus status = deposit.status;
        if (status == IntentStatus.Pending) return deposit;
        if (status == IntentStatus.Executed) revert IntentAlreadyExecuted();
        revert IntentAlreadyRefunded();
    }

    /// @dev Virtual, so that a later version can ask for more without touching what is stored.
    function _checkFields(EscrowState storage $, SubmitItem memory item, address token)
        internal
        view
        virtual
    {
        if (
            item.user == address(0) || item.user == address(this) || item.user == token
                || item.user == $.countryToken
        ) revert InvalidUser();
        if (item.countryCode != $.countryCode) revert InvalidCountryCode();
        if (item.amount < $.minMintAmount || item.amount > $.maxMintAmount) revert InvalidAmount();
        if (!_isPaddedText(item.txRef)) revert InvalidTxRef();
    }

    /// @dev Charged here and never given back: a mint already paid for must not fail on a limit.
    function _chargeDailyLimit(EscrowState storage $, address user, uint256 amount) private {
        DailyUse storage use = $.dailyUse[user];
        uint64 day = uint64(block.timestamp / 1 days);
        uint256 total = (use.day == day ? use.amount : 0) + amount;
        if (total > $.dailyLimitPerUser) revert DailyLimitExceeded();
        (use.day, use.amount) = (day, uint128(total));
    }

    /// @dev Only a clean `false` of a source that does not say it is paused may lead to a refund.
    function _requireCompliant(address source, address user) private view {
        BoundedCall.Answer memory answer =
            source.staticWord(abi.encodeCall(IComplianceSource.isCompliant, (user)));
        if (!answer.isBool()) revert CompliancePaused();
        if (answer.word == 1) return;
        BoundedCall.Answer memory stopped = source.staticWord(abi.encodeCall(ICountryToken.paused, ()));
        if (stopped.isBool() && stopped.word == 1) revert CompliancePaused();
        revert UserNotCompliant();
    }

    // ---------------------------------------------------------------- running a batch

    /// @dev The state of a batch: once `refusal` is set, no further item is begun; `unreported` items remain.
    struct BatchRun {
        Command command;
        uint256 itemGas;
        uint256 unreported;
        ItemOutcome refusal;
    }

    function _begin(Command command, uint256 itemGas, uint256 count) private view returns (BatchRun memory) {
        return BatchRun(command, itemGas, count, paused() ? ItemOutcome.EscrowPaused : ItemOutcome.Done);
    }

    /// @dev EIP-150 hands a call at most 63/64 of what is left, and the rest must still report every open
    /// item: an item is begun only when its whole allowance is there on top of that.
    function _item(BatchRun memory run, bytes32 intentId, bytes memory data)
        private
        returns (ItemOutcome outcome)
    {
        uint256 needed = run.itemGas + run.itemGas / 63 + run.unreported * REPORT_GAS;
        if (run.refusal == ItemOutcome.Done && gasleft() < needed) run.refusal = ItemOutcome.OutOfGas;
        --run.unreported;
        bytes memory revertData;
        if (run.refusal == ItemOutcome.Done) {
            bool success;
            (success, revertData) = address(this).callCopy(run.itemGas, data, MAX_REVERT_DATA_BYTES);
            if (success) return ItemOutcome.Done;
            outcome = _outcomeOf(revertData);
        } else {
            outcome = run.refusal;
        }
        emit ItemSkipped(intentId, run.command, outcome, revertData);
    }

    /// @dev Every revert with data comes from our own checks, since no callee's is ever passed on. One
    /// without data means that the item used up its whole allowance.
    function _outcomeOf(bytes memory returned) private pure returns (ItemOutcome) {
        if (returned.length < 4) return ItemOutcome.OutOfGas;
        bytes4 selector = bytes4(returned);
        if (selector == UserNotCompliant.selector) return ItemOutcome.NotCompliant;
        if (selector == CompliancePaused.selector) return ItemOutcome.CompliancePaused;
        if (selector == TokenPaused.selector) return ItemOutcome.TokenPaused;
        if (selector == RateLimited.selector) return ItemOutcome.RateLimited;
        if (selector == TransferFailed.selector) return ItemOutcome.TransferFailed;
        if (selector == IntentNotFound.selector) return ItemOutcome.NotFound;
        if (selector == InsufficientGas.selector) return ItemOutcome.OutOfGas;
        if (selector == IdMismatch.selector) return ItemOutcome.IdMismatch;
        if (selector == IntentAlreadyExists.selector) return ItemOutcome.AlreadyExists;
        if (selector == IntentAlreadyExecuted.selector) return ItemOutcome.AlreadyExecuted;
        if (selector == IntentAlreadyRefunded.selector) return ItemOutcome.AlreadyRefunded;
        if (selector == TxRefAlreadyUsed.selector) return ItemOutcome.TxRefAlreadyUsed;
        if (selector == InvalidAmount.selector) return ItemOutcome.InvalidAmount;
        if (selector == InvalidCountryCode.selector) return ItemOutcome.InvalidCountryCode;
        if (selector == InvalidUser.selector) return ItemOutcome.InvalidUser;
        if (selector == DailyLimitExceeded.selector) return ItemOutcome.DailyLimitExceeded;
        if (selector == DepositorNotAllowed.selector) return ItemOutcome.DepositorNotAllowed;
        return ItemOutcome.Unknown;
    }
}
