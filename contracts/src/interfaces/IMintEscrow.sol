// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Locks backing stablecoin per payment reference and pays each deposit out once.
/// @notice Amounts are base units of 18 decimals on both sides; deposit, mint and refund are 1:1. An intent
/// leaves Pending exactly once: by a mint to its user, or by a return of the deposit to its depositor.
///
/// Three rules the batch functions keep:
/// - An item never makes the batch revert and never consumes another item's gas: each runs in a self-call
///   with a fixed gas allowance, and is not begun unless that allowance is really there.
/// - An outcome is decided by the escrow's own checks, never by what another contract chose to revert with.
/// - NotCompliant, the one outcome that leads to a refund, needs a clean `false` of an unpaused source.
interface IMintEscrow {
    /// @notice Life of an intent. Failed is reserved: a deposit that cannot succeed is never recorded.
    enum IntentStatus {
        Pending,
        Executed,
        Refunded,
        Failed
    }

    /// @notice What became of one item of a batch. Expired is reserved: expiry alone refuses nothing.
    enum ItemOutcome {
        Done,
        NotCompliant,
        CompliancePaused,
        EscrowPaused,
        TokenPaused,
        RateLimited,
        TransferFailed,
        NotFound,
        OutOfGas,
        IdMismatch,
        AlreadyExists,
        AlreadyExecuted,
        AlreadyRefunded,
        TxRefAlreadyUsed,
        InvalidAmount,
        InvalidCountryCode,
        InvalidUser,
        DailyLimitExceeded,
        DepositorNotAllowed,
        Expired,
        Unknown
    }

    /// @notice The batch command an ItemSkipped event belongs to.
    enum Command {
        Submit,
        Execute,
        Refund
    }

    /// @notice A deposit the executor asks for. `expectedId` must be the id the other fields hash to.
    struct SubmitItem {
        bytes32 expectedId;
        address depositor;
        address user;
        uint256 amount;
        bytes32 countryCode;
        bytes32 txRef;
    }

    /// @notice An intent as views return it. Times are block timestamps in unix seconds.
    struct Intent {
        address user;
        address depositor;
        uint256 amount;
        bytes32 countryCode;
        bytes32 txRef;
        IntentStatus status;
        uint64 depositedAt;
        uint64 expiresAt;
    }

    /// @notice Everything the escrow is born with. Roles are granted here so that the deployer never holds one.
    struct InitParams {
        /// holder of DEFAULT_ADMIN_ROLE and ADMIN_ROLE
        address admin;
        /// seconds a transfer of DEFAULT_ADMIN_ROLE must wait
        uint48 adminDelay;
        /// holder of UPGRADER_ROLE; in production the timelock
        address upgrader;
        address pauser;
        /// not the pauser, so that whoever stops cannot start again
        address unpauser;
        /// the services' signing keys
        address[] executors;
        /// funds executor-submitted deposits
        address treasury;
        /// the backing token, 18 decimals
        address stablecoin;
        /// 18 decimals, and its minter must be this escrow; never changed later
        address countryToken;
        /// the compliance source; in production the ComplianceManager
        address userRegistry;
        /// right-padded ASCII, the one country this escrow serves
        bytes32 countryCode;
        /// limits in base units, from deploy/policy.json; see their setters
        uint256 minMintAmount;
        uint256 maxMintAmount;
        /// twice the policy's: the services refuse first, this is the net below them
        uint256 dailyLimitPerUser;
        uint256 executorMintPerHour;
        /// seconds
        uint256 depositExpirySeconds;
    }

    /// @notice A deposit is locked. Also the Done of a submitted item.
    event MintIntentSubmitted(
        bytes32 indexed intentId,
        address indexed user,
        uint256 amount,
        bytes32 indexed countryCode,
        bytes32 txRef
    );
    /// @notice Country tokens were minted. Also the Done of an executed item.
    event MintExecuted(
        bytes32 indexed intentId,
        address indexed user,
        uint256 amount,
        bytes32 indexed countryCode,
        bytes32 txRef
    );
    /// @notice A deposit went back to its depositor (or to their credit). Also the Done of a refunded item.
    event MintRefunded(bytes32 indexed intentId, address indexed user, uint256 amount, string reason);
    /// @notice An item of a batch was not done. `data` is what the escrow's own check reverted with, cut to 68 bytes.
    event ItemSkipped(bytes32 indexed intentId, Command indexed command, ItemOutcome outcome, bytes data);

