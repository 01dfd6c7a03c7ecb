// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../lab/TestToken.sol";
import {OperatorBond} from "../src/OperatorBond.sol";
import {SlaTerms, Verdict} from "../src/SlaTerms.sol";
import {Vectors} from "./util/Vectors.sol";

/// What Rust says of a verdict is what the contract does with it: pays so much, or refuses.
contract JudgedVectorsTest is Vectors {
    OperatorBond private bond;
    TestToken private token;

    function setUp() public {
        string memory row = vm.readLine("out/vectors/bond.jsonl");
        vm.closeFile("out/vectors/bond.jsonl");
        bond = OperatorBond(vm.parseJsonAddress(row, ".bond"));
        vm.etch(address(bond), address(new OperatorBond()).code);
        vm.chainId(vm.parseJsonUint(row, ".chainId"));
        token = TestToken(vm.parseJsonAddress(row, ".token"));
        vm.etch(address(token), address(new TestToken()).code);
        token.mint(address(this), type(uint128).max);
        token.approve(address(bond), type(uint128).max);
    }

    function test_verdicts_are_paid_or_refused_as_rust_says() public {
        (uint256 refused, uint256 paid, uint256 nothing) = (0, 0, 0);
        string memory row = vm.readLine("out/vectors/judged.jsonl");
        while (bytes(row).length != 0) {
            uint256 due = vm.parseJsonUint(row, ".paid");
            if (!isPaid(row, due)) ++refused;
            else if (due == 0) ++nothing;
            else ++paid;
            row = vm.readLine("out/vectors/judged.jsonl");
        }
        // All three happen, and often.
        vm.assertLe(MIN_ROWS / 4, refused, "refused");
        vm.assertLe(MIN_ROWS / 4, paid, "paid");
        vm.assertLe(1, nothing, "nothing owed");
    }

    function isPaid(string memory row, uint256 due) private returns (bool agreed) {
        SlaTerms memory terms = termsOf(row);
        Verdict memory verdict = Verdict({
            slaId: vm.parseJsonBytes32(row, ".slaId"),
            period: number32(row, ".period"),
            good: number32(row, ".good"),
            bad: number32(row, ".bad"),
            evidence: vm.parseJsonBytes32(row, ".evidence")
        });
        // Agreements may not begin in a future that is too far away.
        vm.warp(terms.start);
        bond.openSla(
            terms,
            vm.parseJsonBytes(row, ".payerSignature"),
            vm.parseJsonBytes(row, ".operatorSignature")
        );
        bytes[] memory signatures = vm.parseJsonBytesArray(row, ".signatures");
        uint256 ends = vm.parseJsonUint(row, ".ends");
        agreed = vm.parseJsonBool(row, ".agreed");

        vm.warp(ends - 1);
        try bond.applyCredit(terms, verdict, signatures) returns (uint128) {
            vm.assertTrue(false, "judged before it was over");
        } catch {}
        vm.warp(ends);
        try bond.applyCredit(terms, verdict, signatures) returns (uint128 amount) {
            vm.assertTrue(agreed, "the contract takes what Rust refuses");
            vm.assertEq(amount, due, "paid");
        } catch {
            vm.assertTrue(!agreed, "the contract refuses what Rust takes");
        }
    }
}
