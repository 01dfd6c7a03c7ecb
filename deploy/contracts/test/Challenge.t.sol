// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {UsageAnchor} from "../src/UsageAnchor.sol";
import {Test} from "./util/Test.sol";

/// Takes no coins.
contract Refuser {
    function challenge(UsageAnchor anchor, address exit) external payable returns (uint256) {
        return anchor.challengeLeaf{value: msg.value}(exit, 1);
    }
}

/// Fetches its fees again while it is paid.
contract Greedy {
    UsageAnchor private immutable anchor;
    bool public again;

    constructor(UsageAnchor anchor_) {
        anchor = anchor_;
    }

    function challenge(address exit) external payable returns (uint256) {
        return anchor.challengeLeaf{value: msg.value}(exit, 1);
    }

    receive() external payable {
        (again,) = address(anchor).call(abi.encodeCall(anchor.payFees, (address(this))));
    }
}

contract ChallengeTest is Test {
    uint64 private constant LEAVES = 11;
    address private constant EXIT = address(0xE817);
    address private constant AUDITOR = address(0xA0D);

    UsageAnchor private anchor;

    function setUp() public {
        anchor = new UsageAnchor();
        vm.warp(1_000_000);
        vm.roll(100);
        vm.fee(1 gwei);
        vm.deal(AUDITOR, 1 ether);
        (bytes32 hash, uint128 sum) = subtree(0, LEAVES);
        vm.prank(EXIT);
        anchor.anchor(1, keccak256(abi.encodePacked(uint8(2), hash, sum, LEAVES)), sum);
    }

    function test_the_exit_shows_the_leaf_that_chance_picked() public {
        uint256 id = challenge(1);
        (uint64 index, uint256 fee) = picked(id);
        UsageAnchor.Node[] memory siblings = proof(index, 0, LEAVES);
        vm.expectEmit(address(anchor));
        emit UsageAnchor.LeafShown(id, EXIT, 1, index, LEAVES, leafHash(index), leafSum(index));
        anchor.answerLeaf(id, leafHash(index), leafSum(index), LEAVES, siblings);
        record(1, 1, 0);
        vm.assertEq(anchor.owed(EXIT), fee, "the fee is the exit's");
        anchor.payFees(EXIT);
        vm.assertEq(EXIT.balance, fee, "paid");
        vm.expectRevert(abi.encodeWithSelector(UsageAnchor.NotOpen.selector, id));
        anchor.answerLeaf(id, leafHash(index), leafSum(index), LEAVES, siblings);
        vm.expectRevert(abi.encodeWithSelector(UsageAnchor.NothingOwed.selector));
        anchor.payFees(EXIT);
    }

    /// Every leaf can be picked, and only the picked one answers.
    function testFuzz_only_the_picked_leaf_answers(bytes32 randomness, uint64 shown) public {
        vm.prevrandao(randomness);
        uint256 id = challenge(1);
        (uint64 index,) = picked(id);
        shown = uint64(bound(shown, 0, LEAVES - 1));
        UsageAnchor.Node[] memory siblings = proof(shown, 0, LEAVES);
        bytes memory wrong = abi.encodeWithSelector(UsageAnchor.NotThatLeaf.selector);
        if (shown != index) vm.expectRevert(wrong);
        anchor.answerLeaf(id, leafHash(shown), leafSum(shown), LEAVES, siblings);
        record(1, shown == index ? 1 : 0, 0);
    }

    /// The root says how many leaves there are; otherwise the exit could choose a count for which
    /// the leaf that it likes is picked.
    function testFuzz_another_count_answers_nothing(bytes32 randomness, uint64 leaves) public {
        if (leaves == LEAVES) return;
        vm.prevrandao(randomness);
        uint256 id = challenge(1);
        (,,,,, bytes32 seed,) = anchor.challenges(id);
        uint64 index = leaves == 0 ? 0 : uint64(uint256(seed) % leaves) % LEAVES;
        UsageAnchor.Node[] memory siblings = proof(index, 0, LEAVES);
        vm.expectRevert(abi.encodeWithSelector(UsageAnchor.NotThatLeaf.selector));
        anchor.answerLeaf(id, leafHash(index), leafSum(index), leaves, siblings);
    }

    function test_an_epoch_without_usage_shows_that() public {
        bytes32 empty = keccak256(abi.encodePacked(uint8(2), bytes32(0), uint128(0), uint64(0)));
        vm.prank(EXIT);
        anchor.anchor(2, empty, 0);
        uint256 id = challenge(2);
        UsageAnchor.Node[] memory none = new UsageAnchor.Node[](0);
        bytes memory wrong = abi.encodeWithSelector(UsageAnchor.NotThatLeaf.selector);
        vm.expectRevert(wrong);
        anchor.answerLeaf(id, 0, 1, 0, none);
        anchor.answerLeaf(id, 0, 0, 0, none);
        record(1, 1, 0);
        // That answers no epoch that has leaves.
        id = challenge(1);
        vm.expectRevert(wrong);
        anchor.answerLeaf(id, 0, 0, 0, none);
    }

    function test_what_is_not_shown_in_time_is_recorded() public {
        uint256 id = challenge(1);
        (uint64 index, uint256 fee) = picked(id);
        (,,,, uint64 answerBy,,) = anchor.challenges(id);
        UsageAnchor.Node[] memory siblings = proof(index, 0, LEAVES);
        vm.warp(answerBy);
        vm.expectRevert(abi.encodeWithSelector(UsageAnchor.TooEarly.selector, answerBy));
        anchor.expireChallenge(id);
        vm.warp(uint256(answerBy) + 1);
        vm.expectRevert(abi.encodeWithSelector(UsageAnchor.TooLate.selector, answerBy));
        anchor.answerLeaf(id, leafHash(index), leafSum(index), LEAVES, siblings);
        vm.expectEmit(address(anchor));
        emit UsageAnchor.LeafNotShown(id, EXIT, 1);
        anchor.expireChallenge(id);
        record(1, 0, 1);
        vm.assertEq(anchor.owed(AUDITOR), fee, "the fee goes back");
        vm.expectRevert(abi.encodeWithSelector(UsageAnchor.NotOpen.selector, id));
        anchor.expireChallenge(id);
    }

    function test_an_answer_in_the_last_second_counts() public {
        uint256 id = challenge(1);
        (uint64 index,) = picked(id);
        (,,,, uint64 answerBy,,) = anchor.challenges(id);
        vm.warp(answerBy);
        UsageAnchor.Node[] memory siblings = proof(index, 0, LEAVES);
        anchor.answerLeaf(id, leafHash(index), leafSum(index), LEAVES, siblings);
        record(1, 1, 0);
    }

    /// Without a fee, anybody could have an exit spend gas without end.
    function test_a_challenge_pays_for_its_answer() public {
        uint256 min = anchor.answerFee();
        vm.assertEq(min, 1 gwei * anchor.ANSWER_GAS(), "fee");
        vm.expectRevert(abi.encodeWithSelector(UsageAnchor.FeeTooLow.selector, min - 1, min));
        vm.prank(AUDITOR);
        anchor.challengeLeaf{value: min - 1}(EXIT, 1);
        vm.expectRevert(abi.encodeWithSelector(UsageAnchor.NotAnchored.selector, EXIT, 9));
        vm.prank(AUDITOR);
        anchor.challengeLeaf{value: min}(EXIT, 9);
    }

    function test_two_challenges_of_one_block_pick_apart() public {
        (uint256 one, uint256 other) = (challenge(1), challenge(1));
        (,,,,, bytes32 first,) = anchor.challenges(one);
        (,,,,, bytes32 second,) = anchor.challenges(other);
        vm.assertTrue(first != second, "seeds");
    }

    function test_who_takes_no_coins_stops_nobody() public {
        Refuser refuser = new Refuser();
        uint256 id = refuser.challenge{value: 1 ether}(anchor, EXIT);
        uint256 other = challenge(1);
        vm.warp(vm.getBlockTimestamp() + 4 days);
        anchor.expireChallenge(id);
        anchor.expireChallenge(other);
        vm.expectRevert(
            abi.encodeWithSelector(UsageAnchor.PaymentFailed.selector, address(refuser))
        );
        anchor.payFees(address(refuser));
        anchor.payFees(AUDITOR);
        vm.assertEq(AUDITOR.balance, 1 ether, "the others are paid");
    }

    function test_fees_are_paid_once_however_the_account_calls_back() public {
        Greedy greedy = new Greedy(anchor);
        uint256 id = greedy.challenge{value: 1 ether}(EXIT);
        challenge(1);
        vm.warp(vm.getBlockTimestamp() + 4 days);
        anchor.expireChallenge(id);
        anchor.payFees(address(greedy));
        vm.assertTrue(!greedy.again(), "paid again");
        vm.assertEq(address(greedy).balance, 1 ether, "once");
        vm.assertEq(address(anchor).balance, anchor.answerFee(), "the other fee is there");
    }

    // ---------------------------------------------------------------- a tree of eleven leaves

    function challenge(uint64 epoch) private returns (uint256) {
        uint256 fee = anchor.answerFee();
        vm.prank(AUDITOR);
        return anchor.challengeLeaf{value: fee}(EXIT, epoch);
    }

    function picked(uint256 id) private view returns (uint64 index, uint256 fee) {
        bytes32 seed;
        (,,,,, seed, fee) = anchor.challenges(id);
        index = uint64(uint256(seed) % LEAVES);
    }

    function record(uint64 challenged, uint64 answered, uint64 unanswered) private view {
        (uint64 a, uint64 b, uint64 c) = anchor.records(EXIT);
        vm.assertEq(a, challenged, "challenged");
        vm.assertEq(b, answered, "answered");
        vm.assertEq(c, unanswered, "unanswered");
    }

    function leafHash(uint64 index) private pure returns (bytes32) {
        return keccak256(abi.encode("leaf", index));
    }

    function leafSum(uint64 index) private pure returns (uint128) {
        return 1_000 + index;
    }

    /// The top of the leaves [from, to), by the recursion of RFC 6962.
    function subtree(uint64 from, uint64 to) private pure returns (bytes32 hash, uint128 sum) {
        if (to - from == 1) {
            sum = leafSum(from);
            return (keccak256(abi.encodePacked(uint8(0), leafHash(from), sum)), sum);
        }
        uint64 half = splitOf(to - from);
        (bytes32 left, uint128 leftSum) = subtree(from, from + half);
        (bytes32 right, uint128 rightSum) = subtree(from + half, to);
        hash = keccak256(abi.encodePacked(uint8(1), left, leftSum, right, rightSum));
        sum = leftSum + rightSum;
    }

    function proof(uint64 index, uint64 from, uint64 to)
        private
        pure
        returns (UsageAnchor.Node[] memory siblings)
    {
        if (to - from == 1) return new UsageAnchor.Node[](0);
        uint64 middle = from + splitOf(to - from);
        bool left = index < middle;
        UsageAnchor.Node[] memory below =
            left ? proof(index, from, middle) : proof(index, middle, to);
        (bytes32 hash, uint128 sum) = left ? subtree(middle, to) : subtree(from, middle);
        siblings = new UsageAnchor.Node[](below.length + 1);
        for (uint256 i = 0; i < below.length; ++i) {
            siblings[i] = below[i];
        }
        siblings[below.length] = UsageAnchor.Node(hash, sum);
    }

    /// The largest power of two below `count`.
    function splitOf(uint64 count) private pure returns (uint64 half) {
        half = 1;
        while (half * 2 < count) half *= 2;
    }
}
