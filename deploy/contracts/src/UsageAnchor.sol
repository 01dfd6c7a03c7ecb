// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title UsageAnchor: exits commit to the usage of an epoch, once, and show random leaves of it.
/// @notice An anchor can't be changed. It holds the root of a Merkle-sum tree over the usage
/// records of the epoch and their total, so that one record can be shown to be (or not to be) what
/// the exit committed to, without the others. Anybody can have a leaf picked by chance; an exit
/// that doesn't show it in time has that on its record, and loses nothing else.
contract UsageAnchor {
    struct Node {
        bytes32 hash;
        uint128 sum;
    }

    enum State {
        None,
        Open,
        Answered,
        Unanswered
    }

    struct Challenge {
        address exit;
        uint64 epoch;
        State state;
        address challenger;
        /// Unix time up to which an answer counts.
        uint64 answerBy;
        /// The leaf to show is number seed % leaves.
        bytes32 seed;
        /// Pays for the gas of an answer: the exit's when it answers, else the challenger's again.
        uint256 fee;
    }

    /// How many challenges of an exit ended how; what is missing from the first is open.
    struct Record {
        uint64 challenged;
        uint64 answered;
        uint64 unanswered;
    }

    event Anchored(address indexed exit, uint64 indexed epoch, bytes32 root, uint128 total);
    event LeafChallenged(
        uint256 indexed challengeId,
        address indexed exit,
        uint64 indexed epoch,
        address challenger,
        bytes32 seed,
        uint64 answerBy
    );
    event LeafShown(
        uint256 indexed challengeId,
        address indexed exit,
        uint64 indexed epoch,
        uint64 index,
        uint64 leaves,
        bytes32 hash,
        uint128 sum
    );
    event LeafNotShown(uint256 indexed challengeId, address indexed exit, uint64 indexed epoch);
    event FeesPaid(address indexed account, uint256 amount);

    error ZeroRoot();
    /// The exit has committed to other values for this epoch.
    error AnchorConflict(address exit, uint64 epoch);
    error NotAnchored(address exit, uint64 epoch);
    error FeeTooLow(uint256 fee, uint256 min);
    error NotOpen(uint256 challengeId);
    error TooLate(uint64 answerBy);
    error TooEarly(uint64 answerBy);
    error NotThatLeaf();
    error NothingOwed();
    error PaymentFailed(address account);

    /// The exit's time to answer: longer than an outage, shorter than records are kept.
    uint64 public constant ANSWER_SECONDS = 3 days;
    /// What an answer for a tree of 65,536 leaves takes, with some to spare.
    uint256 public constant ANSWER_GAS = 200_000;

    /// keccak256(abi.encode(root, total)), or 0. The values are in the event.
    mapping(address exit => mapping(uint64 epoch => bytes32)) public commitments;
    /// Numbered from 1.
    mapping(uint256 challengeId => Challenge) public challenges;
    uint256 public challengeCount;
    mapping(address exit => Record) public records;
    /// Fees to be fetched, in the chain's coin.
    mapping(address account => uint256) public owed;

    /// Commits msg.sender to `root` and `total` for `epoch`. Repeating it changes nothing, so a
    /// transaction whose fate is unknown can be sent again; other values revert.
    function anchor(uint64 epoch, bytes32 root, uint128 total) external {
        if (root == 0) revert ZeroRoot();
        bytes32 commitment = _commitment(root, total);
        bytes32 existing = commitments[msg.sender][epoch];
        if (existing == commitment) return;
        if (existing != 0) revert AnchorConflict(msg.sender, epoch);
        commitments[msg.sender][epoch] = commitment;
        emit Anchored(msg.sender, epoch, root, total);
    }

    // ---------------------------------------------------------------- challenges

    /// Has a leaf of an anchored epoch picked by chance. The fee is `answerFee()` at least: without
    /// one, anybody could have an exit spend as much gas as he likes.
    /// @dev A block's randomness is known when the block is made, so a challenge in the anchor's
    /// own block shows nothing; one in any later block can't have been foreseen by the exit.
    function challengeLeaf(address exit, uint64 epoch)
        external
        payable
        returns (uint256 challengeId)
    {
        if (commitments[exit][epoch] == 0) revert NotAnchored(exit, epoch);
        if (msg.value < answerFee()) revert FeeTooLow(msg.value, answerFee());
        challengeId = ++challengeCount;
        // Some rollups have a constant prevrandao, and none of them a constant block hash.
        bytes32 seed = keccak256(
            abi.encode(block.prevrandao, blockhash(block.number - 1), challengeId, exit, epoch)
        );
        uint64 answerBy = uint64(block.timestamp) + ANSWER_SECONDS;
        challenges[challengeId] =
            Challenge(exit, epoch, State.Open, msg.sender, answerBy, seed, msg.value);
        records[exit].challenged += 1;
        emit LeafChallenged(challengeId, exit, epoch, msg.sender, seed, answerBy);
    }

    /// Shows the leaf that was picked; anybody may, and the fee is the exit's.
    function answerLeaf(
        uint256 challengeId,
        bytes32 hash,
        uint128 sum,
        uint64 leaves,
        Node[] calldata siblings
    ) external {
        Challenge storage challenge = challenges[challengeId];
        if (challenge.state != State.Open) revert NotOpen(challengeId);
        // A validator can shift the clock by seconds; the exit has days.
        // forge-lint: disable-next-line(block-timestamp)
        if (block.timestamp > challenge.answerBy) revert TooLate(challenge.answerBy);
        (address exit, uint64 epoch) = (challenge.exit, challenge.epoch);
        // An epoch without usage has no leaf to show: then the root itself shows that.
        // Less than `leaves`, which has 64 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        uint64 index = leaves == 0 ? 0 : uint64(uint256(challenge.seed) % leaves);
        bytes32 shown = leaves == 0 && siblings.length == 0 && hash == 0 && sum == 0
            ? _commitment(_root(Node(0, 0), 0), 0)
            : _climb(hash, sum, index, leaves, siblings);
        if (shown != commitments[exit][epoch]) revert NotThatLeaf();
        challenge.state = State.Answered;
        records[exit].answered += 1;
        owed[exit] += challenge.fee;
        emit LeafShown(challengeId, exit, epoch, index, leaves, hash, sum);
    }

    /// Records that a challenge wasn't answered in time; anybody may. Nothing is slashed: an exit
    /// may have lost its records without having lied.
    function expireChallenge(uint256 challengeId) external {
        Challenge storage challenge = challenges[challengeId];
        if (challenge.state != State.Open) revert NotOpen(challengeId);
        // forge-lint: disable-next-line(block-timestamp)
        if (block.timestamp <= challenge.answerBy) revert TooEarly(challenge.answerBy);
        challenge.state = State.Unanswered;
        records[challenge.exit].unanswered += 1;
        owed[challenge.challenger] += challenge.fee;
        emit LeafNotShown(challengeId, challenge.exit, challenge.epoch);
    }

    /// Pays out the fees of `account`; anybody may call.
    function payFees(address account) external returns (uint256 amount) {
        amount = owed[account];
        if (amount == 0) revert NothingOwed();
        // Before the call: an account that calls back finds nothing left.
        owed[account] = 0;
        emit FeesPaid(account, amount);
        (bool ok,) = account.call{value: amount}("");
        if (!ok) revert PaymentFailed(account);
    }

    /// The least fee of a challenge in this block.
    function answerFee() public view returns (uint256) {
        return block.basefee * ANSWER_GAS;
    }

    // ---------------------------------------------------------------- proofs

    /// Whether `exit` committed to exactly these values.
    function isAnchored(address exit, uint64 epoch, bytes32 root, uint128 total)
        external
        view
        returns (bool)
    {
        return commitments[exit][epoch] == _commitment(root, total);
    }

    /// Whether the leaf (`hash`, `sum`) is number `index` of the `leaves` that `exit` committed to.
    /// @param siblings From the leaf upwards. The tree has the shape of RFC 6962, section 2.1.
    function verifyLeaf(
        address exit,
        uint64 epoch,
        bytes32 hash,
        uint128 sum,
        uint64 index,
        uint64 leaves,
        Node[] calldata siblings
    ) external view returns (bool) {
        bytes32 shown = _climb(hash, sum, index, leaves, siblings);
        return shown != 0 && commitments[exit][epoch] == shown;
    }

    /// The commitment that the leaf and its siblings make, or 0 if they make none.
    function _climb(
        bytes32 hash,
        uint128 sum,
        uint64 index,
        uint64 leaves,
        Node[] calldata siblings
    ) private pure returns (bytes32) {
        if (index >= leaves) return 0;
        Node memory node = Node(keccak256(abi.encodePacked(uint8(0), hash, sum)), sum);
        uint64 last = leaves - 1;
        for (uint256 i = 0; i < siblings.length; ++i) {
            if (last == 0) return 0;
            if (index % 2 == 1 || index == last) {
                node = _parent(siblings[i], node);
                // The last node of a row with an odd count moves up without a sibling.
                while (index % 2 == 0 && index != 0) {
                    index /= 2;
                    last /= 2;
                }
            } else {
                node = _parent(node, siblings[i]);
            }
            index /= 2;
            last /= 2;
        }
        return last == 0 ? _commitment(_root(node, leaves), node.sum) : bytes32(0);
    }

    /// Reverts when the sum overflows: no total has such a leaf.
    function _parent(Node memory left, Node memory right) private pure returns (Node memory) {
        return Node(
            keccak256(abi.encodePacked(uint8(1), left.hash, left.sum, right.hash, right.sum)),
            left.sum + right.sum
        );
    }

    function _root(Node memory top, uint64 leaves) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(2), top.hash, top.sum, leaves));
    }

    function _commitment(bytes32 root, uint128 total) private pure returns (bytes32) {
        return keccak256(abi.encode(root, total));
    }
}
