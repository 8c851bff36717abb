// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RateLimiter} from "@openzeppelin/contracts/utils/RateLimiter.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {GovernedPausable} from "../base/GovernedPausable.sol";
import {IComplianceSource} from "../interfaces/IComplianceSource.sol";
import {ICountryToken} from "../interfaces/ICountryToken.sol";
import {IMintEscrow} from "../interfaces/IMintEscrow.sol";
import {BoundedCall} from "../lib/BoundedCall.sol";
import {EscrowMoney} from "./EscrowMoney.sol";

/// @title How the escrow is set up and governed.
/// @notice No setter can reach a deposit: pending money leaves only by a mint or to its recorded depositor.
abstract contract EscrowAdmin is EscrowMoney, GovernedPausable, ReentrancyGuardTransient {
    using BoundedCall for address;
    using BoundedCall for BoundedCall.Answer;
    using RateLimiter for RateLimiter.RefillingBucket;

    /// @notice May deposit from the treasury, execute and refund.
    bytes32 public constant EXECUTOR_ROLE = keccak256("EXECUTOR_ROLE");

    uint256 private constant MIN_EXPIRY = 1 hours;
    uint256 private constant MAX_EXPIRY = 365 days;

    // forge-lint: disable-next-line(mixed-case-function)
    function __EscrowAdmin_init(InitParams calldata params) internal onlyInitializing {
        __GovernedPausable_init(
            params.admin, params.adminDelay, params.upgrader, params.pauser, params.unpauser
        );
        for (uint256 i = 0; i < params.executors.length; ++i) {
            if (params.executors[i] == address(0)) revert InvalidRoleHolder();
            _grantRole(EXECUTOR_ROLE, params.executors[i]);
        }
        _setCountry(params.countryToken, params.countryCode);
        _setStablecoin(params.stablecoin);
        _setUserRegistry(params.userRegistry);
        _setTreasury(params.treasury);
        _setMintLimits(params.minMintAmount, params.maxMintAmount);
        _setDailyLimitPerUser(params.dailyLimitPerUser);
        _setExecutorMintPerHour(params.executorMintPerHour);
        _setDepositExpirySeconds(params.depositExpirySeconds);
    }

    /// @inheritdoc IMintEscrow
    function sweepSettled(uint256 amount) external onlyRole(ADMIN_ROLE) nonReentrant {
        uint256 available = sweepable();
        if (amount > available) revert SweepExceedsSettled(available);
        EscrowState storage $ = _state();
        address to = $.treasury;
        emit SettledSwept(to, amount);
        _send($.stablecoin, to, amount);
    }

    /// @inheritdoc IMintEscrow
    function recoverForeignToken(address token, uint256 amount) external onlyRole(ADMIN_ROLE) nonReentrant {
        EscrowState storage $ = _state();
        if (token == $.stablecoin || token.code.length == 0) revert InvalidToken();
        address to = $.treasury;
        emit ForeignTokenRecovered(token, to, amount);
        if (!token.callWord(abi.encodeCall(IERC20.transfer, (to, amount))).isTokenSuccess()) {
            revert TransferFailed();
        }
    }

    /// @inheritdoc IMintEscrow
    function setUserRegistry(address userRegistry_) external onlyRole(ADMIN_ROLE) {
        _setUserRegistry(userRegistry_);
    }

    /// @inheritdoc IMintEscrow
    function setStablecoin(address stablecoin_) external onlyRole(UPGRADER_ROLE) nonReentrant {
        EscrowState storage $ = _state();
        if ($.pendingTotal != 0 || $.creditedTotal != 0) revert DepositsOutstanding();
        _setStablecoin(stablecoin_);
    }

    /// @inheritdoc IMintEscrow
    function setTreasury(address treasury_) external onlyRole(ADMIN_ROLE) {
        _setTreasury(treasury_);
    }

    /// @inheritdoc IMintEscrow
    function revokeTreasury(address former) external onlyRole(ADMIN_ROLE) {
        EscrowState storage $ = _state();
        if (former == $.treasury || !$.allowedDepositors[former]) revert InvalidTreasury();
        $.allowedDepositors[former] = false;
        emit TreasuryRevoked(former);
    }

    /// @inheritdoc IMintEscrow
    function setMintLimits(uint256 minMintAmount_, uint256 maxMintAmount_) external onlyRole(ADMIN_ROLE) {
        _setMintLimits(minMintAmount_, maxMintAmount_);
    }

    /// @inheritdoc IMintEscrow
    function setDailyLimitPerUser(uint256 dailyLimitPerUser_) external onlyRole(ADMIN_ROLE) {
        _setDailyLimitPerUser(dailyLimitPerUser_);
    }

    /// @inheritdoc IMintEscrow
    function setExecutorMintPerHour(uint256 executorMintPerHour_) external onlyRole(ADMIN_ROLE) {
        _setExecutorMintPerHour(executorMintPerHour_);
    }

    /// @inheritdoc IMintEscrow
    function setDepositExpirySeconds(uint256 depositExpirySeconds_) external onlyRole(ADMIN_ROLE) {
        _setDepositExpirySeconds(depositExpirySeconds_);
    }

    /// @inheritdoc IMintEscrow
    function pause() public override(IMintEscrow, GovernedPausable) {
        super.pause();
    }

    /// @inheritdoc IMintEscrow
    function unpause() public override(IMintEscrow, GovernedPausable) {
        super.unpause();
    }

    /// @inheritdoc IMintEscrow
    function sweepable() public view returns (uint256) {
        EscrowState storage $ = _state();
        uint256 held = _balance($.stablecoin);
        uint256 owed = uint256($.pendingTotal) + $.creditedTotal;
        return held > owed ? held - owed : 0;
    }

    /// @dev Never changed later: ids commit to the country, and its token's minter is this proxy for ever.
    function _setCountry(address token, bytes32 code) private {
        _requireToken(token);
        if (ICountryToken(token).minter() != address(this)) revert InvalidToken();
        if (!_isPaddedText(code)) revert InvalidCountryCode();
        _state().countryToken = token;
        _state().countryCode = code;
    }

    function _setStablecoin(address token) private {
        EscrowState storage $ = _state();
        _requireToken(token);
        if (token == $.countryToken) revert InvalidToken();
        emit StablecoinChanged($.stablecoin, token);
        $.stablecoin = token;
    }

    /// @dev A source that cannot answer would stop all mints, so it must answer once before it is accepted.
    function _setUserRegistry(address source) private {
        if (!source.staticWord(abi.encodeCall(IComplianceSource.isCompliant, (address(this)))).isBool()) {
            revert InvalidComplianceSource();
        }
        EscrowState storage $ = _state();
        emit UserRegistryChanged($.userRegistry, source);
        $.userRegistry = source;
    }

    function _setTreasury(address treasury_) private {
        if (treasury_ == address(0) || treasury_ == address(this)) revert InvalidTreasury();
        EscrowState storage $ = _state();
        emit TreasuryChanged($.treasury, treasury_);
        $.treasury = treasury_;
        $.allowedDepositors[treasury_] = true;
    }

    function _setMintLimits(uint256 min, uint256 max) private {
        if (min == 0 || min > max || max > type(uint96).max) revert InvalidLimit();
        EscrowState storage $ = _state();
        $.minMintAmount = uint96(min);
        $.maxMintAmount = uint96(max);
        emit MintLimitsChanged(min, max);
    }

    function _setDailyLimitPerUser(uint256 limit) private {
        if (limit > type(uint128).max) revert InvalidLimit();
        _state().dailyLimitPerUser = uint128(limit);
        emit DailyLimitChanged(limit);
    }

    /// @dev An executor never seen has a full allowance; with a limit of zero nobody has any.
    function _setExecutorMintPerHour(uint256 limit) private {
        if (limit > type(uint128).max) revert InvalidLimit();
        _state().executorMints.updateSettings(1 hours, uint208(limit));
        emit ExecutorMintPerHourChanged(limit);
    }

    function _setDepositExpirySeconds(uint256 expiry) private {
        if (expiry < MIN_EXPIRY || expiry > MAX_EXPIRY) revert InvalidLimit();
        _state().depositExpirySeconds = uint40(expiry);
        emit DepositExpiryChanged(expiry);
    }

    /// @dev 1 to 31 bytes, none of them zero, then zeros to the end.
    function _isPaddedText(bytes32 text) internal pure returns (bool) {
        uint256 word = uint256(text);
        uint256 low7 = 0x7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f;
        // The top bit of each byte of `used` tells whether that byte of the text is not zero.
        uint256 used = (((word & low7) + low7) | word) & ~low7;
        // No used byte may follow an unused one; the first must be used and the last must not.
        bool gap = used & ~((used >> 8) | (0x80 << 248)) != 0;
        return !gap && used >> 255 == 1 && used & 0xff == 0;
    }
}
