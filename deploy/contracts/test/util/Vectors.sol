// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Test} from "./Test.sol";

/// Numbers of the rows that Rust wrote.
abstract contract Vectors is Test {
    /// Fewer rows than this mean that the files weren't written in full.
    uint256 internal constant MIN_ROWS = 32;

    function number32(string memory row, string memory key) internal pure returns (uint32) {
        return narrow32(vm.parseJsonUint(row, key));
    }

    function number64(string memory row, string memory key) internal pure returns (uint64) {
        uint256 value = vm.parseJsonUint(row, key);
        require(value <= type(uint64).max, key);
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint64(value);
    }

    function number128(string memory row, string memory key) internal pure returns (uint128) {
        return narrow128(vm.parseJsonUint(row, key));
    }

    function narrow32(uint256 value) internal pure returns (uint32) {
        require(value <= type(uint32).max, "not 32 bits");
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint32(value);
    }

    function narrow128(uint256 value) internal pure returns (uint128) {
        require(value <= type(uint128).max, "not an amount");
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint128(value);
    }
}
