// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ServiceLevels} from "../src/ServiceLevels.sol";
import {Signatures} from "../src/Signatures.sol";
import {SlaTerms, Verdict} from "../src/SlaTerms.sol";
import {BondFixture} from "./util/BondFixture.sol";

/// Whose signatures make a verdict.
contract SlaVerdictTest is BondFixture {
    bytes32 private id;
    Verdict private verdict;
    bytes32 private digest;

    function setUp() public override {
        super.setUp();
        SlaTerms memory fresh = slaTerms();
        id = openSla(fresh);
        vm.warp(MARCH + 31 days);
        verdict = verdictOf(id, 0, 44_640);
        digest = bond.verdictDigest(verdict);
    }

    function test_two_of_payer_operator_and_arbiter_agree() public {
        accepted(signedBy(PAYER_KEY, OPERATOR_KEY, digest));
    }

    function test_the_arbiter_decides_with_the_payer() public {
        accepted(signedBy(PAYER_KEY, ARBITER_KEY, digest));
    }

    function test_the_arbiter_decides_with_the_operator() public {
        accepted(signedBy(OPERATOR_KEY, ARBITER_KEY, digest));
    }

    function test_the_threshold_of_measurers_decides() public {
        accepted(signedBy(measurerKeys[0], measurerKeys[2], digest));
    }

    function test_fewer_decide_nothing() public {
        bytes[] memory one = new bytes[](1);
        uint256[4] memory keys = [PAYER_KEY, OPERATOR_KEY, ARBITER_KEY, measurerKeys[1]];
        for (uint256 i = 0; i < keys.length; ++i) {
            one[0] = sign(keys[i], digest);
            refused(one, notEnough(i < 3 ? 1 : 0, i < 3 ? 0 : 1));
        }
        refused(new bytes[](0), notEnough(0, 0));
        // A side and a measurer are neither two sides nor two measurers.
        refused(signedBy(PAYER_KEY, measurerKeys[0], digest), notEnough(1, 1));
        refused(signedBy(PAYER_KEY, STRANGER_KEY, digest), notEnough(1, 0));
    }

    function test_nobody_counts_twice() public {
        bytes[] memory twice = signedBy(PAYER_KEY, PAYER_KEY, digest);
        refused(twice, bad(1, Signatures.Flaw.None));
        twice = signedBy(measurerKeys[0], measurerKeys[0], digest);
        refused(twice, bad(1, Signatures.Flaw.None));
        // Nor by the malleable twin of his signature.
        twice[1] = twin(measurerKeys[0], digest);
        refused(twice, bad(1, Signatures.Flaw.HighS));
        bytes[] memory good = signedBy(PAYER_KEY, OPERATOR_KEY, digest);
        (good[0], good[1]) = (good[1], good[0]);
        refused(good, bad(1, Signatures.Flaw.None));
    }

    function test_a_signature_of_another_verdict_counts_for_nothing() public {
        Verdict memory other = verdict;
        other.bad -= 1;
        other.good += 1;
        bytes[] memory signatures = signedBy(PAYER_KEY, OPERATOR_KEY, bond.verdictDigest(other));
        vm.expectRevert();
        bond.applyCredit(slaTerms(), verdict, signatures);
        (,, bool made,) = bond.judgements(id, 0);
        vm.assertTrue(!made, "judged");
    }

    /// An agreement without an arbiter has the zero address there, which signs nothing.
    function test_no_arbiter_is_nobody() public {
        SlaTerms memory alone = slaTerms();
        alone.arbiter = address(0);
        verdict.slaId = openSla(alone);
        bytes[] memory signatures = new bytes[](2);
        signatures[0] = abi.encodePacked(bytes32(0), bytes32(0), uint8(27));
        signatures[1] = sign(PAYER_KEY, bond.verdictDigest(verdict));
        vm.expectRevert(bad(0, Signatures.Flaw.Nobody));
        bond.applyCredit(alone, verdict, signatures);
    }

    function test_terms_that_make_no_sense_are_refused() public {
        SlaTerms memory t = slaTerms();
        t.operator = t.payer;
        senseless(t, "payer is operator");
        t = slaTerms();
        t.payer = address(0);
        senseless(t, "payer, operator");
        t = slaTerms();
        t.arbiter = payer;
        senseless(t, "arbiter");
        t.arbiter = operator;
        senseless(t, "arbiter");
        t = slaTerms();
        t.payout = address(bond);
        senseless(t, "payout");
        t = slaTerms();
        t.token = address(0xDEAD);
        senseless(t, "token");
        t = slaTerms();
        t.fee = 0;
        senseless(t, "fee, bond");
        t = slaTerms();
        t.availabilityPpm = 1_000_001;
        senseless(t, "availabilityPpm, lossPpm");
        t = slaTerms();
        t.claimSeconds = 1 days - 1;
        senseless(t, "claimSeconds");
    }

    function test_periods_that_make_no_sense_are_refused() public {
        SlaTerms memory t = slaTerms();
        t.periods = 0;
        senseless(t, "periods");
        t.periods = 121;
        senseless(t, "periods");
        t = slaTerms();
        t.intervalSeconds = 0;
        senseless(t, "intervalSeconds");
        t.intervalSeconds = 61;
        senseless(t, "intervalSeconds");
        t = slaTerms();
        t.start += 1;
        senseless(t, "start of a month");
        t = slaTerms();
        t.start = type(uint64).max;
        senseless(t, "start");
        t = slaTerms();
        t.periodSeconds = 90;
        senseless(t, "intervalSeconds");
        t.periodSeconds = 366 days * 4;
        senseless(t, "periodSeconds");
    }

    function test_credits_and_measurers_that_make_no_sense_are_refused() public {
        SlaTerms memory t = slaTerms();
        t.credits[0].belowPpm = 999_001;
        senseless(t, "credits");
        t = slaTerms();
        t.credits[1].creditPpm = 100_000;
        senseless(t, "credits");
        t = slaTerms();
        t.credits[2].creditPpm = 1_000_001;
        senseless(t, "credits");
        t = slaTerms();
        t.credits[2].belowPpm = 0;
        senseless(t, "credits");
        t = slaTerms();
        (t.measurers[0], t.measurers[1]) = (t.measurers[1], t.measurers[0]);
        senseless(t, "measurers");
        t = slaTerms();
        t.measurers[1] = t.measurers[0];
        senseless(t, "measurers");
        t = slaTerms();
        t.threshold = 1;
        senseless(t, "threshold");
        t.threshold = 4;
        senseless(t, "threshold");
        t.measurers = new address[](0);
        t.threshold = 1;
        senseless(t, "threshold");
    }

    /// A threshold of one and a measurer that is a side would let that side judge alone.
    function test_neither_side_nor_arbiter_measures() public {
        SlaTerms memory t = slaTerms();
        t.measurers = new address[](1);
        t.threshold = 1;
        address[3] memory parties = [payer, operator, t.arbiter];
        for (uint256 i = 0; i < 3; ++i) {
            t.measurers[0] = parties[i];
            senseless(t, "measurers");
        }
    }

    function accepted(bytes[] memory signatures) private {
        vm.prank(ANYBODY);
        vm.assertEq(bond.applyCredit(slaTerms(), verdict, signatures), FEE, "credit");
    }

    function refused(bytes[] memory signatures, bytes memory why) private {
        vm.expectRevert(why);
        bond.applyCredit(slaTerms(), verdict, signatures);
    }

    function senseless(SlaTerms memory t, string memory term) private {
        bytes32 name = bond.slaIdOf(t);
        bytes memory ofPayer = sign(PAYER_KEY, name);
        bytes memory ofOperator = sign(OPERATOR_KEY, name);
        vm.expectRevert(abi.encodeWithSelector(ServiceLevels.BadTerms.selector, term));
        vm.prank(operator);
        bond.openSla(t, ofPayer, ofOperator);
    }

    function notEnough(uint256 sides, uint256 measurers) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ServiceLevels.NotEnoughSignatures.selector, sides, measurers);
    }

    function bad(uint256 index, Signatures.Flaw flaw) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ServiceLevels.BadSignature.selector, index, flaw);
    }
}
