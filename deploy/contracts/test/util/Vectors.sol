// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {CreditStep, SlaTerms} from "../../src/SlaTerms.sol";
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

    function termsOf(string memory row) internal pure returns (SlaTerms memory terms) {
        terms.payer = vm.parseJsonAddress(row, ".payer");
        terms.operator = vm.parseJsonAddress(row, ".operator");
        terms.payout = vm.parseJsonAddress(row, ".payout");
        terms.token = vm.parseJsonAddress(row, ".token");
        terms.channelId = vm.parseJsonBytes32(row, ".channelId");
        terms.committedKbps = number64(row, ".committedKbps");
        terms.burstKbps = number64(row, ".burstKbps");
        terms.availabilityPpm = number32(row, ".availabilityPpm");
        terms.rttP95Us = number32(row, ".rttP95Us");
        terms.lossPpm = number32(row, ".lossPpm");
        terms.references = vm.parseJsonBytes32(row, ".references");
        terms.maintenance = vm.parseJsonBytes32(row, ".maintenance");
        terms.start = number64(row, ".start");
        terms.periodSeconds = number32(row, ".periodSeconds");
        terms.periods = number32(row, ".periods");
        terms.intervalSeconds = number32(row, ".intervalSeconds");
        terms.claimSeconds = number32(row, ".claimSeconds");
        terms.fee = number128(row, ".fee");
        terms.bond = number128(row, ".bond");
        uint256[] memory below = vm.parseJsonUintArray(row, ".creditsBelow");
        uint256[] memory credits = vm.parseJsonUintArray(row, ".creditsPpm");
        terms.credits = new CreditStep[](credits.length);
        for (uint256 i = 0; i < credits.length; ++i) {
            terms.credits[i] = CreditStep(narrow32(below[i]), narrow32(credits[i]));
        }
        terms.measurers = vm.parseJsonAddressArray(row, ".measurers");
        terms.threshold = number32(row, ".threshold");
        terms.arbiter = vm.parseJsonAddress(row, ".arbiter");
        terms.salt = vm.parseJsonBytes32(row, ".salt");
    }
}
