// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

interface IERC20 {
    function balanceOf(address owner) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @title Moves ERC-20 tokens and believes only what it can check.
/// @dev Takes tokens that return nothing (USDT) as well as those that return a boolean.
library TokenTransfer {
    /// The token call reverted, returned false, or there is no contract at the address.
    error TransferFailed(address token);
    /// The balance grew by something else than the amount: a fee on transfer, or a rebase.
    error TransferInexact(address token, uint256 expected, uint256 received);

    /// Takes exactly `amount` from `from`, or reverts.
    function pull(address token, address from, uint256 amount) internal {
        uint256 before = IERC20(token).balanceOf(address(this));
        _call(token, abi.encodeCall(IERC20.transferFrom, (from, address(this), amount)));
        uint256 balance = IERC20(token).balanceOf(address(this));
        uint256 received = balance < before ? 0 : balance - before;
        if (received != amount) revert TransferInexact(token, amount, received);
    }

    /// Sends `amount` to `to`, or reverts.
    function push(address token, address to, uint256 amount) internal {
        _call(token, abi.encodeCall(IERC20.transfer, (to, amount)));
    }

    function _call(address token, bytes memory data) private {
        (bool ok, bytes memory result) = token.call(data);
        if (!ok || token.code.length == 0) revert TransferFailed(token);
        if (result.length != 0) {
            if (result.length < 32 || abi.decode(result, (uint256)) != 1) {
                revert TransferFailed(token);
            }
        }
    }
}