    /// @notice The push of a returned deposit failed; `withdraw` pays it.
    event DepositCredited(bytes32 indexed intentId, address indexed depositor, uint256 amount);
    /// @notice A credit was paid out.
    event CreditWithdrawn(address indexed depositor, uint256 amount);
    /// @notice Backing of executed mints left for the treasury.
    event SettledSwept(address indexed treasury, uint256 amount);
    /// @notice A token that is not the backing left for the treasury.
    event ForeignTokenRecovered(address indexed token, address indexed treasury, uint256 amount);
    /// @notice New deposits may come from `treasury`; the former one stays allowed until revoked.
    event TreasuryChanged(address indexed former, address indexed treasury);
    /// @notice The executor may no longer deposit from `former`.
    event TreasuryRevoked(address indexed former);
    /// @notice The compliance source changed.
    event UserRegistryChanged(address indexed former, address indexed userRegistry);
    /// @notice The backing token changed.
    event StablecoinChanged(address indexed former, address indexed stablecoin);
    /// @notice Bounds of one deposit, in base units.
    event MintLimitsChanged(uint256 minMintAmount, uint256 maxMintAmount);
    /// @notice What one user may deposit in a UTC day, in base units.
    event DailyLimitChanged(uint256 dailyLimitPerUser);
    /// @notice What one executor may mint in an hour, in base units.
    event ExecutorMintPerHourChanged(uint256 executorMintPerHour);
    /// @notice Life of deposits made from now on, in seconds.
    event DepositExpiryChanged(uint256 depositExpirySeconds);

    /// @notice This intentId is recorded already, whatever its status.
    error IntentAlreadyExists();
    /// @notice No such intent.
    error IntentNotFound();
    /// @notice The compliance source clearly said no.
    error UserNotCompliant();
    /// @notice The amount lies outside the mint limits.
    error InvalidAmount();
    /// @notice The country is not the one this escrow serves.
    error InvalidCountryCode();
    /// @notice The intent was minted.
    error IntentAlreadyExecuted();
    /// @notice The deposit went back.
    error IntentAlreadyRefunded();
    /// @notice This depositor used this payment reference before.
    error TxRefAlreadyUsed();
    /// @notice The expected id is not the one the fields hash to.
    error IdMismatch();
    /// @notice A token call failed, or moved another amount than asked.
    error TransferFailed();

    /// @notice The compliance source is paused, reverted, or answered something that is no boolean.
    error CompliancePaused();
    /// @notice The country token is paused.
    error TokenPaused();
    /// @notice The executor's hourly allowance does not cover this mint.
    error RateLimited();
    /// @notice The user's deposits of this UTC day would exceed the limit.
    error DailyLimitExceeded();
    /// @notice The depositor is neither the treasury nor a former one still allowed.
    error DepositorNotAllowed();
    /// @notice The user cannot be minted to (zero, or one of our own contracts).
    error InvalidUser();
    /// @notice A payment reference is 1 to 31 bytes, right-padded with zeros.
    error InvalidTxRef();
    /// @notice The deposit can be reclaimed only from `expiresAt` on.
    error NotExpired(uint256 expiresAt);
    /// @notice The caller has no credit.
    error NothingToWithdraw();
    /// @notice Only `available` base units are backing of executed mints.
    error SweepExceedsSettled(uint256 available);
    /// @notice Deposits or credits in the present stablecoin are outstanding.
    error DepositsOutstanding();
    /// @notice The account cannot be a treasury, or is the present one and cannot be revoked.
    error InvalidTreasury();
    /// @notice Not a contract with 18 decimals, or not allowed in this place.
    error InvalidToken();
    /// @notice Not a contract that answers `isCompliant` with a boolean.
    error InvalidComplianceSource();
    /// @notice A limit outside its bounds.
    error InvalidLimit();
    /// @notice A reason longer than 256 bytes.
    error ReasonTooLong();
    /// @notice Too little gas for a push that must not fail for want of gas.
    error InsufficientGas();
    /// @notice Only the escrow itself calls the item functions.
    error OnlySelf();

    // ---------------------------------------------------------------- deposits

    /// @notice Locks the caller's own stablecoin for a mint to the caller. Anyone may call it.
    /// @dev Reverts while paused, and with IntentAlreadyExists, TxRefAlreadyUsed, InvalidUser, InvalidCountryCode,
    /// InvalidAmount, InvalidTxRef, DailyLimitExceeded, TokenPaused, TransferFailed (allowance or balance too small).
    /// @param amount base units, within the mint limits
    /// @param countryCode_ right-padded ASCII
    /// @param txRef 1..31 bytes, right-padded; never used by the caller before
    /// @return intentId see computeIntentId
    function submitIntent(uint256 amount, bytes32 countryCode_, bytes32 txRef)
        external
        returns (bytes32 intentId);

