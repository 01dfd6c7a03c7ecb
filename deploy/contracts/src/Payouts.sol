// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Locked} from "./Locked.sol";
import {TokenTransfer} from "./TokenTransfer.sol";

/// @title What is owed to whom, until it is fetched.
/// @notice Every payment is booked first and fetched later, so that an account that a token has
/// frozen, or a token that refuses an account, never stops a slash, a credit or a closing.
abstract contract Payouts is Locked {
    using TokenTransfer for address;

    event PaidOut(address indexed account, address indexed token, uint256 amount);

    error NothingOwed();
    error BadToken();
    error ZeroAmount();

    /// Booked and not yet paid out.
    mapping(address account => mapping(address token => uint256)) public owed;

    /// Pays out everything that is owed to `account` in `token`; anybody may call.
    function payOut(address account, address token) external locked returns (uint256 amount) {
        amount = owed[account][token];
        if (amount == 0) revert NothingOwed();
        owed[account][token] = 0;
        emit PaidOut(account, token, amount);
        token.push(account, amount);
    }

    function _owe(address account, address token, uint256 amount) internal {
        if (amount != 0) owed[account][token] += amount;
    }

    /// Takes exactly `amount` from msg.sender. Callers hold the lock.
    function _take(address token, uint128 amount) internal {
        if (amount == 0) revert ZeroAmount();
        token.pull(msg.sender, amount);
    }
}
