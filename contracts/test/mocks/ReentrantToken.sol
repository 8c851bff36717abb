// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @dev Serves as stablecoin or country token; calls the escrow once in the middle of every transfer and
/// mint, and stores the error it gets.
contract ReentrantToken {
    uint8 public constant decimals = 18;
    mapping(address account => uint256) public balanceOf;

    address public escrow;
    bytes public call;
    uint256 public attempts;
    bytes4 public revertSelector;

    function reenterWith(address escrow_, bytes calldata call_) external {
        (escrow, call, attempts, revertSelector) = (escrow_, call_, 0, bytes4(0));
    }

    function fund(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        return _move(from, to, amount);
    }

    function mint(address to, uint256 amount) external {
        _reenter();
        balanceOf[to] += amount;
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        _reenter();
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        return true;
    }

    /// @dev Ignores a failure of the call, as an attacker would.
    function _reenter() private {
        if (escrow == address(0)) return;
        (bool success, bytes memory answer) = escrow.call(call);
        ++attempts;
        revertSelector = success ? bytes4("in!") : bytes4(answer);
    }
}