    /// @notice Locks treasury stablecoin for many mints. Needs EXECUTOR_ROLE.
    /// @dev Never reverts because of an item or a pause. An item may end as any error of submitIntent, or as
    /// IdMismatch, DepositorNotAllowed, OutOfGas or EscrowPaused.
    /// @param items at most what README.md's "Sizing a batch" allows for the gas given
    /// @return outcomes one for each item, in order; Done items also emit MintIntentSubmitted, others ItemSkipped
    function submitIntents(SubmitItem[] calldata items) external returns (ItemOutcome[] memory outcomes);

    // ---------------------------------------------------------------- settlement

    /// @notice Mints the intent's amount to its user. Needs EXECUTOR_ROLE. Expiry alone does not refuse it.
    /// @dev Reverts while paused, and with IntentNotFound, IntentAlreadyExecuted, IntentAlreadyRefunded,
    /// UserNotCompliant, CompliancePaused, RateLimited, TokenPaused, TransferFailed (the token refused).
    /// @param intentId a Pending intent
    function executeMint(bytes32 intentId) external;

    /// @notice Mints many. Needs EXECUTOR_ROLE. Never reverts because of an item or a pause.
    /// @dev An item may end as any error of executeMint, or as OutOfGas or EscrowPaused. An id twice in one batch
    /// is Done once and AlreadyExecuted once.
    /// @param intentIds Pending intents
    /// @return outcomes one for each id, in order; Done items also emit MintExecuted, others ItemSkipped
    function executeMints(bytes32[] calldata intentIds) external returns (ItemOutcome[] memory outcomes);

    /// @notice Returns the deposit to its depositor, or to their credit when the push fails. Needs EXECUTOR_ROLE.
    /// @dev Reverts while paused, and with IntentNotFound, IntentAlreadyExecuted, IntentAlreadyRefunded,
    /// ReasonTooLong, InsufficientGas, TransferFailed (another amount moved than asked).
    /// @param intentId a Pending intent
    /// @param reason at most 256 bytes, repeated in MintRefunded
    function refundIntent(bytes32 intentId, string calldata reason) external;

    /// @notice Returns many. Needs EXECUTOR_ROLE. Never reverts because of an item or a pause.
    /// @dev Reverts ReasonTooLong. An item may end as any other error of refundIntent, or as OutOfGas or
    /// EscrowPaused.
    /// @param intentIds Pending intents
    /// @param reason at most 256 bytes, the same for all
    /// @return outcomes one for each id, in order; Done items also emit MintRefunded, others ItemSkipped
    function refundIntents(bytes32[] calldata intentIds, string calldata reason)
        external
        returns (ItemOutcome[] memory outcomes);

    /// @notice Returns an expired deposit to its depositor. Anyone may call it, also while paused.
    /// @dev Reverts IntentNotFound, IntentAlreadyExecuted, IntentAlreadyRefunded, NotExpired, InsufficientGas,
    /// TransferFailed (another amount moved than asked).
    /// @param intentId a Pending intent whose `expiresAt` has passed
    function reclaim(bytes32 intentId) external;

    /// @notice Pays the caller what a failed push left to their credit. Works while paused.
    /// @dev Reverts NothingToWithdraw; TransferFailed when the token still refuses, and then the credit stays.
    /// @return amount base units paid
    function withdraw() external returns (uint256 amount);

    // ---------------------------------------------------------------- administration

    /// @notice Sends backing of executed mints to the treasury. Needs ADMIN_ROLE.
    /// @dev Reverts SweepExceedsSettled, TransferFailed.
    /// @param amount base units, at most `sweepable()`: balance - pending - credited
    function sweepSettled(uint256 amount) external;

    /// @notice Sends a token that is not the backing to the treasury. Needs ADMIN_ROLE.
    /// @dev Reverts InvalidToken for the backing and for accounts without code, TransferFailed.
    /// @param amount in that token's own base units
    function recoverForeignToken(address token, uint256 amount) external;

    /// @notice Changes the compliance source. Needs ADMIN_ROLE; the new source must answer now.
    /// @dev Reverts InvalidComplianceSource.
    /// @param userRegistry_ in production the ComplianceManager
    function setUserRegistry(address userRegistry_) external;

    /// @notice Changes the backing token. Needs UPGRADER_ROLE, since worthless backing mints as freely as other
    /// code would; refused while anything is pending or credited.
    /// @dev What is left of the former one goes to the treasury by recoverForeignToken. Reverts
    /// DepositsOutstanding; InvalidToken without code, without 18 decimals, or for the country token.
    function setStablecoin(address stablecoin_) external;

    /// @notice Changes the treasury; the former stays a depositor until revoked. Needs ADMIN_ROLE.
    /// @dev Reverts InvalidTreasury for zero and for the escrow. The new one must approve the escrow itself.
    function setTreasury(address treasury_) external;

