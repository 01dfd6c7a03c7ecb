// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title One lock for all functions that call a token.
abstract contract Locked {
    error Reentered();

    bool private transient _locked;

    /// A token that is called can't re-enter any function that holds the lock.
    modifier locked() {
        if (_locked) revert Reentered();
        _locked = true;
        _;
        _locked = false;
    }
}
