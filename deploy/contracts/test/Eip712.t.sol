// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {OperatorBond} from "../src/OperatorBond.sol";
import {CreditStep, SlaTerms, Verdict} from "../src/SlaTerms.sol";
import {EpochStatement, StreamStatement} from "../src/Statements.sol";
import {TypedData} from "./util/TypedData.sol";

/// What the contracts take for signed is what a wallet would sign: every message is hashed by the
/// contract and by forge's implementation of EIP-712, which is written in Rust.
contract Eip712Test is TypedData {
    ExitEscrow private escrow;
    OperatorBond private bond;

    function setUp() public {
        escrow = new ExitEscrow();
        bond = new OperatorBond();
        vm.chainId(31_337);
    }

    function testFuzz_vouchers(ExitEscrow.Voucher memory voucher) public view {
        same(escrow.voucherDigest(voucher), digestOf(address(escrow), voucher));
    }

    function testFuzz_statements_about_streams(StreamStatement memory statement) public view {
        same(bond.streamDigest(statement), digestOf(address(bond), statement));
    }

    function testFuzz_statements_about_epochs(EpochStatement memory statement) public view {
        same(bond.epochDigest(statement), digestOf(address(bond), statement));
    }

    function testFuzz_verdicts(Verdict memory verdict) public view {
        same(bond.verdictDigest(verdict), digestOf(address(bond), verdict));
    }

    /// forge-config: default.fuzz.runs = 128
    function testFuzz_terms(SlaTerms memory terms, uint8 steps, uint8 measurers) public view {
        CreditStep[] memory credits = new CreditStep[](steps % 5);
        for (uint256 i = 0; i < credits.length && i < terms.credits.length; ++i) {
            credits[i] = terms.credits[i];
        }
        address[] memory keys = new address[](measurers % 5);
        for (uint256 i = 0; i < keys.length && i < terms.measurers.length; ++i) {
            keys[i] = terms.measurers[i];
        }
        (terms.credits, terms.measurers) = (credits, keys);
        same(bond.slaIdOf(terms), digestOf(address(bond), terms));
    }

    /// The messages of the two contracts can't be taken for each other.
    function test_all_types_differ() public view {
        bytes32[6] memory digests;
        SlaTerms memory terms;
        digests[0] = bond.slaIdOf(terms);
        digests[1] = bond.verdictDigest(Verdict(0, 0, 0, 0, 0));
        digests[2] = bond.streamDigest(StreamStatement(0, 0, 0));
        digests[3] = bond.epochDigest(EpochStatement(0, 0, 0));
        digests[4] = escrow.voucherDigest(ExitEscrow.Voucher(0, 0, 0, 0, 0));
        digests[5] = escrow.domainSeparator() ^ bond.domainSeparator();
        for (uint256 i = 0; i < 6; ++i) {
            vm.assertTrue(digests[i] != 0, "zero");
            for (uint256 j = i + 1; j < 6; ++j) {
                vm.assertTrue(digests[i] != digests[j], "the same");
            }
        }
    }

    function same(bytes32 ofContract, bytes32 ofForge) private pure {
        vm.assertEq(ofContract, ofForge, "digest");
    }
}
