// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Payouts} from "./Payouts.sol";
import {Signatures} from "./Signatures.sol";
import {
    EpochStatement,
    SignedEpochStatement,
    SignedStreamStatement,
    Statements,
    StreamStatement
} from "./Statements.sol";

/// @title Operators' stakes: lost for saying two things, and for nothing else.
/// @notice Equivocation is the one offence that two signatures prove by themselves. No verdict, no
/// reputation and no unanswered challenge touches a stake.
abstract contract Stakes is Payouts {
    using Statements for *;

    /// What an operator stands for. The terms are the stake's name: other terms, another stake.
    struct StakeTerms {
        /// Unbonds.
        address operator;
        /// Whose statements are bound by the stake: the operator's usage key.
        address signer;
        /// Who gets back what is unbonded.
        address payout;
        address token;
        /// Seconds between unbond and release, during which evidence still counts.
        uint64 unbondDelay;
        uint64 committedKbps;
        /// Parts per million of all minutes.
        uint32 availabilityPpm;
        bytes32 salt;
    }

    struct Stake {
        StakeTerms terms;
        /// Bonded.
        uint128 active;
        /// On its way out, and still slashable.
        uint128 unbonding;
        /// Everything ever bonded.
        uint128 deposited;
        /// Everything ever slashed.
        uint128 slashed;
        /// Unix time from which what is unbonding can be released; 0 while nothing is.
        uint64 releaseAt;
        uint32 equivocations;
    }

    event Staked(
        bytes32 indexed stakeId, address indexed operator, address indexed signer, StakeTerms terms
    );
    event Bonded(bytes32 indexed stakeId, address indexed from, uint128 amount, uint128 active);
    event Unbonding(bytes32 indexed stakeId, uint128 amount, uint128 unbonding, uint64 releaseAt);
    event Rebonded(bytes32 indexed stakeId, uint128 amount, uint128 active);
    event Released(bytes32 indexed stakeId, address indexed payout, uint128 amount);
    event ReportCommitted(bytes32 indexed commitment);
    event Slashed(
        bytes32 indexed stakeId,
        bytes32 indexed subject,
        address indexed reporter,
        uint128 slashed,
        uint128 rewarded,
        bytes32 first,
        bytes32 second
    );

    error BadSigner();
    error BadPayout();
    error DelayOutOfRange(uint64 unbondDelay, uint64 min, uint64 max);
    error BadAvailability(uint32 availabilityPpm);
    error StakeExists(bytes32 stakeId);
    error UnknownStake(bytes32 stakeId);
    error NotOperator();
    error StakeTooLow(uint128 active, uint128 amount);
    error NothingUnbonding();
    error TooEarly(uint64 from);
    error SubjectsDiffer();
    error SameStatement();
    error NotTheSigner(uint256 statement, Signatures.Flaw flaw);
    error AlreadySlashed();
    error NotCommitted(bytes32 commitment);

    /// Long enough to find and report what was said twice.
    uint64 public constant MIN_UNBOND_DELAY = 1 days;
    /// A longer delay is taken for a mistake.
    uint64 public constant MAX_UNBOND_DELAY = 365 days;
    /// One equivocation takes a quarter of what is there,
    uint128 public constant SLASH_DIVISOR = 4;
    /// and all of them together at most half of what was ever bonded: what a thief of the usage
    /// key can destroy is bounded.
    uint128 public constant SLASH_CAP_DIVISOR = 2;
    /// Of a slash, the reporter gets one half. With all of it, operators would report themselves.
    uint128 public constant REWARD_DIVISOR = 2;
    /// The other half is booked to an account without a key.
    address public constant BURNED = 0x000000000000000000000000000000000000dEaD;

    mapping(bytes32 stakeId => Stake) private _stakes;
    /// Statements (by struct hash) that a stake was slashed for. Evidence needs one that is new:
    /// n statements about one subject are n - 1 equivocations. If the subject were what counts
    /// once, an operator could report itself in advance, with nothing at stake, and be immune.
    mapping(bytes32 stakeId => mapping(bytes32 statement => bool)) public slashedFor;
    /// The block of a commitment to report.
    mapping(bytes32 commitment => uint256) public committedAt;

    // ---------------------------------------------------------------- operator

    /// Opens a stake of msg.sender and bonds `amount`.
    function stake(StakeTerms calldata terms, uint128 amount)
        external
        locked
        returns (bytes32 stakeId)
    {
        if (terms.operator != msg.sender) revert NotOperator();
        if (terms.signer == address(0)) revert BadSigner();
        if (terms.payout == address(0) || terms.payout == address(this)) revert BadPayout();
        if (terms.token.code.length == 0) revert BadToken();
        if (terms.availabilityPpm > 1e6) revert BadAvailability(terms.availabilityPpm);
        if (terms.unbondDelay < MIN_UNBOND_DELAY || terms.unbondDelay > MAX_UNBOND_DELAY) {
            revert DelayOutOfRange(terms.unbondDelay, MIN_UNBOND_DELAY, MAX_UNBOND_DELAY);
        }
        stakeId = stakeIdOf(terms);
        Stake storage staked = _stakes[stakeId];
        if (staked.terms.operator != address(0)) revert StakeExists(stakeId);
        staked.terms = terms;
        emit Staked(stakeId, msg.sender, terms.signer, terms);
        _bond(stakeId, staked, amount);
    }

    /// Adds to a stake; anybody may.
    function bond(bytes32 stakeId, uint128 amount) external locked {
        _bond(stakeId, _existing(stakeId), amount);
    }

    /// Starts the delay for `amount`, and anew for what is unbonding already.
    function unbond(bytes32 stakeId, uint128 amount) external {
        Stake storage staked = _ofOperator(stakeId);
        if (amount == 0) revert ZeroAmount();
        if (amount > staked.active) revert StakeTooLow(staked.active, amount);
        staked.active -= amount;
        staked.unbonding += amount;
        staked.releaseAt = uint64(block.timestamp) + staked.terms.unbondDelay;
        emit Unbonding(stakeId, amount, staked.unbonding, staked.releaseAt);
    }

    /// Bonds again what is unbonding.
    function rebond(bytes32 stakeId) external {
        Stake storage staked = _ofOperator(stakeId);
        uint128 amount = _emptyUnbonding(staked);
        staked.active += amount;
        emit Rebonded(stakeId, amount, staked.active);
    }

    /// Books what has been unbonding for the delay to the payout account; anybody may call.
    function release(bytes32 stakeId) external returns (uint128 amount) {
        Stake storage staked = _existing(stakeId);
        uint64 releaseAt = staked.releaseAt;
        // A validator can shift the clock by seconds; delays are days.
        // forge-lint: disable-next-line(block-timestamp)
        if (block.timestamp < releaseAt) revert TooEarly(releaseAt);
        amount = _emptyUnbonding(staked);
        address payout = staked.terms.payout;
        emit Released(stakeId, payout, amount);
        _owe(payout, staked.terms.token, amount);
    }

    // ---------------------------------------------------------------- reporter

    /// Announces a report without showing it: `commitment` is `reportCommitment(...)`. A block
    /// later the report can be made. Whoever copies it from the mempool has no commitment, and
    /// gets nothing.
    function commitReport(bytes32 commitment) external {
        if (committedAt[commitment] == 0) {
            committedAt[commitment] = block.number;
            emit ReportCommitted(commitment);
        }
    }

    /// Two contents for the same record of a stream.
    function slashStreamEquivocation(
        bytes32 stakeId,
        SignedStreamStatement calldata a,
        SignedStreamStatement calldata b,
        bytes32 salt
    ) external returns (uint128 slashed) {
        bytes32 subject = a.statement.subject();
        if (subject != b.statement.subject()) revert SubjectsDiffer();
        (bytes32 first, bytes32 second) = (a.statement.hash(), b.statement.hash());
        return _slash(stakeId, subject, first, a.signature, second, b.signature, salt);
    }

    /// Two roots or totals for the same epoch.
    function slashEpochEquivocation(
        bytes32 stakeId,
        SignedEpochStatement calldata a,
        SignedEpochStatement calldata b,
        bytes32 salt
    ) external returns (uint128 slashed) {
        bytes32 subject = a.statement.subject();
        if (subject != b.statement.subject()) revert SubjectsDiffer();
        (bytes32 first, bytes32 second) = (a.statement.hash(), b.statement.hash());
        return _slash(stakeId, subject, first, a.signature, second, b.signature, salt);
    }

    // ---------------------------------------------------------------- names and digests

    /// The name of a stake; the same terms on another chain or contract have another name.
    function stakeIdOf(StakeTerms calldata terms) public view returns (bytes32) {
        return keccak256(abi.encode(terms, block.chainid, address(this)));
    }

    /// The terms and the state of a stake; all zero if there is none.
    function stakes(bytes32 stakeId) external view returns (Stake memory) {
        return _stakes[stakeId];
    }

    /// What `commitReport` takes.
    function reportCommitment(address reporter, bytes32 stakeId, bytes32 subject, bytes32 salt)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(reporter, stakeId, subject, salt));
    }

    /// What the contradiction is about, as `reportCommitment` takes it.
    function subjectOf(StreamStatement calldata statement) external pure returns (bytes32) {
        return statement.subject();
    }

    function subjectOfEpoch(EpochStatement calldata statement) external pure returns (bytes32) {
        return statement.subject();
    }

    /// What the operator's usage key signs (EIP-712).
    function streamDigest(StreamStatement calldata statement) external view returns (bytes32) {
        return Signatures.digest(domainSeparator(), statement.hash());
    }

    /// What the operator's usage key signs (EIP-712).
    function epochDigest(EpochStatement calldata statement) external view returns (bytes32) {
        return Signatures.digest(domainSeparator(), statement.hash());
    }

    function domainSeparator() public view virtual returns (bytes32);

    // ---------------------------------------------------------------- helpers

    function _bond(bytes32 stakeId, Stake storage staked, uint128 amount) private {
        staked.active += amount;
        staked.deposited += amount;
        emit Bonded(stakeId, msg.sender, amount, staked.active);
        _take(staked.terms.token, amount);
    }

    function _slash(
        bytes32 stakeId,
        bytes32 subject,
        bytes32 first,
        bytes calldata firstSignature,
        bytes32 second,
        bytes calldata secondSignature,
        bytes32 salt
    ) private returns (uint128 slashed) {
        if (first == second) revert SameStatement();
        Stake storage staked = _existing(stakeId);
        mapping(bytes32 statement => bool) storage known = slashedFor[stakeId];
        if (known[first] && known[second]) revert AlreadySlashed();
        _mustBeSigned(staked.terms.signer, 0, first, firstSignature);
        _mustBeSigned(staked.terms.signer, 1, second, secondSignature);
        bytes32 commitment = reportCommitment(msg.sender, stakeId, subject, salt);
        uint256 committed = committedAt[commitment];
        if (committed == 0 || committed >= block.number) revert NotCommitted(commitment);

        (known[first], known[second]) = (true, true);
        slashed = _takeShare(staked);
        uint128 rewarded = slashed / REWARD_DIVISOR;
        address token = staked.terms.token;
        _owe(msg.sender, token, rewarded);
        _owe(BURNED, token, slashed - rewarded);
        emit Slashed(stakeId, subject, msg.sender, slashed, rewarded, first, second);
    }

    /// Takes the share of one equivocation, from what is bonded first.
    function _takeShare(Stake storage staked) private returns (uint128 share) {
        (uint128 active, uint128 unbonding) = (staked.active, staked.unbonding);
        // Neither can overflow: both are parts of `deposited`, and `slashed` is at most half of it.
        share = (active + unbonding) / SLASH_DIVISOR;
        uint128 left = staked.deposited / SLASH_CAP_DIVISOR - staked.slashed;
        if (share > left) share = left;
        uint128 fromActive = share < active ? share : active;
        staked.active = active - fromActive;
        staked.unbonding = unbonding - (share - fromActive);
        staked.slashed += share;
        staked.equivocations += 1;
    }

    function _mustBeSigned(
        address signer,
        uint256 statement,
        bytes32 structHash,
        bytes calldata signature
    ) private view {
        (address found, Signatures.Flaw flaw) = Signatures.recover(
            Signatures.digest(domainSeparator(), structHash), signature
        );
        if (found != signer) revert NotTheSigner(statement, flaw);
    }

    function _emptyUnbonding(Stake storage staked) private returns (uint128 amount) {
        amount = staked.unbonding;
        if (amount == 0) revert NothingUnbonding();
        staked.unbonding = 0;
        staked.releaseAt = 0;
    }

    function _existing(bytes32 stakeId) private view returns (Stake storage staked) {
        staked = _stakes[stakeId];
        if (staked.terms.operator == address(0)) revert UnknownStake(stakeId);
    }

    function _ofOperator(bytes32 stakeId) private view returns (Stake storage staked) {
        staked = _existing(stakeId);
        if (msg.sender != staked.terms.operator) revert NotOperator();
    }
}
