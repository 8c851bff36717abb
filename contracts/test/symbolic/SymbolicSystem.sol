// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {MintEscrow} from "../../src/MintEscrow.sol";
import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {Test, vm} from "../utils/Test.sol";

/// @dev Cheat codes of halmos.
interface Svm {
    /// @return data a call of any function of the named contract, with any arguments
    function createCalldata(string calldata contractName) external pure returns (bytes memory data);
    function createBytes32(string calldata name) external pure returns (bytes32);
    function createUint256(string calldata name) external pure returns (uint256);
    function createAddress(string calldata name) external pure returns (address);
    function createBool(string calldata name) external pure returns (bool);
}

Svm constant svm = Svm(0xF3993A62377BCd56AE39D773740A5390411E8BC9);

/// @dev A minimal token, so that the solver has little to follow.
contract PlainCoin {
    mapping(address account => uint256) public balanceOf;

    function decimals() external pure returns (uint8) {
        return 18;
    }

    function fund(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return transferFrom(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public returns (bool) {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        return true;
    }
}

/// @dev A country token that counts mints per user; who may mint is proven of the real one.
contract CountingToken {
    uint256 public totalSupply;
    mapping(address account => uint256) public balanceOf;

    function decimals() external pure returns (uint8) {
        return 18;
    }

    function minter() external view returns (address) {
        return msg.sender;
    }

    function mint(address to, uint256 amount) external {
        totalSupply += amount;
        balanceOf[to] += amount;
    }
}

/// @dev A compliance source whose answer is set for each user.
contract ConfigurableSource {
    mapping(address user => bool) public isCompliant;

    function setCompliant(address user, bool compliant) external {
        isCompliant[user] = compliant;
    }
}

/// @dev The escrow with one holder per role. Accounts are plain numbers: halmos gives `vm.addr` an unknown
/// value for each key, which a solver may choose to be zero or equal to another's, and then proofs about
/// roles fail for a caller who holds the role after all.
abstract contract SymbolicSystem is Test {
    bytes32 internal constant KES = "KES";
    uint256 internal constant START = 1_767_225_600;
    uint256 internal constant EXPIRY = 604_800;
    uint256 internal constant AMOUNT = 150e18;

    address internal constant ADMIN = address(0xA1);
    address internal constant UPGRADER = address(0xA2);
    address internal constant PAUSER = address(0xA3);
    address internal constant UNPAUSER = address(0xA4);
    address internal constant EXECUTOR = address(0xA5);
    address internal constant TREASURY = address(0xA6);
    address internal constant USER = address(0xB1);
    address internal constant OTHER = address(0xB2);

    PlainCoin internal coin;
    CountingToken internal token;
    ConfigurableSource internal source;
    MintEscrow internal escrow;

    function setUp() public virtual {
        vm.warp(START);
        coin = new PlainCoin();
        token = new CountingToken();
        source = new ConfigurableSource();
        bytes memory init = abi.encodeCall(MintEscrow.initialize, (_params()));
        escrow = MintEscrow(address(new ERC1967Proxy(address(new MintEscrow()), init)));
        coin.fund(TREASURY, 1e28);
        source.setCompliant(USER, true);
        source.setCompliant(OTHER, true);
    }

    function _params() private view returns (IMintEscrow.InitParams memory params) {
        params.admin = ADMIN;
        params.adminDelay = 2 days;
        params.upgrader = UPGRADER;
        params.pauser = PAUSER;
        params.unpauser = UNPAUSER;
        params.executors = new address[](1);
        params.executors[0] = EXECUTOR;
        params.treasury = TREASURY;
        params.stablecoin = address(coin);
        params.countryToken = address(token);
        params.userRegistry = address(source);
        params.countryCode = KES;
        params.minMintAmount = 1;
        params.maxMintAmount = 1e21;
        params.dailyLimitPerUser = 1e22;
        params.executorMintPerHour = 1e24;
        params.depositExpirySeconds = EXPIRY;
    }

    function _deposit(address user, uint256 amount, bytes32 txRef) internal returns (bytes32 id) {
        id = escrow.computeIntentId(TREASURY, user, amount, KES, txRef);
        IMintEscrow.SubmitItem[] memory items = new IMintEscrow.SubmitItem[](1);
        items[0] = IMintEscrow.SubmitItem(id, TREASURY, user, amount, KES, txRef);
        vm.prank(EXECUTOR);
        IMintEscrow.ItemOutcome outcome = escrow.submitIntents(items)[0];
        vm.assume(outcome == IMintEscrow.ItemOutcome.Done);
    }
}
