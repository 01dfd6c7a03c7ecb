// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OperatorBond} from "../src/OperatorBond.sol";
import {SlaTerms, Verdict} from "../src/SlaTerms.sol";
import {Stakes} from "../src/Stakes.sol";
import {EpochStatement, StreamStatement} from "../src/Statements.sol";
import {Vectors} from "./util/Vectors.sol";

/// The messages of the bond are in Rust what they are here: see RustVectors.t.sol.
contract BondVectorsTest is Vectors {
    OperatorBond private bond;
    bytes32 private separator;

    function setUp() public {
        string memory row = vm.readLine("out/vectors/bond.jsonl");
        vm.closeFile("out/vectors/bond.jsonl");
        bond = OperatorBond(vm.parseJsonAddress(row, ".bond"));
        vm.etch(address(bond), address(new OperatorBond()).code);
        vm.chainId(vm.parseJsonUint(row, ".chainId"));
        separator = vm.parseJsonBytes32(row, ".separator");
    }

    function test_the_domain_separators_agree() public view {
        vm.assertEq(bond.domainSeparator(), separator, "domain separator");
    }

    function test_agreements_and_their_credits_agree() public view {
        uint256 count = 0;
        string memory row = vm.readLine("out/vectors/terms.jsonl");
        for (; bytes(row).length != 0; ++count) {
            SlaTerms memory terms = termsOf(row);
            vm.assertEq(bond.slaIdOf(terms), vm.parseJsonBytes32(row, ".slaId"), "agreement");
            (uint256 begins, uint256 ends) = bond.periodOf(terms, number32(row, ".period"));
            vm.assertEq(begins, vm.parseJsonUint(row, ".begins"), "begins");
            vm.assertEq(ends, vm.parseJsonUint(row, ".ends"), "ends");
            uint128 credit = bond.creditOf(
                terms, vm.parseJsonUint(row, ".intervals"), vm.parseJsonUint(row, ".bad")
            );
            vm.assertEq(credit, vm.parseJsonUint(row, ".credit"), "credit");
            row = vm.readLine("out/vectors/terms.jsonl");
        }
        vm.assertLe(MIN_ROWS, count, "terms");
    }

    function test_verdicts_agree() public view {
        uint256 count = 0;
        string memory row = vm.readLine("out/vectors/verdicts.jsonl");
        for (; bytes(row).length != 0; ++count) {
            bytes32 digest = bond.verdictDigest(
                Verdict({
                    slaId: vm.parseJsonBytes32(row, ".slaId"),
                    period: number32(row, ".period"),
                    good: number32(row, ".good"),
                    bad: number32(row, ".bad"),
                    evidence: vm.parseJsonBytes32(row, ".evidence")
                })
            );
            vm.assertEq(digest, vm.parseJsonBytes32(row, ".digest"), "digest");
            row = vm.readLine("out/vectors/verdicts.jsonl");
        }
        vm.assertLe(MIN_ROWS, count, "verdicts");
    }

    function test_statements_about_records_agree() public view {
        uint256 count = 0;
        string memory row = vm.readLine("out/vectors/streams.jsonl");
        for (; bytes(row).length != 0; ++count) {
            StreamStatement memory said = StreamStatement({
                stream: vm.parseJsonBytes32(row, ".stream"),
                seq: number64(row, ".seq"),
                content: vm.parseJsonBytes32(row, ".content")
            });
            isSigned(row, bond.streamDigest(said), bond.subjectOf(said));
            row = vm.readLine("out/vectors/streams.jsonl");
        }
        vm.assertLe(MIN_ROWS, count, "streams");
    }

    function test_statements_about_epochs_agree() public view {
        uint256 count = 0;
        string memory row = vm.readLine("out/vectors/epochs.jsonl");
        for (; bytes(row).length != 0; ++count) {
            EpochStatement memory said = EpochStatement({
                epoch: number64(row, ".epoch"),
                root: vm.parseJsonBytes32(row, ".root"),
                total: number128(row, ".total")
            });
            isSigned(row, bond.epochDigest(said), bond.subjectOfEpoch(said));
            row = vm.readLine("out/vectors/epochs.jsonl");
        }
        vm.assertLe(MIN_ROWS, count, "epochs");
    }

    function test_stakes_and_commitments_agree() public view {
        uint256 count = 0;
        string memory row = vm.readLine("out/vectors/stakes.jsonl");
        for (; bytes(row).length != 0; ++count) {
            bytes32 id = bond.stakeIdOf(
                Stakes.StakeTerms({
                    operator: vm.parseJsonAddress(row, ".operator"),
                    signer: vm.parseJsonAddress(row, ".signer"),
                    payout: vm.parseJsonAddress(row, ".payout"),
                    token: vm.parseJsonAddress(row, ".token"),
                    unbondDelay: number64(row, ".unbondDelay"),
                    committedKbps: number64(row, ".committedKbps"),
                    availabilityPpm: number32(row, ".availabilityPpm"),
                    salt: vm.parseJsonBytes32(row, ".salt")
                })
            );
            vm.assertEq(id, vm.parseJsonBytes32(row, ".id"), "stake");
            bytes32 commitment = bond.reportCommitment(
                vm.parseJsonAddress(row, ".reporter"),
                id,
                vm.parseJsonBytes32(row, ".subject"),
                vm.parseJsonBytes32(row, ".secret")
            );
            vm.assertEq(commitment, vm.parseJsonBytes32(row, ".commitment"), "commitment");
            row = vm.readLine("out/vectors/stakes.jsonl");
        }
        vm.assertLe(MIN_ROWS, count, "stakes");
    }

    function isSigned(string memory row, bytes32 digest, bytes32 subject) private pure {
        vm.assertEq(digest, vm.parseJsonBytes32(row, ".digest"), "digest");
        vm.assertEq(subject, vm.parseJsonBytes32(row, ".subject"), "subject");
        bytes memory signature = vm.parseJsonBytes(row, ".signature");
        vm.assertEq(signature.length, 65, "length");
        bytes32 r;
        bytes32 s;
        uint8 v = uint8(signature[64]);
        assembly ("memory-safe") {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
        }
        vm.assertEq(ecrecover(digest, v, r, s), vm.parseJsonAddress(row, ".signer"), "signer");
    }
}
