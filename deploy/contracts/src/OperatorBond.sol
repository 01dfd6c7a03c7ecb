// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ServiceLevels} from "./ServiceLevels.sol";
import {Signatures} from "./Signatures.sol";
import {Stakes} from "./Stakes.sol";

/// @title OperatorBond: what operators put behind their word.
/// @notice Stakes answer for contradictions, and for nothing else; bonds of service-level
/// agreements answer for bad periods, up to the fee. Immutable, without an owner, for any ERC-20
/// with fixed balances. The two kinds of money never mix.
contract OperatorBond is Stakes, ServiceLevels {
    /// The EIP-712 domain separator, of statements, terms and verdicts.
    function domainSeparator() public view override(Stakes, ServiceLevels) returns (bytes32) {
        return Signatures.domain(keccak256("Weir OperatorBond"));
    }
}