    /// @notice Ends a former treasury's time as depositor. Needs ADMIN_ROLE. Its deposits still return to it.
    /// @dev Reverts InvalidTreasury for the present treasury and for an account that is no depositor.
    function revokeTreasury(address former) external;

    /// @notice Bounds of one deposit, base units. Needs ADMIN_ROLE. Deposits already made are not touched.
    /// @dev Reverts InvalidLimit unless 0 < min <= max < 2^96.
    function setMintLimits(uint256 minMintAmount_, uint256 maxMintAmount_) external;

    /// @notice What one user may deposit in a UTC day, base units. Needs ADMIN_ROLE. Zero stops new deposits.
    /// @dev Reverts InvalidLimit from 2^128 on.
    function setDailyLimitPerUser(uint256 dailyLimitPerUser_) external;

    /// @notice What each executor may mint in an hour, base units. Needs ADMIN_ROLE. Zero stops all mints.
    /// @dev Reverts InvalidLimit from 2^128 on.
    function setExecutorMintPerHour(uint256 executorMintPerHour_) external;

    /// @notice Life of a deposit before it can be reclaimed. Needs ADMIN_ROLE. Deposits already made keep theirs.
    /// @dev Reverts InvalidLimit outside one hour to 365 days.
    /// @param depositExpirySeconds_ seconds
    function setDepositExpirySeconds(uint256 depositExpirySeconds_) external;

    /// @notice Stops deposits, mints and refunds; reclaim and withdraw go on. Needs PAUSER_ROLE.
    function pause() external;

    /// @notice Starts them again. Needs UNPAUSER_ROLE, which is not the pauser's.
    function unpause() external;

    // ---------------------------------------------------------------- views

    /// @notice keccak256(abi.encode(chainId, this proxy, depositor, user, amount, countryCode, txRef)).
    function computeIntentId(
        address depositor,
        address user,
        uint256 amount,
        bytes32 countryCode_,
        bytes32 txRef
    ) external view returns (bytes32);

    /// @notice Reverts IntentNotFound.
    function getIntent(bytes32 intentId) external view returns (Intent memory);

    /// @notice Many at once for watchers; an unknown id yields an intent whose `depositedAt` is 0.
    function getIntents(bytes32[] calldata intentIds) external view returns (Intent[] memory);

    /// @notice Reverts IntentNotFound.
    function getIntentStatus(bytes32 intentId) external view returns (IntentStatus);

    /// @notice Whether the intent still holds its deposit. Reverts IntentNotFound.
    function isPending(bytes32 intentId) external view returns (bool);

    /// @notice The intent this depositor used this reference for, zero when none.
    function intentIdOf(address depositor, bytes32 txRef) external view returns (bytes32);

    /// @notice Where executor-submitted deposits come from by default.
    function treasury() external view returns (address);

    /// @notice Whether the executor may deposit from `depositor`.
    function isAllowedDepositor(address depositor) external view returns (bool);

    /// @notice The backing token.
    function stablecoin() external view returns (address);

    /// @notice The minted token.
    function countryToken() external view returns (address);

    /// @notice The compliance source.
    function userRegistry() external view returns (address);

    /// @notice The one country served, right-padded ASCII.
    function countryCode() external view returns (bytes32);

    /// @notice Sum of all Pending deposits, base units.
    function pendingTotal() external view returns (uint256);

    /// @notice Sum of all credits, base units.
    function creditedTotal() external view returns (uint256);

    /// @notice What `withdraw` would pay the account, base units.
    function creditOf(address depositor) external view returns (uint256);

    /// @notice What sweepSettled could send now, base units.
    function sweepable() external view returns (uint256);

    /// @notice Smallest deposit, base units.
    function minMintAmount() external view returns (uint256);

    /// @notice Largest deposit, base units.
    function maxMintAmount() external view returns (uint256);

    /// @notice Deposits one user may make in a UTC day, base units.
    function dailyLimitPerUser() external view returns (uint256);

    /// @notice Deposits the user made in this UTC day, base units. A refund does not lower it.
    function dailyDeposited(address user) external view returns (uint256);

    /// @notice An executor's allowance refills by this much an hour, and holds this much at most.
    function executorMintPerHour() external view returns (uint256);

    /// @notice What the executor may mint now, base units.
    function executorMintAvailable(address executor) external view returns (uint256);

    /// @notice Life of a new deposit before it can be reclaimed.
    function depositExpirySeconds() external view returns (uint256);

    /// @notice Version of the code behind the proxy.
    function version() external pure returns (string memory);
}
