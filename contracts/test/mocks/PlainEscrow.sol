// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";
import {CountryToken} from "../../src/CountryToken.sol";
import {IComplianceSource} from "../../src/interfaces/IComplianceSource.sol";

/// @dev The same escrow written without regard for gas: one field a slot, a guard in storage, one
/// transaction an intent. It has no proxy, no batches and no checked balances, so the comparison favours it.
contract PlainEscrow is AccessControl, Pausable, ReentrancyGuard {
    using SafeERC20 for IERC20;

    enum Status {
        None,
        Pending,
        Executed,
        Refunded
    }

    struct Intent {
        address user;
        address depositor;
        uint256 amount;
        bytes32 countryCode;
        bytes32 txRef;
        Status status;
        uint256 depositedAt;
        uint256 expiresAt;
    }

    event Submitted(bytes32 indexed id, address indexed user, uint256 amount, bytes32 code, bytes32 txRef);
    event Executed(bytes32 indexed id, address indexed user, uint256 amount, bytes32 code, bytes32 txRef);
    event Refunded(bytes32 indexed id, address indexed user, uint256 amount, string reason);

    IERC20 public stablecoin;
    IComplianceSource public source;
    CountryToken public token;
    address public treasury;
    uint256 public pendingTotal;
    uint256 public dailyLimit = 2e22;
    uint256 public hourlyLimit = 1e24;
    mapping(bytes32 id => Intent) public intents;
    mapping(address depositor => mapping(bytes32 txRef => bool)) public used;
    mapping(address user => mapping(uint256 day => uint256)) public depositedOn;
    mapping(address executor => mapping(uint256 hour_ => uint256)) public mintedIn;

    constructor(IERC20 stablecoin_, IComplianceSource source_, address treasury_, address executor) {
        (stablecoin, source, treasury) = (stablecoin_, source_, treasury_);
        token = new CountryToken(
            "Kenya Shilling Token", "KES", address(this), msg.sender, 0, msg.sender, msg.sender
        );
        _grantRole(keccak256("EXECUTOR_ROLE"), executor);
    }

    function submit(address user, uint256 amount, bytes32 code, bytes32 txRef)
        external
        onlyRole(keccak256("EXECUTOR_ROLE"))
        whenNotPaused
        nonReentrant
    {
        bytes32 id = keccak256(abi.encode(block.chainid, address(this), treasury, user, amount, code, txRef));
        require(intents[id].status == Status.None && !used[treasury][txRef]);
        depositedOn[user][block.timestamp / 1 days] += amount;
        require(depositedOn[user][block.timestamp / 1 days] <= dailyLimit);
        used[treasury][txRef] = true;
        intents[id] = Intent(
            user, treasury, amount, code, txRef, Status.Pending, block.timestamp, block.timestamp + 7 days
        );
        pendingTotal += amount;
        emit Submitted(id, user, amount, code, txRef);
        stablecoin.safeTransferFrom(treasury, address(this), amount);
    }

    function executeMint(bytes32 id)
        external
        onlyRole(keccak256("EXECUTOR_ROLE"))
        whenNotPaused
        nonReentrant
    {
        Intent storage intent = intents[id];
        require(intent.status == Status.Pending && source.isCompliant(intent.user));
        mintedIn[msg.sender][block.timestamp / 1 hours] += intent.amount;
        require(mintedIn[msg.sender][block.timestamp / 1 hours] <= hourlyLimit);
        intent.status = Status.Executed;
        pendingTotal -= intent.amount;
        emit Executed(id, intent.user, intent.amount, intent.countryCode, intent.txRef);
        token.mint(intent.user, intent.amount);
    }

    function refundIntent(bytes32 id, string calldata reason)
        external
        onlyRole(keccak256("EXECUTOR_ROLE"))
        whenNotPaused
        nonReentrant
    {
        Intent storage intent = intents[id];
        require(intent.status == Status.Pending);
        intent.status = Status.Refunded;
        pendingTotal -= intent.amount;
        emit Refunded(id, intent.user, intent.amount, reason);
        stablecoin.safeTransfer(intent.depositor, intent.amount);
    }
}
